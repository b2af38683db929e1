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
from ganserve_training.options.checks import flag, refusal

_TOLERANCE = 1e-4
_ROUNDING = 1e-6
"""Relative difference between two sums of the same numbers."""
_MOVES = (0.01, 0.1)
"""Standard deviations of noise on the weights, which shows the effect of labels that the first weights hide."""


def custom_generator(config: CustomConfig, shape: Shape, conditioning: Conditioning) -> nn.Module:
    """Build the generator that `networks.generator_class` names; raise ConfigError if it breaks the contract."""
    count, yours = conditioning.label_count, _Yours(config.generator_class)
    offered = {"latent_dim": config.latent_dim, "sample_shape": shape, "label_count": count}
    generator = yours.construct(offered)
    latents = torch.linspace(-1.0, 1.0, 2 * config.latent_dim).view(2, config.latent_dim)
    first, again = (yours.call(generator, latents, _two_labels(count)) for _ in range(2))
    yours.expect_tensor("samples", first, (2, *shape))
    if not torch.equal(first, again):
        problem = "gives different samples for the same latents in eval mode, so a seed would not determine its sample"
        raise yours.refusal(problem, "Take all noise from the latents")
    moved = (_moved(generator, by) for by in _MOVES)  # Weights of zero may hide what mixes the samples.
    if any(yours.mixes_samples(network, latents, _two_labels(count)) for network in (generator, *moved)):
        problem = "makes another sample of the same latent in another batch, in eval mode"
        fix = (
            "Freeze statistics of the batch there (running means, as BatchNorm does), and let no sample see the others"
        )
        raise yours.refusal(problem, fix)
    if not yours.heeds_labels(generator, latents, count, _differ):
        problem = f"ignores its {count} labels: it gives the same samples for each"
        without = "--networks.codes.categories 0" if conditioning.code_categories else "--data.labels ignore"
        fix = f"Take label_count in its constructor and use the labels in forward, or train without: {without}"
        raise yours.refusal(problem, fix)
    return generator


def custom_critic(config: CustomConfig, shape: Shape, conditioning: Conditioning) -> nn.Module:
    """Build the critic that `networks.critic_class` names; raise ConfigError if it breaks the contract."""
    yours = _Yours(config.critic_class)
    guesses = conditioning.critic == "classifier"
    categories, continuous = conditioning.code_categories, conditioning.continuous_codes
    count = 0 if categories else conditioning.label_count
    codes = {"code_categories": categories, "continuous_codes": continuous}
    critic = yours.construct({"sample_shape": shape, "label_count": count, **codes})
    samples = torch.linspace(-1.0, 1.0, 2 * torch.Size(shape).numel()).view(2, *shape)
    labels = None if guesses else _two_labels(count)
    output = yours.call(critic, samples, labels)
    scores = output.scores if isinstance(output, CriticOutput) else output
    yours.expect_tensor("scores", scores, (2,))
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
    alone = as_output(yours.call(critic, samples[:1], None if labels is None else labels[:1])).scores
    if not torch.allclose(alone, scores[:1], rtol=_TOLERANCE, atol=_TOLERANCE):
        problem = "scores a sample differently in a batch with another one, in eval mode"
        fix = "Score each sample alone there, with running statistics in place of the batch's and no random numbers"
        raise yours.refusal(problem, fix)
    if labels is not None and not yours.heeds_labels(critic, samples, count, _judge_differently):
        raise yours.refusal(
            f"ignores its {count} labels, or only adds a constant per label to the score of every "
            "sample, so no generator could learn them from it",
            "Take label_count in its constructor and combine labels and sample in forward, guess them "
            "(class_logits with --networks.critic-conditioning classifier), or train without: --data.labels ignore",
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


def _moved(network: nn.Module, by: float) -> nn.Module:
    """Return a copy with noise on all trained weights; torch's global random numbers do not change."""
    moved, random = copy.deepcopy(network), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in moved.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=random).to(weight), alpha=by)
    return moved


def _two_labels(count: int) -> Tensor | None:
    return torch.tensor([0, count - 1]) if count else None


@dataclass(frozen=True, slots=True)
class _Yours:
    """One of your two classes. What breaks the contract is refused with its import path."""

    path: str

    def refusal(self, problem: str, fix: str) -> ConfigError:
        return ConfigError(f"{self.path}: {problem}. {fix}.")

    def construct(self, offered: dict[str, Any]) -> nn.Module:
        """Return an instance, built with the offered keywords that its constructor takes."""
        factory = self._import()
        parameters = inspect.signature(factory).parameters.values()
        takes_all = any(item.kind is inspect.Parameter.VAR_KEYWORD for item in parameters)
        named = {item.name for item in parameters}
        several = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        required = [
            item.name for item in parameters if item.default is inspect.Parameter.empty and item.kind not in several
        ]
        if needed := [name for name in required if name not in offered]:
            problem = f"needs the arguments {', '.join(needed)}, which training does not pass"
            fix = f"Give them defaults: its constructor gets those of {', '.join(offered)} that it takes"
            raise self.refusal(problem, fix)
        try:
            made = factory(**{name: value for name, value in offered.items() if takes_all or name in named})
        except Exception as error:  # The user's code may raise anything.
            raise ConfigError(f"{self.path}: cannot be constructed: {type(error).__name__}: {error}") from error
        if not isinstance(made, nn.Module):
            raise ConfigError(f"{self.path}: must be a class of torch.nn.Module (it returned a {type(made).__name__}).")
        return made

    def _import(self) -> Any:
        module_name, _, name = self.path.partition(":")
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                fix = "Install it"
                raise self.refusal(f"{module_name} imports {error.name}, which is not installed", fix) from error
            fix = "Install your package, or set PYTHONPATH to the folder that holds it"
            raise self.refusal(f"there is no module {error.name}", fix) from error
        except Exception as error:  # The user's code may raise anything.
            raise ConfigError(f"{self.path}: importing {module_name} raised {type(error).__name__}: {error}") from error
        found = getattr(module, name, None)
        if not callable(found):
            networks = (value for value in vars(module).values() if isinstance(value, type))
            classes = [value.__name__ for value in networks if issubclass(value, nn.Module)]
            has = f"it has {', '.join(classes)}" if classes else "it has no networks"
            raise ConfigError(f"{self.path}: {module_name} has no class {name} ({has}).")
        return found

    def call(self, network: nn.Module, inputs: Tensor, labels: Tensor | None) -> Any:
        """Run samples through the network in eval mode, without an effect on its state."""
        training = network.training
        network.eval()
        try:
            with torch.no_grad():
                return network(inputs, labels)
        except Exception as error:  # The user's code may raise anything.
            given = f"{list(inputs.shape)}, {'None' if labels is None else f'labels int64 {list(labels.shape)}'}"
            raised = f"called with ({given}) raised {type(error).__name__}: {error}"
            raise ConfigError(f"{self.path}: {raised}") from error
        finally:
            network.train(training)

    def expect_tensor(self, what: str, value: object, shape: Shape) -> None:
        """Refuse a result for two samples that is not a float tensor of this shape."""
        if isinstance(value, Tensor) and tuple(value.shape) == shape and value.is_floating_point():
            return
        got = f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ConfigError(f"{self.path}: must give {what} float {list(shape)} for two samples (got {got}).")

    def mixes_samples(self, generator: nn.Module, latents: Tensor, labels: Tensor | None) -> bool:
        """Return True if a sample of two latents [2, Z] depends on the others of its batch."""
        four = torch.cat([latents, latents.flip(1) / 2])
        together = self.call(generator, four, None if labels is None else labels.repeat(2))
        allowed = _TOLERANCE * float(together.abs().max())
        for count in (2, 1):
            few = self.call(generator, latents[:count], None if labels is None else labels[:count])
            if few.shape != together[:count].shape:
                return True
            if not torch.allclose(few, together[:count], rtol=_TOLERANCE, atol=allowed):
                return True
        return False

    def heeds_labels(self, network: nn.Module, inputs: Tensor, count: int, differ: Callable[[Tensor], bool]) -> bool:
        """Return True if the network's output depends on its labels, or if there is at most one label.

        `differ` compares the outputs for the same two inputs with several labels, [labels, 2, …]. An embedding, a
        modulation or a gate may start at zero and hide the labels, so copies with slightly changed weights are tried,
        too.
        """

        def shows(candidate: nn.Module) -> bool:
            given = [
                as_output(self.call(candidate, inputs, torch.full((len(inputs),), label))).scores
                for label in sorted({0, 1, count // 2, count - 1})
            ]
            return differ(torch.stack(given))

        return count < 2 or shows(network) or any(shows(_moved(network, by)) for by in _MOVES)
