"""Optimisers by name, and one player's update."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ganserve_training.config import OptimiserConfig
from ganserve_training.config.annealing import anneal
from ganserve_training.run.distributed import Processes


class Updater:
    """Turns the gradients of one network into its next weights.

    Args:
        parameters: Of the network.
        config: The optimiser and its annealed values.
        processes: Which average their gradients first.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], config: OptimiserConfig, processes: Processes) -> None:
        self.parameters: Sequence[nn.Parameter] = [item for item in parameters if item.requires_grad]
        """What is trained."""
        self.config = config
        self._processes = processes
        self.optimiser = _build(self.parameters, config)
        """torch's optimiser."""

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.optimiser.zero_grad(set_to_none=True)

    def gradient_norm(self) -> Tensor:
        """Euclidean norm of all gradients together, a scalar."""
        gradients = [item.grad for item in self.parameters if item.grad is not None]
        norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))  # noqa: SLF001
        return norm

    def average_gradients(self) -> None:
        """Make the gradients those of the whole batch."""
        self._processes.average([item.grad for item in self.parameters if item.grad is not None])

    @torch.no_grad()
    def step(self, progress: float) -> None:
        """Update the weights; `progress` is the share of the burn-in that has passed."""
        learning_rate = anneal(self.config.learning_rate, progress)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
            if self.config.name == "adam":
                group["betas"] = (self.config.beta1, anneal(self.config.beta2, progress))
            elif self.config.name == "rmsprop":
                group["alpha"] = anneal(self.config.beta2, progress)
        if self.config.weight_decay:  # Not of what has no gradient, such as levels that have not grown yet.
            moving: list[Tensor] = [item for item in self.parameters if item.grad is not None]
            torch._foreach_mul_(moving, 1.0 - learning_rate * self.config.weight_decay)
        self.optimiser.step()

    def reset(self) -> None:
        """Forget the moments, as if training began."""
        self.optimiser.state.clear()

    def state_dict(self) -> dict[str, Any]:
        """The optimiser's state."""
        return self.optimiser.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` gave."""
        self.optimiser.load_state_dict(state)


def _build(parameters: Sequence[nn.Parameter], config: OptimiserConfig) -> torch.optim.Optimizer:
    rate, beta2 = config.learning_rate.start, config.beta2.start
    if config.name == "adam":
        return torch.optim.Adam(parameters, lr=rate, betas=(config.beta1, beta2), fused=True)
    if config.name == "rmsprop":
        return torch.optim.RMSprop(parameters, lr=rate, alpha=beta2, momentum=config.beta1)
    return torch.optim.SGD(parameters, lr=rate, momentum=config.beta1)
