"""Feed generated samples to PyTorch's DataLoader (needs PyTorch, which the extra `training` installs).

    from torch.utils.data import DataLoader

    from ganserve.data import SampleDataset

    dataset = SampleDataset(50_000, batch_size=64, connect="localhost:50051", seed=1)
    for images, labels in DataLoader(dataset, batch_size=None, num_workers=2):
        ...  # uint8 [64, C, H, W], int64 [64]

docs/synthetic-data.md tells more.
"""

# N = samples of a batch, H = height, W = width, C = channels, D = values of a vector

import os
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np

from ganserve._argument_checks import MAX_INDEX, SEED_BITS, check_integer
from ganserve._client import Client
from ganserve._errors import InvalidRequest, MissingExtra
from ganserve._results.batch import SampleBatch
from ganserve._results.selection import Selection
from ganserve._types import Encoding, Labels, Noise

try:
    import torch
    from torch.utils.data import IterableDataset, get_worker_info
except ModuleNotFoundError as missing:
    raise MissingExtra.of("training", "torch", "ganserve.data") from missing


Batch: TypeAlias = "tuple[torch.Tensor, torch.Tensor] | torch.Tensor"
"""Samples, images [N, C, H, W] or vectors [N, D], and, for conditional models, their labels int64 [N]."""

_AHEAD = 4  # batches that a worker reads at once, so that the server is never idle


class SampleDataset(IterableDataset[Batch]):
    """Batches of generated samples from a server, divided among workers and ranks without overlap.

    It yields whole batches: `DataLoader(dataset, batch_size=None, num_workers=…)`. Batch b holds the samples b *
    batch_size to (b + 1) * batch_size of the seed's sequence; the last batch may be smaller. Rank r of R gets the
    batches r, r + R, …, and its workers take turns with those: every sample comes once, in the same order for any
    number of workers. Each worker opens its own client and reads four batches ahead. Forked workers need a parent
    without an open client or other use of gRPC; otherwise use `multiprocessing_context="forkserver"` or "spawn".

    Args:
        n: Samples of all ranks together.
        label: A label's name or index, or a sequence of n. Default: a conditional model draws each sample's label.
        batch_size: Samples of a batch.
        connect: The server, as for `Client`, or a function that returns a client, such as
            `functools.partial(Client, "gpu-box:50051", timeout_s=5)`; it must pickle for spawned workers. Default:
            `Client()`.
        model: As for `Client.stream`.
        version: As for `Client.stream`; give it if the server may load another one meanwhile.
        seed: As for `Client.stream`; required with several ranks, because each would draw its own.
        offset: As for `Client.stream`.
        truncation: As for `Client.stream`.
        truncation_layers: As for `Client.stream`.
        mix_seed: As for `Client.stream`.
        mix_from: As for `Client.stream`.
        noise: As for `Client.stream`.
        controls: As for `Client.stream`.
        select: As for `Client.stream`.
        encoding: As for `Client.stream`; "float32" gives images from 0 to 1.
        rank: This process's rank, 0 to world_size - 1. Default: that of torch.distributed if it is initialised, else
            the environment variables RANK and WORLD_SIZE, which torchrun sets, else 0 of 1.
        world_size: Number of ranks.

    Raises:
        InvalidRequest: An argument is wrong.
    """

    def __init__(
        self,
        n: int,
        label: Labels | None = None,
        *,
        batch_size: int = 64,
        connect: str | Sequence[str] | Callable[[], Client] | None = None,
        model: str | None = None,
        version: int | None = None,
        seed: int | None = None,
        offset: int = 0,
        truncation: float | None = None,
        truncation_layers: int | None = None,
        mix_seed: int | None = None,
        mix_from: int | None = None,
        noise: Noise | None = None,
        controls: Mapping[str, float] | None = None,
        select: Selection | None = None,
        encoding: Encoding = "raw",
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        super().__init__()
        self.n = check_integer("n", n, 1, MAX_INDEX)
        self.batch_size = check_integer("batch_size", batch_size, 1, MAX_INDEX)
        self.offset = check_integer("offset", offset, 0, MAX_INDEX - self.n)
        self.rank, self.world_size = _place(rank, world_size)
        if seed is None and self.world_size > 1:
            raise InvalidRequest.of("seed", f"is None with {self.world_size} ranks; expected one and the same in all")
        self._label: str | int | None = None
        self._labels: list[Any] | None = None
        if label is None or isinstance(label, str | int | np.integer):
            self._label = int(label) if isinstance(label, np.integer) else label
        else:
            self._labels = list(label)
            if len(self._labels) != self.n:
                found = f"is a sequence of {len(self._labels)}; expected one label, or as many as n = {self.n}"
                raise InvalidRequest.of("label", found)
        self.seed = secrets.randbits(SEED_BITS) if seed is None else check_integer("seed", seed, 0, 2**64 - 1)
        self._connect = connect
        self._epoch = 0
        self._model, self._version = model, version
        self._options: dict[str, Any] = {
            "truncation": truncation,
            "truncation_layers": truncation_layers,
            "mix_seed": mix_seed,
            "mix_from": mix_from,
            "noise": noise,
            "controls": controls,
            "select": select,
            "encoding": encoding,
        }

    def set_epoch(self, epoch: int) -> None:
        """Draw other samples in each epoch: those from offset + epoch * n on.

        Call it before each pass over the DataLoader; it does not reach persistent workers (`persistent_workers=True`).

        Args:
            epoch: From 0 on.
        """
        self._epoch = check_integer("epoch", epoch, 0, (MAX_INDEX - self.offset) // self.n - 1)

    def __len__(self) -> int:
        """Return the number of batches of this rank, for all its workers."""
        return len(range(self.rank, -(-self.n // self.batch_size), self.world_size))

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        mine = range(self.rank, -(-self.n // self.batch_size), self.world_size)[number::workers]
        if not mine:
            return
        with self._connect() if callable(self._connect) else Client(self._connect) as client:
            pool = ThreadPoolExecutor(_AHEAD, thread_name_prefix="ganserve-data")
            try:
                reads: deque[Future[Batch]] = deque()
                for batch in mine:
                    reads.append(pool.submit(self._read, client, batch * self.batch_size))
                    if len(reads) > _AHEAD:
                        yield reads.popleft().result()
                while reads:
                    yield reads.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _read(self, client: Client, first: int) -> Batch:
        """Return the batch whose first sample has this index in the dataset."""
        count = min(self.batch_size, self.n - first)
        with client.stream(
            count,
            self._label if self._labels is None else self._labels[first : first + count],
            model=self._model,
            version=self._version,
            seed=self.seed,
            offset=self.offset + self._epoch * self.n + first,
            **self._options,
        ) as stream:
            batch = SampleBatch.concatenate(list(stream))
        samples = batch.to_torch()
        return samples if batch.labels is None else (samples, torch.as_tensor(batch.labels, dtype=torch.int64))


def _place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Return this process's rank and the number of ranks."""
    if (rank is None) != (world_size is None):
        raise InvalidRequest.of("rank", f"is {rank} and world_size is {world_size}; expected both or neither")
    if rank is None or world_size is None:
        distributed = torch.distributed
        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
        rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    check_integer("world_size", world_size, 1, 2**20)
    return check_integer("rank", rank, 0, world_size - 1), world_size
