"""Make the shards of a job on the machines of a Ray cluster, with Ray Data.

Ray Data hands out the numbers of shards to workers, each with a loaded model, and hands those of a lost worker to
others. A shard that was finished meanwhile is made again with the same bytes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import ray
import ray.data
from numpy.typing import NDArray

from ganserve_server.bulk.model import load_model
from ganserve_server.bulk.run import Shard, make_shards
from ganserve_server.bulk.store import JOB_FILE, Store, open_store
from ganserve_server.bulk.tasks import Elsewhere, Task
from ganserve_server.errors import BulkError
from ganserve_server.models.package_files import Package
from ganserve_server.ray.cluster import check_answers, connected
from ganserve_server.settings import ServerConfig

_MOST_BLOCKS = 10_000  # parts that Ray Data hands out


def on_cluster(address: str, cpus: int, gpus: float) -> Elsewhere:
    """Return what makes shards on a cluster, with workers of this many CPUs and GPUs.

    `address` is "auto" or the cluster's. Raises BulkError if nobody listens there.
    """
    check_answers(address)

    def make(
        task: Task,
        package: Package,
        config: ServerConfig,
        store: Store,
        shards: Sequence[Shard],
        tell: Callable[[int], None],
    ) -> None:
        with connected(address):
            _make(
                task,
                package,
                replace(config, workers=cpus, threads=1, lone_threads=cpus),
                store,
                shards,
                tell,
                cpus,
                gpus,
            )

    return make


def _make(
    task: Task,
    package: Package,
    config: ServerConfig,
    store: Store,
    shards: Sequence[Shard],
    tell: Callable[[int], None],
    cpus: int,
    gpus: float,
) -> None:
    workers = _room(cpus, gpus, len(shards))
    job = store.read(JOB_FILE)
    common = ray.put((task, package, config, store.place, job, list(shards)))
    # Bytes, because Ray warns about references in the arguments of workers that it may have to restart.
    reference = ray.cloudpickle.dumps(common)
    # Ray Data would show its own bar and log beside ours.
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    numbers = ray.data.from_numpy(np.array_split(np.arange(len(shards)), min(len(shards), _MOST_BLOCKS)))
    done = numbers.map_batches(
        _ShardMaker,
        fn_constructor_args=(reference,),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=0 if gpus else cpus,
        num_gpus=gpus,
    )
    try:
        for row in done.iter_rows():
            tell(int(row["samples"]))
    except ray.exceptions.RayError as error:
        raise BulkError(f"--ray: {_reason(error)}. Put it right, and run the same command again.") from error


class _ShardMaker:
    """A worker of the cluster."""

    def __init__(self, reference: bytes) -> None:
        """Load the model, and check that this machine sees the job's place."""
        self._task, package, config, place, job, self._shards = ray.get(ray.cloudpickle.loads(reference))
        self._store = open_store(place)
        if self._store.read(JOB_FILE) != job:
            raise BulkError(
                f"--out {place}: a machine of the cluster does not see the job there. Give a folder that all machines "
                "share, or a URL"
            )
        self._worker = self._task.open(load_model(config, package))

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Make the shards of these numbers, and return how many samples each has."""
        shards = [self._shards[number] for number in batch["data"].tolist()]
        # A lost worker may have finished some of them.
        missing = [shard for shard in shards if not self._store.has(shard.mark)]
        asyncio.run(make_shards(self._worker, self._store, missing, lambda _: None))
        return {"samples": np.array([shard.samples for shard in shards])}


def _room(cpus: int, gpus: float, shards: int) -> int:
    """Return how many workers the cluster has room for; raise BulkError if it has none."""
    kind, wanted = ("GPU", gpus) if gpus else ("CPU", cpus)
    # A worker runs on one machine.
    has = [node["Resources"].get(kind, 0) for node in ray.nodes() if node["Alive"]]
    room = sum(int(each / wanted) for each in has)
    if not room:
        most = max(has, default=0)
        flag = f"--ray-{kind.lower()}s {wanted:g}"
        raise BulkError(f"{flag}: no machine of the cluster has more than {most:g}. Ask for less.")
    return max(1, min(room, shards))


def _reason(error: BaseException) -> str:
    """Return the message of what went wrong in a worker, without Ray's traceback."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BulkError):
            return str(cause).rstrip(".")
        cause = getattr(cause, "cause", None) or cause.__cause__
    logging.getLogger(__name__).debug("a worker failed", exc_info=error)
    lines = [line for line in str(error).splitlines() if line.strip()]
    # Of a worker that could not start there is only text, which ends with the type and the message of its error.
    last = lines[-1].strip().rstrip(".") if lines else type(error).__name__
    return last.removeprefix(f"{BulkError.__module__}.{BulkError.__name__}: ")
