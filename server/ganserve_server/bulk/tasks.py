"""Start a job or continue it: compare it with what its place holds, and make the shards that are missing."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar, Protocol

from ganserve_server.bulk.model import load_model
from ganserve_server.bulk.progress import progress
from ganserve_server.bulk.run import Shard, Worker, make_shards, unfinished
from ganserve_server.bulk.store import JOB_FILE, Store, same_or_refuse
from ganserve_server.error_text import counted
from ganserve_server.errors import BulkError, JobError
from ganserve_server.models.model import Model
from ganserve_server.models.package_files import Package
from ganserve_server.settings import ServerConfig

_LIBRARIES = ("ganserve", "onnxruntime", "onnxruntime-gpu", "openvino", "numpy", "pillow", "pyarrow", "deflate")
MOST_SHARDS = 1_000_000


class Task(Protocol):
    """Work to do with a model, without the model itself: workers on other machines receive it."""

    unit: ClassVar[str]
    """Plural noun for `Shard.samples`, as progress shows it."""

    def open(self, model: Model) -> Worker:
        """Return the worker; raise BulkError if the task does not fit the model."""


Elsewhere = Callable[[Task, Package, ServerConfig, Store, Sequence[Shard], Callable[[int], None]], None]
"""Makes shards on other machines."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """Result of a job's run."""

    samples: int
    """Samples made by this run."""
    found: int
    """Shards that were there before."""
    seconds: float
    notes: tuple[str, ...]
    """Remarks for the user."""


def read_job(store: Store) -> dict[str, Any] | None:
    """Return the description that a place's job began with; None if it has no job.

    Raises BulkError if the place has something else.
    """
    text = store.read(JOB_FILE)
    if text is None:
        if others := sorted(store.names()):
            raise JobError(
                f"--out {store.place}: holds other files, such as {others[0]}, and no {JOB_FILE}. Give a new place."
            )
        return None
    try:
        found = json.loads(text)
        if isinstance(found["job"], dict) and isinstance(found["made_with"], dict):
            return dict(found)
    except (ValueError, KeyError, TypeError):
        pass
    raise JobError(f"--out {store.place}: its {JOB_FILE} is damaged. Give a new place, or empty this one.")


def run_task(
    task: Task,
    description: dict[str, Any],
    shards: Sequence[Shard],
    package: Package,
    config: ServerConfig,
    store: Store,
    elsewhere: Elsewhere | None = None,
) -> Outcome:
    """Make the shards that are missing, here or `elsewhere`; the caller holds the store's lock.

    Raises BulkError if the place belongs to another job, the task does not fit the model, or the job cannot continue.
    """
    notes = _compared(store, description)
    # This machine only checks the task for a cluster, and may have no GPU.
    here = config if elsewhere is None else config.on_cpu()
    worker = task.open(load_model(here, package))
    try:
        if notes is None:  # a new job, which fits the model
            text = json.dumps({"job": description, "made_with": _libraries()}, indent=2)
            store.write_text(JOB_FILE, f"{text}\n")
        missing = unfinished(store, shards)
        total, left = (sum(shard.samples for shard in each) for each in (shards, missing))
        started = time.monotonic()
        with progress(total, total - left, task.unit) as tell:
            if not missing:
                pass
            elif elsewhere is None:
                asyncio.run(make_shards(worker, store, missing, tell))
            else:
                worker.close()
                elsewhere(task, package, config, store, missing, tell)
    finally:
        worker.close()
    if lost := unfinished(store, shards):
        missing_shards = f"{counted(len(lost), 'shard', ',')} {'is' if len(lost) == 1 else 'are'} not there"
        raise BulkError(
            f"--out {store.place}: {missing_shards}, such as {lost[0].name}. If the machines of a "
            "cluster have disks of their own, give a folder that they share, or a URL."
        )
    seconds = time.monotonic() - started
    return Outcome(samples=left, found=len(shards) - len(missing), seconds=seconds, notes=tuple(notes or ()))


def _compared(store: Store, description: dict[str, Any]) -> list[str] | None:
    """Refuse another job's place. Return which libraries have changed since the job began; None for a new job."""
    found = read_job(store)
    if found is None or (found["job"] != description and store.names() == {JOB_FILE}):
        return None  # without a shard there is nothing to mix up
    same_or_refuse(store, description, found["job"])
    before, now = found["made_with"], _libraries()
    return [
        f"{name} is {now[name]}; the job began with {before.get(name)}: the bytes of new shards may differ"
        for name in now
        if before.get(name) != now[name]
    ]


def _libraries() -> dict[str, str]:
    """Return the versions of the libraries that the bytes of shards depend on."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
