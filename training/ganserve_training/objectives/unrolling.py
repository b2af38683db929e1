"""Unrolled GANs: the generator looks ahead at the critic's next updates (Metz et al. 2017).

The generator's loss uses the critic's weights after k imagined updates, and its gradient flows through those updates.
The critic itself does not change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ganserve_training.run.optimisers import AdamConfig, RmspropConfig, Updater

Parameters = dict[str, Tensor]
"""A network's weights by name."""
EPSILON = 1e-8  # Adam's and RMSprop's, as torch has it.
TINY = 1e-30  # Keeps the derivative of the square root finite at zero.


class ImaginedCritic:
    """The critic with other weights, through `torch.func.functional_call`; its own weights and buffers never change."""

    def __init__(self, critic: nn.Module) -> None:
        self._critic = critic
        weights = dict(critic.named_parameters())
        self.parameters: Parameters = {name: weight for name, weight in weights.items() if weight.requires_grad}
        """Its imagined weights, which `advance` updates."""
        self._fixed: Parameters = {name: weight for name, weight in weights.items() if not weight.requires_grad}
        self._fixed |= {name: buffer.clone() for name, buffer in critic.named_buffers()}

    def __call__(self, samples: Tensor, labels: Tensor | None) -> object:
        """Return what the critic would answer with `parameters`."""
        return torch.func.functional_call(
            self._critic, {**self.parameters, **self._fixed}, (samples, labels), strict=True
        )

    def advance(self, loss: Callable[[], Tensor], rule: DifferentiableRule) -> None:
        """Make one imagined update that minimises `loss`, differentiable with respect to all that the loss used."""
        gradients = torch.autograd.grad(loss(), list(self.parameters.values()), create_graph=True, allow_unused=True)
        self.parameters = rule.update(self.parameters, dict(zip(self.parameters, gradients, strict=True)))


class DifferentiableRule:
    """An optimiser's update in plain tensor arithmetic, which starts from the real optimiser's moments.

    Args:
        names: The weights' names, by `id` of the parameter.
        updater: The critic's.
        progress: Share of the burn-in that has passed.
        clip: Clip weights to [-clip, clip] after each update; 0: don't.
    """

    def __init__(self, names: Mapping[int, str], updater: Updater, progress: float, clip: float) -> None:
        config = updater.config
        self._config = config
        self._rate = config.learning_rate.at(progress)
        self._beta1 = config.beta1
        self._beta2 = config.beta2.at(progress) if isinstance(config, AdamConfig | RmspropConfig) else 0.0
        self._decay = config.weight_decay
        self._clip = clip
        self._first: Parameters = {}
        self._second: Parameters = {}
        self._steps: dict[str, int] = {}
        steps: list[Tensor] = []
        for parameter in updater.parameters:
            name, state = names[id(parameter)], updater.optimiser.state.get(parameter, {})
            first = state.get("exp_avg", state.get("momentum_buffer"))
            second = state.get("exp_avg_sq", state.get("square_avg"))
            self._first[name] = torch.zeros_like(parameter) if first is None else first.clone()
            self._second[name] = torch.zeros_like(parameter) if second is None else second.clone()
            steps.append(torch.as_tensor(state.get("step", 0.0), dtype=torch.float32))
            self._steps[name] = 0
        if steps:  # One transfer from the device for all of them.
            counts = torch.stack([step.to(steps[0].device) for step in steps]).tolist()
            self._steps = {name: int(count) for name, count in zip(self._steps, counts, strict=True)}

    def update(self, parameters: Parameters, gradients: Mapping[str, Tensor | None]) -> Parameters:
        """Return the next weights; a weight without a gradient does not change."""
        updated = {}
        for name, value in parameters.items():
            gradient = gradients[name]
            if gradient is None:
                updated[name] = value
                continue
            decayed = value * (1.0 - self._rate * self._decay) if self._decay else value
            moved = decayed - self._rate * self._direction(name, gradient)
            updated[name] = moved.clamp(-self._clip, self._clip) if self._clip else moved
        return updated

    def _direction(self, name: str, gradient: Tensor) -> Tensor:
        if isinstance(self._config, AdamConfig):
            self._steps[name] += 1
            step = self._steps[name]
            first = self._first[name] * self._beta1 + gradient * (1.0 - self._beta1)
            second = self._second[name] * self._beta2 + gradient.square() * (1.0 - self._beta2)
            self._first[name], self._second[name] = first, second
            root = (second + TINY).sqrt() / (1.0 - self._beta2**step) ** 0.5
            return first / (1.0 - self._beta1**step) / (root + EPSILON)
        scaled = gradient
        if isinstance(self._config, RmspropConfig):
            second = self._second[name] * self._beta2 + gradient.square() * (1.0 - self._beta2)
            self._second[name] = second
            scaled = gradient / ((second + TINY).sqrt() + EPSILON)
        if not self._beta1:
            return scaled
        momentum = self._first[name] * self._beta1 + scaled
        self._first[name] = momentum
        return momentum
