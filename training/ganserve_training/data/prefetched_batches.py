"""Batches of samples too large for memory, which worker processes read ahead. N = batch."""

import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ganserve_training.data.config import DataConfig
from ganserve_training.data.sample_info import to_network
from ganserve_training.data.sample_order import SampleSequence
from ganserve_training.data.samples import Samples
from ganserve_training.errors import DataError

_BATCHES_AHEAD = 3  # By each worker.
_SIGNAL_S = 1.0  # Longest time from the end of a worker's pipe to the signal of its death.


class PrefetchedBatches:
    """Batches that worker processes read ahead; their contents depend only on seed, position and count.

    Workers read batches of the last count at the last stride, so a process that takes every k-th batch reads only its
    own. Any other request works too, but waits for its batch.
    """

    def __init__(self, samples: Samples, config: DataConfig, seed: int, device: torch.device) -> None:
        self._sequence = SampleSequence(samples, config, seed)
        self._device = device
        self._info = samples.info
        self._labels = samples.labels
        self._requests = _Requests(self._sequence)
        self._last: tuple[int, int] | None = None  # position and count of the last request
        self._batches: Iterator[Tensor | DataError] | None = None
        self._reading = _Reading(samples)
        self._workers = config.workers
        self._loader: DataLoader[Any] | None = None

    def batch(self, position: int, count: int) -> tuple[Tensor, Tensor | None]:
        """Return samples `position` to `position + count - 1` of the endless sequence, and their labels.

        Raises:
            DataError: A sample can't be read any more, or a worker died.
        """
        if self._batches is None or not self._requests.awaits(position, count):
            self._restart_at(position, count)
        self._last = position, count
        assert self._batches is not None
        try:
            found = next(self._batches)
        except (RuntimeError, OSError, EOFError) as error:  # A worker was killed.
            said = _cause_of_death(error)
            self.close()
            raise DataError(
                f"a process that reads data died: {said}. If memory ran out, use fewer: --data.workers 0"
            ) from error
        indices = self._requests.take()
        if isinstance(found, DataError):
            self.close()
            raise found
        samples = self._sequence.mirrored(to_network(found.to(self._device, non_blocking=True), self._info), position)
        if self._labels is None:
            return samples, None
        return samples, torch.from_numpy(self._labels[indices]).to(self._device)

    def close(self) -> None:
        """Stop the workers."""
        # Torch stops persistent workers when the last reference to them goes.
        self._batches = self._loader = self._last = None

    def _restart_at(self, position: int, count: int) -> None:
        """Restart reading at `position`, at the stride from the last request if there was one."""
        stride = count
        if self._last is not None and self._last[1] == count and position > self._last[0]:
            stride = position - self._last[0]
        self._requests.start(position, count, stride)
        if self._loader is None:
            self._loader = DataLoader(
                self._reading,
                sampler=self._requests,
                batch_size=None,  # The sampler gives the indices of whole batches.
                num_workers=self._workers,
                pin_memory=self._device.type == "cuda",
                worker_init_fn=_leave_signals_to_parent,
                prefetch_factor=_BATCHES_AHEAD if self._workers else None,
                persistent_workers=self._workers > 0,
                generator=torch.Generator(),  # By default it would draw from the global one, which networks may use.
            )
        with _keep_child_handler():
            self._batches = iter(self._loader)


class _Requests(Sampler[NDArray[np.int64]]):
    """The endless sequence of batches to read ahead; remembers which were not taken yet."""

    def __init__(self, sequence: SampleSequence) -> None:
        self._sequence = sequence
        self._position = self._count = self._stride = 0
        self._pending: deque[NDArray[np.int64]] = deque()

    def start(self, position: int, count: int, stride: int) -> None:
        """Set the first batch of the next iteration."""
        self._position, self._count, self._stride = position, count, stride
        self._pending = deque()

    def awaits(self, position: int, count: int) -> bool:
        """Return whether this is the next batch."""
        return (position, count) == (self._position, self._count)

    def take(self) -> NDArray[np.int64]:
        """Take the next batch; return its indices."""
        self._position += self._stride
        return self._pending.popleft()

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        position, count, stride, pending = self._position, self._count, self._stride, self._pending
        while True:
            indices = self._sequence.indices(position, count)
            pending.append(indices)
            yield indices
            position += stride


class _Reading(Dataset[Any]):
    """Read samples in a worker. Return errors as values: torch would wrap a raised one in its own traceback."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def __getitem__(self, indices: NDArray[np.int64]) -> Tensor | DataError:
        try:
            return torch.from_numpy(self._samples.read(indices))
        except DataError as error:
            return DataError(str(error))


@contextmanager
def _keep_child_handler() -> Iterator[None]:
    """Restore the SIGCHLD handler: torch's raises anywhere in the main thread. The next batch reports the death."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if before is None else before)


def _cause_of_death(error: Exception) -> str:
    """Return why a worker died. After a broken pipe, wait for torch's signal handler, which says more."""
    try:
        if not isinstance(error, RuntimeError):
            time.sleep(_SIGNAL_S)
    except RuntimeError as said:
        return str(said)
    return str(error)


def _leave_signals_to_parent(_worker: int) -> None:
    """Ignore stop signals, which reach the whole process group: the parent needs its workers until the checkpoint."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
