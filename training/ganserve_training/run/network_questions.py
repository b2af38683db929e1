"""Ask networks of the user's own what training and export will need of them, before the first step.

N = batch, C = channels, H = height, W = width, D = values of a vector.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ganserve_training.config import TrainConfig
from ganserve_training.data.sample_info import DataInfo
from ganserve_training.errors import ConfigError
from ganserve_training.files import reason_of
from ganserve_training.networks import NetworkPair, as_output
from ganserve_training.networks.custom import CustomConfig
from ganserve_training.options.checks import flag

ExportTrial: TypeAlias = Callable[[TrainConfig, NetworkPair, DataInfo], list[str]]
"""Exports networks for a trial; returns notes for the user, or raises a ConfigError."""

_TRIALS: list[ExportTrial] = []
_SAMPLES = 4
_PENALTIES = {
    "r1_gamma": "regularisers.r1_gamma.{start,end}",
    "r2_gamma": "regularisers.r2_gamma.{start,end}",
    "roth_gamma": "regularisers.roth_gamma.{start,end}",
}
_REMEDIES = {
    "scaled_dot_product": "Compute attention in `with torch.nn.attention.sdpa_kernel(SDPBackend.MATH)`",
    "cdist": "Compute distances as (a[:, :, None] - b[:, None]).square().sum(-1)",
}


def register_export_trial(trial: ExportTrial) -> None:
    """Let `trial` look at custom networks before they are trained; training itself knows nothing of ONNX."""
    if trial not in _TRIALS:
        _TRIALS.append(trial)


def try_export(config: TrainConfig, pair: NetworkPair, data: DataInfo) -> list[str]:
    """Export custom networks for a trial, if something that can export is loaded; return notes for the user.

    Raises:
        ConfigError: The generator can't be exported, and `networks.check_export` is set.
    """
    if not isinstance(config.networks, CustomConfig) or not config.networks.check_export:
        return []
    return [note for trial in _TRIALS for note in trial(config, pair, data)]


def check_derivatives(config: TrainConfig, pair: NetworkPair, data: DataInfo, device: torch.device) -> None:
    """Refuse a custom critic without the derivatives that its penalties and its generator need.

    Random numbers and the networks' state stay as they are.

    Raises:
        ConfigError: With the penalties that need them.
    """
    if not isinstance(config.networks, CustomConfig):
        return
    twice = _needing_two(config)
    path = f"{flag('networks.critic_class')} {config.networks.critic_class}"
    devices = [device] if device.type == "cuda" else []
    random = torch.Generator().manual_seed(0)
    count = _SAMPLES * config.networks.packing
    samples = torch.randn(count, *data.network_shape, generator=random).to(device).requires_grad_()
    labels = None
    if pair.critic_uses_labels:
        labels = (torch.arange(count) % len(pair.label_names)).to(device)
    with torch.random.fork_rng(devices=devices):
        critic = copy.deepcopy(pair.critic).train()
        try:
            gradient = _gradient(critic, samples, labels, config)
        except Exception as error:  # The user's code may raise anything.
            raise ConfigError(
                f"{path}: has no gradient with respect to its samples, from which the generator learns: "
                f"{reason_of(error)}. Use differentiable operations alone, without .detach() or .item()."
            ) from error
        _expect_finite(path, "gradient", [gradient])
        if not twice:
            return
        try:
            torch.autograd.backward(gradient.square().sum())
        except Exception as error:
            raise ConfigError(_no_second(path, error, twice)) from error
        _expect_finite(path, "second derivative", [item.grad for item in critic.parameters() if item.grad is not None])


def _gradient(critic: nn.Module, samples: Tensor, labels: Tensor | None, config: TrainConfig) -> Tensor:
    low = torch.autocast(samples.device.type, torch.bfloat16)
    with low if config.precision == "bfloat16" else nullcontext():
        scores = as_output(critic(samples, labels)).scores
    (gradient,) = torch.autograd.grad(scores.float().sum(), samples, create_graph=True)
    return gradient


def _needing_two(config: TrainConfig) -> list[str]:
    """Return the options because of which the critic must be differentiated twice."""
    penalties = config.regularisers
    found = [path for name, path in _PENALTIES.items() if getattr(penalties, name).most > 0.0]
    if penalties.gradient_penalty.weight > 0.0:
        found.append("regularisers.gradient_penalty.weight")
    if config.schedule.unrolled_steps > 0:
        found.append("schedule.unrolled_steps")
    named = [flag(path) for path in found]
    return [*named, *(piece.name for piece in penalties.more if piece.needs_input_gradients)]


def _no_second(path: str, error: Exception, needing: list[str]) -> str:
    said = reason_of(error)
    remedy = next((fix for word, fix in _REMEDIES.items() if word in said), "Use operations that have one")
    options = [option for option in needing if option.startswith("--")]
    without = f", or train without: {' 0 '.join(options)} 0" if options else ""
    return f"{path}: has no second derivative, which {' and '.join(needing)} need: {said}. {remedy}{without}."


def _expect_finite(path: str, what: str, values: list[Tensor]) -> None:
    if not all(bool(value.isfinite().all()) for value in values):
        raise ConfigError(
            f"{path}: its {what} is NaN or infinite for random samples, so the first step would end training. Look for "
            "square roots, norms, logarithms or divisions at zero."
        )
