"""Several processes that share each batch: plain averages of gradients, no wrapped modules.

A GAN's update runs a network several times before one backward pass and differentiates gradients again, neither of
which torch's DistributedDataParallel is made for. Averaging the gradients when they are complete is exact for both.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Processes:
    """This process's place among those that train together.

    Args:
        rank: from 0; rank 0 writes files.
        world: how many there are.
        device: where they exchange tensors.
    """

    def __init__(self, rank: int = 0, world: int = 1, device: torch.device | None = None) -> None:
        self.rank = rank
        self.world = world
        self._device = device or torch.device("cpu")

    @classmethod
    def of(cls, fabric: "Fabric") -> "Processes":
        """The processes that ``fabric`` has launched."""
        return cls(fabric.global_rank, fabric.world_size, fabric.device)

    @property
    def writes(self) -> bool:
        """Whether this process writes the run's files and speaks to the user."""
        return self.rank == 0

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor, in place, by its mean over the processes."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        flat.div_(self.world)
        start = 0
        for tensor in tensors:
            tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()

    def most(self, value: int) -> int:
        """The largest of the processes' numbers: how they agree to stop."""
        if self.world == 1:
            return value
        tensor = torch.tensor([value], device=self._device)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return int(tensor)

    def barrier(self) -> None:
        """Wait for the others."""
        if self.world > 1:
            dist.barrier()
