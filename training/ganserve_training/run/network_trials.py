"""Try networks of the user's own: what they keep, the range of what they give, and a step of both.

N = batch, Z = latent, C = channels, H = height, W = width, D = values of a vector.
"""

from __future__ import annotations

import copy
import io
from dataclasses import replace

import torch
from torch import Tensor, nn

from ganserve_training.config import TrainConfig
from ganserve_training.data.sample_info import DataInfo
from ganserve_training.errors import ConfigError
from ganserve_training.networks import NetworkPair, as_output
from ganserve_training.networks.adaptation import Adapted, moved
from ganserve_training.networks.custom_class import own_optimisers
from ganserve_training.networks.latents import LatentPrior
from ganserve_training.networks.own_code import raised
from ganserve_training.networks.problems import Problems
from ganserve_training.options.checks import flag

_SAMPLES = 4
_EXTREME_MOVES = (0.0, 1.0, 3.0)
"""Standard deviations of noise on the weights with which only a squashing function keeps outputs in a range."""
_EXTREME_INPUTS = (1.0, 100.0)  # factors of the inputs
_FEWEST_MOVING = 1e-3  # spread of outputs below which their range says nothing
_SIGMOID_IS_USUAL = ("least-squares",)


def named(config: TrainConfig, player: str) -> str:
    """Return the flag and the value that name this player's class."""
    return f"{flag(f'networks.{player}_class')} {getattr(config.networks, f'{player}_class')}"


def random_inputs(
    config: TrainConfig, pair: NetworkPair, data: DataInfo, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """Return random samples [N, ...] for the critic, always the same, and labels int64 [N] if it takes any."""
    random, count = torch.Generator().manual_seed(0), _SAMPLES * config.networks.packing
    samples = torch.randn(count, *data.network_shape, generator=random).to(device)
    return samples, _labels(pair, count, device) if pair.critic_uses_labels else None


def network_notes(config: TrainConfig, pair: NetworkPair) -> list[str]:
    """Return notes for the user about custom networks, one line each."""
    notes = []
    for player, network in (("generator", pair.generator), ("critic", pair.critic)):
        found = [note for part in network.modules() if isinstance(part, Adapted) for note in part.notes]
        if optimisers := own_optimisers(network):
            found.append(f"its own optimiser ({', '.join(optimisers)}) is not used; see --optimisers.{player}.name")
        notes += [f"note: {named(config, player)}: {note}" for note in found]
    return notes


def check_weights(config: TrainConfig, pair: NetworkPair, _data: DataInfo, _device: torch.device) -> None:
    """Refuse networks without weights of their own, or with state that a checkpoint can't hold."""
    problems = Problems()
    players = {"generator": pair.generator, "critic": pair.critic}
    for player, network in players.items():
        with problems.gathered():
            if not any(weight.requires_grad for weight in network.parameters()):
                raise ConfigError(f"{named(config, player)}: has no weights to train. Make parameters in __init__.")
            _expect_saved(named(config, player), network)
    first, second = ({id(weight): name for name, weight in item.named_parameters()} for item in players.values())
    if shared := [name.removeprefix("network.") for key, name in first.items() if key in second]:
        problems.messages.append(
            f"{named(config, 'generator')}: shares {', '.join(shared[:3])} with the critic, so both optimisers would "
            "move it. Make layers in __init__, or copy them."
        )
    problems.expect_none()


def _expect_saved(path: str, network: nn.Module) -> None:
    others = {name: value for name, value in network.state_dict().items() if not isinstance(value, Tensor)}
    try:
        file = io.BytesIO()
        torch.save(others, file)
        file.seek(0)
        torch.load(file, weights_only=True)
    except Exception as error:  # Pickling may raise anything.
        raise ConfigError(
            f"{path}: its state_dict has {', '.join(others)}, which a checkpoint can't hold. "
            "Return tensors and plain values from get_extra_state."
        ) from error


def check_ranges(config: TrainConfig, pair: NetworkPair, data: DataInfo, device: torch.device) -> None:
    """Refuse a critic that gives probabilities, and a generator of images in [0, 1], unless options say so."""
    problems = Problems()
    with problems.gathered():
        _check_scores(config, pair, data, device)
    if data.is_image:
        with problems.gathered():
            _check_images(config, pair, device)
    problems.expect_none()


def _check_scores(config: TrainConfig, pair: NetworkPair, data: DataInfo, device: torch.device) -> None:
    samples, labels = random_inputs(config, pair, data, device)
    inside = _stays_in_unit(pair.critic, samples, labels)
    taken_back = any(isinstance(part, Adapted) and part.how.probabilities for part in pair.critic.modules())
    path = named(config, "critic")
    if taken_back and not inside:
        raise ConfigError(
            f"--networks.critic-output probabilities: {path} gives values outside 0 to 1. Leave the option out."
        )
    if inside and not taken_back and config.loss.name not in _SIGMOID_IS_USUAL:
        raise ConfigError(
            f"{path}: gives 0 to 1 even for extreme samples and weights, as after a sigmoid, and "
            f"--loss.name {config.loss.name} needs scores without a bound. Give the logit: leave out the last sigmoid, "
            "or add --networks.critic-output probabilities."
        )


def _check_images(config: TrainConfig, pair: NetworkPair, device: torch.device) -> None:
    latents, labels = _latents(config, pair, device)
    inside = _stays_in_unit(pair.generator, latents, labels)
    path = named(config, "generator")
    scaled = any(isinstance(part, Adapted) and part.how.unit for part in pair.generator.modules())
    if scaled and not inside:
        raise ConfigError(f"--networks.generator-range unit: {path} gives values outside 0 to 1. Leave the option out.")
    if inside and not scaled:
        raise ConfigError(
            f"{path}: gives 0 to 1 even for extreme latents and weights, as after a sigmoid, and real images are from "
            "-1 to 1. End in tanh, or add --networks.generator-range unit."
        )


def _stays_in_unit(network: nn.Module, inputs: Tensor, labels: Tensor | None) -> bool:
    """Return True if all outputs, without the changes that options ask for, are in [0, 1] and not all the same."""
    spread = 0.0
    for by in _EXTREME_MOVES:
        copied = moved(network, by).eval()
        for part in copied.modules():
            if isinstance(part, Adapted):
                part.how = replace(part.how, probabilities=False, unit=False)
        for factor in _EXTREME_INPUTS:
            with torch.no_grad():
                values = as_output(copied(inputs * factor, labels)).scores
            values = values[values.isfinite()]
            if values.numel() and not (values.min() >= 0.0 and values.max() <= 1.0):
                return False
            spread = max(spread, float(values.max() - values.min()) if values.numel() else 0.0)
    return spread > _FEWEST_MOVING


def check_step(config: TrainConfig, pair: NetworkPair, data: DataInfo, device: torch.device) -> None:
    """Refuse a generator that a step of training would fail on, or not move."""
    path = named(config, "generator")
    latents, labels = _latents(config, pair, device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        generator, critic = (copy.deepcopy(item).train() for item in (pair.generator, pair.critic))
        try:
            made = generator(latents, labels)
            _expect_samples(path, made, (len(latents), *data.network_shape))
            if not made.requires_grad:
                raise ConfigError(
                    f"{path}: no gradient reaches its weights. Leave out torch.no_grad, .detach(), .data."
                )
            critic.requires_grad_(False)
            scores = as_output(critic(made, labels if pair.critic_uses_labels else None)).scores
            if scores.shape != (_SAMPLES,):
                critic_path = named(config, "critic")
                raise ConfigError(f"{critic_path}: in training it gives scores {list(scores.shape)}, not [{_SAMPLES}].")
            torch.autograd.backward(scores.float().sum())
        except ConfigError:
            raise
        except Exception as error:  # The user's code may raise anything.
            raise ConfigError(
                f"{path}: a step of training fails, though it works in eval mode: it {raised(error)}. Operations in "
                "place, such as x += y or inplace=True, are a usual reason."
            ) from error
    gradients = [weight.grad for weight in generator.parameters() if weight.grad is not None]
    expect_finite(path, "gradient", gradients)


def _expect_samples(path: str, made: object, shape: tuple[int, ...]) -> None:
    if not isinstance(made, Tensor) or tuple(made.shape) != shape:
        got = list(made.shape) if isinstance(made, Tensor) else type(made).__name__
        raise ConfigError(f"{path}: must give samples {list(shape)} in training mode, too (got {got}).")


def expect_finite(path: str, what: str, values: list[Tensor]) -> None:
    """Refuse a network whose derivatives are not finite."""
    if not all(bool(value.isfinite().all()) for value in values):
        raise ConfigError(
            f"{path}: its {what} is NaN or infinite for random samples, so the first step would end training. Look for "
            "square roots, norms, logarithms or divisions at zero."
        )


def _latents(config: TrainConfig, pair: NetworkPair, device: torch.device) -> tuple[Tensor, Tensor | None]:
    count = _SAMPLES * config.networks.packing
    latents = LatentPrior.of(config.networks).draw(count, torch.Generator().manual_seed(0)).to(device)
    return latents, _labels(pair, count, device) if pair.label_names else None


def _labels(pair: NetworkPair, count: int, device: torch.device) -> Tensor:
    return (torch.arange(count) % len(pair.label_names)).to(device)
