"""Your own networks, by import path. N = batch, Z = latent, C = channels, H = height, W = width, K = labels.

docs/networks.md has the contract. This module checks it on two samples before training starts.
"""

from __future__ import annotations

import copy
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ganserve_training.errors import ConfigError
from ganserve_training.networks.conditioning import Conditioning
from ganserve_training.networks.config import Shape, SpectralNormConfig, register_architecture
from ganserve_training.networks.critic_output import CriticOutput, as_output
from ganserve_training.networks.growth import GrowthConfig
from ganserve_training.options.checks import refusal

_TOLERANCE = 1e-4
_ROUNDING = 1e-6
"""Relative difference between two sums of the same numbers."""
_MOVES = (0.01, 0.1)
"""Standard deviations of noise on the weights, which shows the effect of labels that the first weights hide."""
_HEAD_SETTINGS = {
    "class_logits": "networks.critic_conditioning classifier",
    "code_logits": "networks.codes.categories",
    "code_values": "networks.codes.continuous",
}


def custom_generator(config: CustomConfig, shape: Shape, conditioning: Conditioning) -> nn.Module:
    """Build the generator that `networks.generator_class` names, and check it.

    Raises:
        ConfigError: It can't be imported, built or called, or breaks the contract of generators.
    """
    path = config.generator_class
    offered = {"latent_dim": config.latent_dim, "sample_shape": shape, "label_count": conditioning.label_count}
    generator = _construct(path, offered)
    latents = torch.linspace(-1.0, 1.0, 2 * config.latent_dim).view(2, config.latent_dim)
    labels = _two_labels(conditioning.label_count)
    first, again = (_call(path, generator, latents, labels) for _ in range(2))
    _expect_tensor(path, "samples", first, (2, *shape))
    if not torch.equal(first, again):
        raise ConfigError(
            f"{path} gives different samples for the same latents in eval mode: it must draw no random numbers there, "
            "so that a seed always gives the same sample; take all noise from the latents"
        )
    if not _heeds_labels(path, generator, latents, conditioning.label_count, _differ):
        without = "--networks.codes.categories 0" if conditioning.code_categories else "--data.labels ignore"
        raise ConfigError(
            f"{path} ignores its labels, of which there are {conditioning.label_count}: it gives the same samples for "
            f"each; take label_count in its constructor and use the labels in forward, or train without: {without}"
        )
    return generator


def custom_critic(config: CustomConfig, shape: Shape, conditioning: Conditioning) -> nn.Module:
    """Build the critic that `networks.critic_class` names, and check it.

    Raises:
        ConfigError: It can't be imported, built or called, or breaks the contract of critics.
    """
    path = config.critic_class
    guesses = conditioning.critic == "classifier"
    takes_labels = 0 if conditioning.code_categories else conditioning.label_count
    offered = {
        "sample_shape": shape,
        "label_count": takes_labels,
        "code_categories": conditioning.code_categories,
        "continuous_codes": conditioning.continuous_codes,
    }
    critic = _construct(path, offered)
    samples = torch.linspace(-1.0, 1.0, 2 * torch.Size(shape).numel()).view(2, *shape)
    labels = None if guesses else _two_labels(takes_labels)
    output = _call(path, critic, samples, labels)
    scores = output.scores if isinstance(output, CriticOutput) else output
    _expect_tensor(path, "scores", scores, (2,))
    for head, width in (
        ("class_logits", takes_labels if guesses else 0),
        ("code_logits", conditioning.code_categories),
        ("code_values", conditioning.continuous_codes),
    ):
        if width:
            _expect_tensor(path, f"CriticOutput.{head}", getattr(output, head, None), (2, width))
        elif getattr(output, head, None) is not None:
            raise ConfigError(
                f"{path} gives CriticOutput.{head}, which nothing would train: set {_HEAD_SETTINGS[head]}, or leave "
                "the head out"
            )
    alone = _call(path, critic, samples[:1], None if labels is None else labels[:1])
    score = alone.scores if isinstance(alone, CriticOutput) else alone
    if not torch.allclose(score, scores[:1], rtol=_TOLERANCE, atol=_TOLERANCE):
        raise ConfigError(
            f"{path} scores a sample differently beside another one in eval mode: it must score each sample alone "
            "there (running statistics in place of the batch's) and draw no random numbers"
        )
    if labels is not None and not _heeds_labels(path, critic, samples, takes_labels, _judge_differently):
        raise ConfigError(
            f"{path} ignores its labels, of which there are {takes_labels}, or adds a number of their own to the score "
            "of every sample alike, so no generator could learn them from it: take label_count in its constructor and "
            "let the labels meet the sample in forward, guess them (class_logits with --networks.critic-conditioning "
            "classifier), or train without: --data.labels ignore"
        )
    return critic


@register_architecture
@dataclass(frozen=True, kw_only=True)
class CustomConfig(SpectralNormConfig, GrowthConfig):
    """Your own two classes; they decide how labels enter them."""

    architecture = "custom"
    players = (custom_generator, custom_critic)
    bounds_critic = True  # Only its code knows whether it does.

    generator_class: str = ""
    """Import path of your generator's class, such as my_package.models:MyGenerator."""
    critic_class: str = ""
    """Import path of your critic's class."""
    generator_conditioning: Literal["auto"] = "auto"
    """Your generator decides how the label enters it."""
    critic_conditioning: Literal["auto", "classifier"] = "auto"
    """Your critic decides how the label enters it. classifier: it returns class_logits (AC-GAN, Odena et al. 2017)."""

    def check_complete(self) -> None:
        """Refuse missing or malformed import paths."""
        for name in ("generator_class", "critic_class"):
            module, _, attribute = getattr(self, name).partition(":")
            if not (module and attribute):
                problem = "must be an import path with --networks.architecture custom"
                fix = "Give one such as my_package.models:MyClass"
                raise refusal(f"networks.{name}", getattr(self, name) or "(not given)", problem, fix)


def _heeds_labels(path: str, network: nn.Module, inputs: Tensor, count: int, differ: Callable[[Tensor], bool]) -> bool:
    """Return True if the network's output depends on its labels, or if there is at most one label.

    `differ` compares the outputs for the same two inputs with several labels, [labels, 2, …]. An embedding, a
    modulation or a gate may start at zero and hide the labels, so copies with slightly changed weights are tried, too.
    """

    def shows(candidate: nn.Module) -> bool:
        given = [
            as_output(_call(path, candidate, inputs, torch.full((len(inputs),), label))).scores
            for label in sorted({0, 1, count // 2, count - 1})
        ]
        return differ(torch.stack(given))

    return count < 2 or shows(network) or any(shows(_moved(network, by)) for by in _MOVES)


def _differ(given: Tensor) -> bool:
    """Return True if labels change the output."""
    return bool((given != given[0]).any())


def _judge_differently(scores: Tensor) -> bool:
    """Return True if labels change the difference between the scores of two samples, [labels, 2].

    Where labels only add to the score, D(x, y) = f(x) + b(y), the gradient with respect to x is the same for all
    labels, so the generator can't learn them.
    """
    preferences = scores[:, 0] - scores[:, 1]
    rounding = _ROUNDING * scores.abs().max()
    return not bool(((preferences - preferences[0]).abs() <= rounding).all())


def _moved(network: nn.Module, by: float) -> nn.Module:
    """Return a copy with noise on all trained weights; torch's global random numbers do not change."""
    moved, random = copy.deepcopy(network), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in moved.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=random).to(weight), alpha=by)
    return moved


def _construct(path: str, offered: dict[str, Any]) -> nn.Module:
    """Return an instance, built with the offered keywords that its constructor takes."""
    factory = _import(path)
    parameters = inspect.signature(factory).parameters.values()
    takes_all = any(item.kind is inspect.Parameter.VAR_KEYWORD for item in parameters)
    named = {item.name for item in parameters}
    needed = [
        item.name
        for item in parameters
        if item.default is inspect.Parameter.empty
        and item.kind not in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        and item.name not in offered
    ]
    if needed:
        raise ConfigError(
            f"{path} needs the arguments {', '.join(needed)}, which nothing gives it: its constructor gets "
            f"those of {', '.join(offered)} that it takes; give the others defaults"
        )
    try:
        made = factory(**{name: value for name, value in offered.items() if takes_all or name in named})
    except Exception as error:  # The user's code may raise anything.
        raise ConfigError(f"{path} can't be made: {type(error).__name__}: {error}") from error
    if not isinstance(made, nn.Module):
        raise ConfigError(f"{path} must be a class of torch.nn.Module (it made a {type(made).__name__})")
    return made


def _import(path: str) -> Any:
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ConfigError(f"{path}: {module_name} imports {error.name}, which is not installed") from error
        raise ConfigError(
            f"{path}: there is no module {error.name}: install your package, or set PYTHONPATH to the folder that "
            "holds it"
        ) from error
    except Exception as error:  # The user's code may raise anything.
        raise ConfigError(f"{path}: importing {module_name} raised {type(error).__name__}: {error}") from error
    found = getattr(module, name, None)
    if not callable(found):
        classes = [
            key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, nn.Module)
        ]
        raise ConfigError(f"{path}: {module_name} has no class {name} (it has {', '.join(classes) or 'no networks'})")
    return found


def _call(path: str, network: nn.Module, inputs: Tensor, labels: Tensor | None) -> Any:
    """Run two samples through the network in eval mode, without an effect on its state."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            return network(inputs, labels)
    except Exception as error:  # The user's code may raise anything.
        given = f"{list(inputs.shape)}, {'None' if labels is None else f'labels int64 {list(labels.shape)}'}"
        raise ConfigError(f"{path} called with ({given}) raised {type(error).__name__}: {error}") from error
    finally:
        network.train(training)


def _expect_tensor(path: str, what: str, value: object, shape: Shape) -> None:
    if not isinstance(value, Tensor):
        raise ConfigError(f"{path} must give {what} {list(shape)} for two samples (got {type(value).__name__})")
    if tuple(value.shape) != shape or not value.is_floating_point():
        raise ConfigError(
            f"{path} must give {what} float {list(shape)} for two samples (got {value.dtype} {list(value.shape)})"
        )


def _two_labels(count: int) -> Tensor | None:
    return torch.tensor([0, count - 1]) if count else None
