"""Your own networks, by import path. N = batch, Z = latent, C = channels, H = height, W = width, K = labels.

docs/networks.md has the contract. This module checks it on two samples before training starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ganserve_training.errors import ConfigError
from ganserve_training.networks.adaptation import Adaptation, CriticRead, GeneratorRange, moved
from ganserve_training.networks.conditioning import Conditioning
from ganserve_training.networks.config import Shape, SpectralNormConfig, register_architecture
from ganserve_training.networks.critic_output import CriticOutput, as_output
from ganserve_training.networks.custom_class import MOVES, TOLERANCE, YourClass
from ganserve_training.networks.growth import GrowthConfig
from ganserve_training.networks.problems import BrokenNetworkError
from ganserve_training.options.checks import flag, refusal

_ROUNDING = 1e-6
"""Relative difference between two sums of the same numbers."""


def custom_generator(config: CustomConfig, shape: Shape, conditioning: Conditioning) -> nn.Module:
    """Build the generator that `networks.generator_class` names; raise ConfigError if it breaks the contract."""
    count, yours = conditioning.label_count, YourClass(config.generator_class, is_generator=True)
    made = yours.construct({"latent_dim": config.latent_dim, "sample_shape": shape, "label_count": count})
    latents, labels = torch.linspace(-1.0, 1.0, 2 * config.latent_dim).view(2, config.latent_dim), _two_labels(count)
    unit = Adaptation(unit=config.generator_range == "unit")
    generator = yours.adapted(made, latents, labels, count, shape, unit)
    yours.expect_tensor("samples", yours.call(generator, latents, labels), (2, *shape))
    problems = list(yours.is_sound(generator, latents, labels))
    if not problems:
        problems += _generator_problems(yours, generator, latents, labels, count, conditioning)
    _refuse(problems, "generator", generator)
    return generator


def _generator_problems(
    yours: YourClass,
    generator: nn.Module,
    latents: Tensor,
    labels: Tensor | None,
    count: int,
    conditioning: Conditioning,
) -> Iterator[ConfigError]:
    copies = (moved(generator, by) for by in MOVES)  # Weights of zero may hide what mixes the samples.
    if any(yours.mixes_samples(network, latents, labels) for network in (generator, *copies)):
        problem = "makes another sample of the same latent in another batch, in eval mode"
        fix = (
            "Freeze statistics of the batch there (running means, as BatchNorm does), and let no sample see the others"
        )
        yield yours.refusal(problem, fix)
    if not yours.heeds_labels(generator, latents, count, _differ):
        problem = f"ignores its {count} labels: it gives the same samples for each"
        without = "--networks.codes.categories 0" if conditioning.code_categories else "--data.labels ignore"
        fix = f"Take label_count in its constructor and use the labels in forward, or train without: {without}"
        yield yours.refusal(problem, fix)


def custom_critic(config: CustomConfig, shape: Shape, conditioning: Conditioning) -> nn.Module:
    """Build the critic that `networks.critic_class` names; raise ConfigError if it breaks the contract."""
    yours = YourClass(config.critic_class)
    guesses = conditioning.critic == "classifier"
    categories, continuous = conditioning.code_categories, conditioning.continuous_codes
    count = 0 if categories else conditioning.label_count
    codes = {"code_categories": categories, "continuous_codes": continuous}
    made = yours.construct({"sample_shape": shape, "label_count": count, **codes})
    samples = torch.linspace(-1.0, 1.0, 2 * torch.Size(shape).numel()).view(2, *shape)
    labels = None if guesses else _two_labels(count)
    read = Adaptation(probabilities=config.critic_output == "probabilities")
    critic = yours.adapted(made, samples, labels, count, (), read)
    output = yours.call(critic, samples, labels)
    yours.expect_tensor("scores", output.scores if isinstance(output, CriticOutput) else output, (2,))
    for head, width, option in (
        ("class_logits", count if guesses else 0, "networks.critic_conditioning classifier"),
        ("code_logits", categories, "networks.codes.categories"),
        ("code_values", continuous, "networks.codes.continuous"),
    ):
        found = getattr(output, head, None)
        if width:
            yours.expect_tensor(f"CriticOutput.{head}", found, (2, width))
        elif found is not None:
            problem = f"gives CriticOutput.{head}, which no loss would train"
            raise yours.refusal(problem, f"Set {flag(option)}, or leave the head out")
    problems = list(yours.is_sound(critic, samples, labels))
    if not problems:
        problems += _critic_problems(yours, critic, samples, labels, count)
    _refuse(problems, "critic", critic)
    return critic


def _critic_problems(
    yours: YourClass, critic: nn.Module, samples: Tensor, labels: Tensor | None, count: int
) -> Iterator[ConfigError]:
    together, *alone = (
        as_output(yours.call(critic, samples[places], None if labels is None else labels[places])).scores
        for places in (slice(2), slice(1), slice(1, 2))
    )
    if not torch.allclose(torch.cat(alone), together, rtol=TOLERANCE, atol=TOLERANCE):
        problem = "scores a sample differently in a batch with another one, in eval mode"
        fix = "Score each sample alone there, with running statistics in place of the batch's and no random numbers"
        yield yours.refusal(problem, fix)
    if labels is not None and not yours.heeds_labels(critic, samples, count, _judge_differently):
        yield yours.refusal(
            f"ignores its {count} labels, or only adds a constant per label to the score of every "
            "sample, so no generator could learn them from it",
            "Take label_count in its constructor and combine labels and sample in forward, guess them "
            "(class_logits with --networks.critic-conditioning classifier), or train without: --data.labels ignore",
        )


def _refuse(problems: list[ConfigError], player: str, network: nn.Module) -> None:
    if problems:
        raise BrokenNetworkError([str(problem) for problem in problems], {player: network})


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
    generator_range: GeneratorRange = "symmetric"
    """Range of your generator's images: symmetric, [-1, 1] as from tanh; unit, [0, 1] as from a sigmoid, which is
    scaled to [-1, 1]."""
    critic_output: CriticRead = "scores"
    """Output of your critic: scores (logits), or probabilities as from a sigmoid, which are turned back into logits."""
    check_export: bool = True
    """Export both classes for a trial before the first step, and refuse a generator that can't be exported."""
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


def _two_labels(count: int) -> Tensor | None:
    return torch.tensor([0, count - 1]) if count else None
