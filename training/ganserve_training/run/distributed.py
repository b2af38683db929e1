"""Average gradients over several processes that share each batch, without wrapped modules.

A GAN's update runs a network several times before one backward pass and differentiates gradients again; torch's
DistributedDataParallel supports neither. Averaging the complete gradients is exact for both.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ganserve_training.errors import LostProcessError

T = TypeVar("T")


class Processes:
    """This process's place among the processes that train together.

    All processes must call each method in the same order; it raises LostProcessError if another has ended or failed.
    `rank` counts from 0, `world` is the number of processes, and the default device is the CPU.
    """

    def __init__(self, rank: int = 0, world: int = 1, device: torch.device | None = None) -> None:
        self.rank = rank
        self.world = world
        self.device = device or torch.device("cpu")

    @property
    def writes(self) -> bool:
        """Return whether this process writes the run's files and messages."""
        return self.rank == 0

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each floating tensor, in place, by its mean over the processes; after an error, none is changed."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with notice_lost_processes():
            dist.all_reduce(flat)
        flat.div_(self.world)
        start = 0
        for tensor in tensors:
            tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()

    def most(self, value: int) -> int:
        """Return the largest of the processes' numbers, so that they agree when to stop."""
        if self.world == 1:
            return value
        tensor = torch.tensor([value], device=self.device)
        with notice_lost_processes():
            dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return int(tensor)

    def ask_first(self, work: Callable[[], T]) -> T:
        """Run `work` in the first process only; return its result, which must be picklable, in all."""
        if self.world == 1:
            return work()
        answer: list[Any] = [False, None]
        if self.rank == 0:
            try:
                answer = [True, work()]
            finally:
                self._broadcast(answer)
        else:
            self._broadcast(answer)
            if not answer[0]:
                raise LostProcessError("the first process failed and reports the reason")
        return answer[1]

    def barrier(self) -> None:
        """Wait for the other processes."""
        self.most(0)  # Unlike dist.barrier, it need not guess this process's device.

    def _broadcast(self, answer: list[Any]) -> None:
        with notice_lost_processes():
            dist.broadcast_object_list(answer, src=0, device=self.device)


@contextmanager
def notice_lost_processes() -> Iterator[None]:
    """Turn errors of torch, gloo and NCCL about a broken connection into `LostProcessError`."""
    try:
        yield
    except RuntimeError as error:
        # Strip gloo's place in its source, and its advice to its developers.
        reason = re.sub(r"^\[[^]]*\] *", "", str(error).strip()).partition("\n")[0].partition(". ")[0]
        raise LostProcessError(
            f"another process that trains together with this one ended or can't be reached ({reason}). The same "
            "command resumes from the last checkpoint, with as many processes or others."
        ) from error


def leave_group() -> None:
    """Close the connections while Python still runs: gloo's threads abort a process that exits with open ones."""
    if dist.is_initialized():
        dist.destroy_process_group()


def running_statistics(*networks: nn.Module) -> list[Tensor]:
    """Return buffers called `running_...`, such as the statistics of batch normalisation, and the mean of w.

    Each process updates them from its share of the batch. The update is linear, so their mean over the processes is the
    same whenever it is taken.
    """
    return [
        buffer
        for network in networks
        for name, buffer in network.named_buffers()
        if name.rpartition(".")[2].startswith(("running_", "w_avg")) and buffer.is_floating_point()
    ]
