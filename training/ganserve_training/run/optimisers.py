"""Options of each optimiser, and one network's update.

To add one, write a class like `AdamConfig`; `register_optimiser` adds it to `--optimisers.{generator,critic}.name`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ganserve_training.options.anneal import Anneal
from ganserve_training.options.checks import expect, expect_not_negative
from ganserve_training.options.registry import Registry
from ganserve_training.run.distributed import Processes

OPTIMISERS: Registry[OptimiserConfig] = Registry("name")
register_optimiser = OPTIMISERS.register
"""Decorator that adds a class to the choices of `--optimisers.{generator,critic}.name`."""
_EITHER = "optimisers.{generator,critic}"  # The configuration does not say which network it is for.


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """One network's optimiser."""

    registry: ClassVar = OPTIMISERS
    name: ClassVar[str]
    """The optimiser: Adam (Kingma & Ba 2015), RMSprop as in WGAN, or SGD."""
    can_unroll: ClassVar[bool] = False
    """True if objectives/unrolling.py knows its update."""

    learning_rate: Anneal = field(default_factory=lambda: Anneal.constant(1e-3))
    """Step size."""
    beta1: float = 0.0
    """Decay rate of the running mean of gradients, or momentum; GANs train best with little or none."""
    weight_decay: float = 0.0
    """Pull of every weight towards zero, decoupled from the gradient (Loshchilov & Hutter 2019)."""

    def __post_init__(self) -> None:
        rate = self.learning_rate
        expect(rate.start > 0.0 and rate.end >= 0.0, f"{_EITHER}.learning_rate", rate, "positive")
        expect(0.0 <= self.beta1 < 1.0, f"{_EITHER}.beta1", self.beta1, "at least 0 and less than 1")
        expect_not_negative(f"{_EITHER}.weight_decay", self.weight_decay)

    def build(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        """Return torch's optimiser for these parameters."""
        raise NotImplementedError

    def annealed(self, progress: float, share: float = 1.0) -> dict[str, Any]:
        """Return the values for torch's parameter groups after `progress` in [0, 1] of the burn-in.

        Each update stands for this share of a step: rates are multiplied by it, decay rates raised to its power.
        """
        return {"lr": self.learning_rate.at(progress) * share}


@dataclass(frozen=True, kw_only=True)
class _SquareMeanConfig(OptimiserConfig):
    """An optimiser that divides by the root of a mean of squared gradients."""

    can_unroll = True

    beta2: Anneal = field(default_factory=lambda: Anneal.constant(0.99))
    """Decay rate of the running mean of squared gradients."""

    def __post_init__(self) -> None:
        super().__post_init__()
        beta2 = self.beta2
        expect(beta2.least >= 0.0 and beta2.most < 1.0, f"{_EITHER}.beta2", beta2, "at least 0 and less than 1")


class LeanAdam(torch.optim.Adam):
    """torch's fused Adam without the checks around its kernel, which take longer than a small network's update."""

    def lean_step(self) -> None:
        """Update as `step` does, bit for bit."""
        (group,) = self.param_groups
        moving = [item for item in group["params"] if item.grad is not None]
        states = [self.state[item] for item in moving]
        if not all(states) or len({(item.dtype, item.device) for item in moving}) != 1:
            self.step()  # It makes the moments, and sorts weights by their type.
            return
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        torch._fused_adam_(
            moving,
            [item.grad for item in moving],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            amsgrad=False,
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


@register_optimiser
@dataclass(frozen=True, kw_only=True)
class AdamConfig(_SquareMeanConfig):
    """Adam (Kingma & Ba 2015)."""

    name = "adam"

    def build(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        """Return torch's Adam, fused."""
        rate, betas = self.learning_rate.start, (self.beta1, self.beta2.start)
        return LeanAdam(parameters, lr=rate, betas=betas, fused=True)

    def annealed(self, progress: float, share: float = 1.0) -> dict[str, Any]:
        """Return learning rate and both betas."""
        betas = (self.beta1**share, self.beta2.at(progress) ** share)
        return {**super().annealed(progress, share), "betas": betas}


@register_optimiser
@dataclass(frozen=True, kw_only=True)
class RmspropConfig(_SquareMeanConfig):
    """RMSprop, as in WGAN; `beta1` is its momentum."""

    name = "rmsprop"

    def build(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        """Return torch's RMSprop."""
        rate, alpha = self.learning_rate.start, self.beta2.start
        return torch.optim.RMSprop(parameters, lr=rate, alpha=alpha, momentum=self.beta1)

    def annealed(self, progress: float, share: float = 1.0) -> dict[str, Any]:
        """Return learning rate, momentum and the decay of squared gradients."""
        changes = {"alpha": self.beta2.at(progress) ** share, "momentum": self.beta1**share}
        return {**super().annealed(progress, share), **changes}


@register_optimiser
@dataclass(frozen=True, kw_only=True)
class SgdConfig(OptimiserConfig):
    """Stochastic gradient descent; `beta1` is its momentum."""

    name = "sgd"
    can_unroll = True

    def build(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        """Return torch's SGD."""
        return torch.optim.SGD(parameters, lr=self.learning_rate.start, momentum=self.beta1)

    def annealed(self, progress: float, share: float = 1.0) -> dict[str, Any]:
        """Return learning rate and momentum."""
        return {**super().annealed(progress, share), "momentum": self.beta1**share}


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimisersConfig:
    """The optimisers of both networks."""

    generator: OptimiserConfig = field(default_factory=AdamConfig)
    """The generator's optimiser."""
    critic: OptimiserConfig = field(default_factory=AdamConfig)
    """The critic's optimiser."""

    @classmethod
    def both(cls, optimiser: OptimiserConfig) -> OptimisersConfig:
        """Return the same optimiser for both networks."""
        return cls(generator=optimiser, critic=optimiser)


class Updater:
    """Update one network from its gradients, averaged over processes.

    With a `lazy_interval` of k, k steps have k + 1 updates, one of them by a penalty alone. So that k steps move the
    weights as far as before, rates are multiplied by c = k / (k + 1), and decay rates raised to the power of c (Karras
    et al. 2020, appendix B). 0: each update is a step.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        config: OptimiserConfig,
        processes: Processes,
        lazy_interval: int = 0,
    ) -> None:
        self.parameters: Sequence[nn.Parameter] = [item for item in parameters if item.requires_grad]
        self.config = config
        self._processes = processes
        self._share = lazy_interval / (lazy_interval + 1) if lazy_interval else 1.0
        self.optimiser = config.build(self.parameters)

    def forget_gradients(self) -> None:
        """Drop the gradients."""
        for item in self.parameters:
            item.grad = None

    def gradient_norm(self) -> Tensor:
        """Return the Euclidean norm of all gradients together, a scalar."""
        gradients = [item.grad for item in self.parameters if item.grad is not None]
        return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))  # noqa: SLF001

    def average_gradients(self) -> None:
        """Average the gradients over the processes, so that they are those of the whole batch."""
        self._processes.average([item.grad for item in self.parameters if item.grad is not None])

    @torch.no_grad()
    def step(self, progress: float) -> None:
        """Update the weights; `progress` is the share of the burn-in that has passed."""
        annealed = self.config.annealed(progress, self._share)
        for group in self.optimiser.param_groups:
            group.update(annealed)
        if self.config.weight_decay:  # Skip weights without gradients, such as levels that have not grown yet.
            moving: list[Tensor] = [item for item in self.parameters if item.grad is not None]
            torch._foreach_mul_(moving, 1.0 - annealed["lr"] * self.config.weight_decay)
        if isinstance(self.optimiser, LeanAdam):
            self.optimiser.lean_step()
        else:
            self.optimiser.step()

    def reset(self) -> None:
        """Reset the moments."""
        self.optimiser.state.clear()
