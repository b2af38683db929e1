"""Batches of samples too large for memory, read ahead by worker processes. N = batch."""

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

from ganserve_training.data.sample_info import to_network
from ganserve_training.data.sample_order import SampleSequence
from ganserve_training.data.samples import Samples
from ganserve_training.errors import DataError

_BATCHES_AHEAD = 3  # Of each worker.
_SIGNAL_S = 1.0  # Most between the end of a worker's pipe and the signal of its death.


class PrefetchedBatches:
    """Batches that worker processes read ahead; which ones is a pure function of seed, position and count.

    What is read ahead are batches of the last count at the last observed stride, so that a process that takes every
    k-th batch reads only its own. A request that doesn't go on like this is answered too, but has to wait for its
    reading.

    Args:
        samples: What to read.
        seed: Seed of the order, and of what is mirrored.
        device: Where the batches are wanted.
        flip: Show half of the images mirrored.
        class_balanced: Show each label equally often.
        workers: Processes that read ahead; 0: this process reads, when asked.

    Raises:
        DataError: Vectors are to be mirrored, or unlabelled samples balanced.
    """

    def __init__(
        self,
        samples: Samples,
        seed: int,
        device: torch.device,
        *,
        flip: bool = False,
        class_balanced: bool = False,
        workers: int = 2,
    ) -> None:
        self._sequence = SampleSequence(samples, seed, flip=flip, class_balanced=class_balanced)
        self._device = device
        self._info = samples.info
        self._labels = samples.labels
        self._requests = _Requests(self._sequence)
        self._last: tuple[int, int] | None = None  # position and count of the last request
        self._batches: Iterator[Tensor | DataError] | None = None
        self._reading = _Reading(samples)
        self._workers = workers
        self._loader: DataLoader[Any] | None = None

    def batch(self, position: int, count: int) -> tuple[Tensor, Tensor | None]:
        """Return sample `position` to `position + count - 1` of the endless sequence, and their labels.

        Raises:
            DataError: A sample can't be read any more, or a worker died.
        """
        if self._batches is None or not self._requests.awaits(position, count):
            self._go_on_from(position, count)
        self._last = position, count
        assert self._batches is not None
        try:
            found = next(self._batches)
        except (RuntimeError, OSError, EOFError) as error:  # What torch and the pipe say of a worker that was killed.
            said = _said_of_death(error)
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

    def _go_on_from(self, position: int, count: int) -> None:
        """Read from `position` on, at the stride from the last request, or else batch after batch."""
        stride = count
        if self._last is not None and self._last[1] == count and position > self._last[0]:
            stride = position - self._last[0]
        self._requests.start(position, count, stride)
        if self._loader is None:
            self._loader = self._open()
        with _keep_child_handler():
            self._batches = iter(self._loader)

    def _open(self) -> DataLoader[Any]:
        return DataLoader(
            self._reading,
            sampler=self._requests,
            batch_size=None,  # The sampler gives the indices of whole batches.
            num_workers=self._workers,
            collate_fn=_as_it_is,
            pin_memory=self._device.type == "cuda",
            worker_init_fn=_leave_signals_to_parent,
            prefetch_factor=_BATCHES_AHEAD if self._workers else None,
            persistent_workers=self._workers > 0,
            generator=torch.Generator(),  # Else it would draw from the global one, on which networks may depend.
        )


class _Requests(Sampler[NDArray[np.int64]]):
    """The batches to read ahead, endlessly; remembers which of them were not taken yet."""

    def __init__(self, sequence: SampleSequence) -> None:
        self._sequence = sequence
        self._position = self._count = self._stride = 0
        self._pending: deque[NDArray[np.int64]] = deque()

    def start(self, position: int, count: int, stride: int) -> None:
        """What the next iteration begins with."""
        self._position, self._count, self._stride = position, count, stride
        self._pending = deque()

    def awaits(self, position: int, count: int) -> bool:
        """Return whether the next batch to be taken is this one."""
        return (position, count) == (self._position, self._count)

    def take(self) -> NDArray[np.int64]:
        """Return the indices of the next batch, which is taken with this."""
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
    """Reads in a worker. An error comes back as a value: raised there, torch would wrap it in its own traceback."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def __getitem__(self, indices: NDArray[np.int64]) -> Tensor | DataError:
        try:
            return torch.from_numpy(self._samples.read(indices))
        except DataError as error:
            return DataError(str(error))


@contextmanager
def _keep_child_handler() -> Iterator[None]:
    """Torch's own handler raises wherever the main thread is when a worker dies; the next batch will tell, too."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if before is None else before)


def _said_of_death(error: Exception) -> str:
    """What to tell of a worker's death: where its pipe ended first, what torch's signal handler raises only then."""
    try:
        if not isinstance(error, RuntimeError):
            time.sleep(_SIGNAL_S)
    except RuntimeError as said:
        return str(said)
    return str(error)


def _as_it_is(item: Any) -> Any:
    return item


def _leave_signals_to_parent(_worker: int) -> None:
    """A stop request reaches the whole process group; the parent still needs its workers up to the checkpoint."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
