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
from ganserve_training.networks import NetworkPair, as_output, build_networks
from ganserve_training.networks.adaptation import moved
from ganserve_training.networks.batch_statistics import PackedCritic
from ganserve_training.networks.build import resolve_conditioning
from ganserve_training.networks.custom import CustomConfig
from ganserve_training.networks.own_code import raised
from ganserve_training.networks.problems import BrokenNetworkError, Problems
from ganserve_training.options.checks import flag
from ganserve_training.run.network_trials import (
    check_ranges,
    check_step,
    check_weights,
    expect_finite,
    named,
    random_inputs,
)

ExportTrial: TypeAlias = Callable[[TrainConfig, NetworkPair, DataInfo], list[str]]
"""Exports networks for a trial; returns notes for the user, or raises a ConfigError."""

_TRIALS: list[ExportTrial] = []
_PENALTIES = {
    "r1_gamma": "regularisers.r1_gamma.{start,end}",
    "r2_gamma": "regularisers.r2_gamma.{start,end}",
    "roth_gamma": "regularisers.roth_gamma.{start,end}",
}
_OTHER_WEIGHTS = (0.1, 1.0, 3.0)  # deviations of noise on the weights
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


def build_and_ask(config: TrainConfig, data: DataInfo, device: torch.device) -> NetworkPair:
    """Return new networks; raise a ConfigError with everything that is wrong with the user's own, in one round."""
    try:
        return build_networks(config.networks, data)
    except BrokenNetworkError as error:
        if not isinstance(config.networks, CustomConfig):
            raise
        problems = Problems()
        problems.messages += error.messages
        if len(error.players) == 2:
            critic = error.players["critic"]
            packing, conditioning = config.networks.packing, resolve_conditioning(config.networks, data)
            pair = NetworkPair(
                error.players["generator"].to(device),
                (PackedCritic(critic, packing) if packing > 1 else critic).to(device),
                conditioning.label_names,
                conditioning.critic_uses_labels,
            )
            with problems.gathered():
                ask_networks(config, pair, data, device)
        problems.expect_none()
        raise


def ask_networks(config: TrainConfig, pair: NetworkPair, data: DataInfo, device: torch.device) -> None:
    """Refuse networks of the user's own that could not be trained, saved or exported as they are.

    Random numbers and the networks' state stay as they are.

    Raises:
        ConfigError: With all problems.
    """
    if not isinstance(config.networks, CustomConfig):
        return
    problems = Problems()
    for question in (check_weights, check_ranges, check_derivatives, check_step):
        with problems.gathered():
            question(config, pair, data, device)
    problems.expect_none()


def check_derivatives(config: TrainConfig, pair: NetworkPair, data: DataInfo, device: torch.device) -> None:
    """Refuse a custom critic without the derivatives that its penalties and its generator need.

    Random numbers and the networks' state stay as they are.

    Raises:
        ConfigError: With the penalties that need them.
    """
    if not isinstance(config.networks, CustomConfig):
        return
    twice = _needing_two(config)
    path = named(config, "critic")
    samples, labels = random_inputs(config, pair, data, device)
    samples.requires_grad_()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        critic = copy.deepcopy(pair.critic).train()
        try:
            gradient = _gradient(critic, samples, labels, config)
        except Exception as error:  # The user's code may raise anything.
            raise ConfigError(
                f"{path}: has no gradient with respect to its samples, from which the generator learns: "
                f"its backward pass {raised(error)}. Use differentiable operations alone, without .detach() or .item()."
            ) from error
        expect_finite(path, "gradient", [gradient])
        if not gradient.any() and _ignores_samples(critic, samples, labels, config):
            raise ConfigError(
                f"{path}: its scores have no gradient with respect to its samples: it is zero, whatever its weights, "
                "so neither network would learn. Leave out rounding, signs, and a softmax over one value."
            )
        if not twice:
            return
        try:
            torch.autograd.backward(gradient.square().sum())
        except Exception as error:
            raise ConfigError(_no_second(path, error, twice)) from error
        expect_finite(path, "second derivative", [item.grad for item in critic.parameters() if item.grad is not None])


def _gradient(critic: nn.Module, samples: Tensor, labels: Tensor | None, config: TrainConfig) -> Tensor:
    low = torch.autocast(samples.device.type, torch.bfloat16)
    with low if config.precision == "bfloat16" else nullcontext():
        scores = as_output(critic(samples, labels)).scores
    (gradient,) = torch.autograd.grad(scores.float().sum(), samples, create_graph=True)
    return gradient


def _ignores_samples(critic: nn.Module, samples: Tensor, labels: Tensor | None, config: TrainConfig) -> bool:
    """Return True if the gradient is zero with other weights, too: a last layer may start at zero."""
    return not any(_gradient(moved(critic, by), samples, labels, config).any() for by in _OTHER_WEIGHTS)


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
    said = f"that {raised(error)}"
    remedy = next((fix for word, fix in _REMEDIES.items() if word in said), "Use operations that have one")
    options = [option for option in needing if option.startswith("--")]
    without = f", or train without: {' 0 '.join(options)} 0" if options else ""
    return f"{path}: has no second derivative, which {' and '.join(needing)} need: {said}. {remedy}{without}."
