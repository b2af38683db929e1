"""Choose what to change in a run that fails. benchmarks/healing measures what the cures bring."""

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from ganserve_training.config.data_rules import learning_rate, penalty_gamma
from ganserve_training.config.serialisation import changed_config, flat_config
from ganserve_training.config.train import TrainConfig
from ganserve_training.data.sample_info import DataInfo
from ganserve_training.diagnosis.findings import PERSISTENCE, Kind
from ganserve_training.errors import ConfigError
from ganserve_training.options.anneal import Anneal

CURABLE: tuple[Kind, ...] = (
    "vanishing-gradients",
    "no-progress",
    "winning-critic",
    "mode-collapse",
    "ignored-labels",
    "oscillation",
    "divergence",
)
"""Troubles that end a run's use; the others only lower its quality."""
MOST_CURES = 3
_LASTING: dict[Kind, float] = {
    "vanishing-gradients": 0.1,
    "winning-critic": 0.2,
    "mode-collapse": 0.1,
    "ignored-labels": 0.2,
}
"""Share of the run for which a trouble must last before a cure: a young run often recovers by itself. The others are
measured over many looks already, or end a run at once."""
_LEAST_SAMPLES = 20_000.0
"""Real samples for which such a trouble must last at least, however short the run is."""
_LEAST_RATE = 0.1  # ratio of the lowest learning rate that cures lead to, to the usual one
_EXTREME = 30.0  # ratio to the usual penalty above which the penalty itself may be the trouble

_PLAYERS = ("generator", "critic")
_GAMMAS = ("r1_gamma", "r2_gamma")


def looks_to_cure(kind: Kind, config: TrainConfig) -> int:
    """Return the number of looks in a row at which a trouble must hold before the run is cured of it."""
    least_steps = _LEAST_SAMPLES / (config.batch_size * config.schedule.critic_steps)
    steps = max(_LASTING[kind] * config.steps, least_steps) if kind in _LASTING else 0.0
    return max(PERSISTENCE, math.ceil(steps / config.look_interval) + 1)


def choose_cure(
    kind: Kind, tries: int, config: TrainConfig, data: DataInfo, check: Callable[[TrainConfig], None]
) -> dict[str, Any] | None:
    """Return the changes to a configuration, by path, for a trouble of this kind; None: no cure is left.

    `tries` is the number of cures that the run has had: each cure is stronger than the one before. `check` raises
    ConfigError for a configuration with which the run could not start.
    """
    now = flat_config(config)
    for changes in list(_cures(kind, tries, config, data))[tries:]:
        changed = {path: value for path, value in changes.items() if now.get(path, value) != value}
        with suppress(ConfigError):
            if changed:
                check(changed_config(config, changed))
                return changed
    return None


def _cures(kind: Kind, tries: int, config: TrainConfig, data: DataInfo) -> Iterator[dict[str, Any]]:
    """Yield the cures, weakest first: calmer players, then R3GAN's game, then that game calmer.

    Players that were asked to learn too slowly for any progress, or a critic for its generator, become livelier instead
    of calmer.
    """
    gamma, rate = penalty_gamma(data, config.batch_size), learning_rate(data)
    saturates = kind == "vanishing-gradients" and config.loss.name == "minimax"
    loss = {"loss.name": "modified-minimax"} if saturates else {}
    if kind == "ignored-labels":
        yield {"networks.critic_conditioning": "classifier"}
    slow = kind == "no-progress" or (kind == "mode-collapse" and _left_behind(config, data))
    faster = _livelier(config, data) if slow and not tries else {}
    yield faster or {**loss, **calmer(config, data)}
    game = _relativistic(config)
    now = flat_config(config)
    if any(now.get(path, value) != value for path, value in game.items()):
        yield {**game, **_rates(config, rate), **_penalties(config, gamma, 1.0)}
    yield {**game, **_rates(config, rate, 1 / 3, 1 / 3), **_penalties(config, 3 * gamma, 3.0)}
    yield {**game, **_rates(config, rate, 1 / 10, 1 / 10), **_penalties(config, 10 * gamma, 10.0)}


def calmer(config: TrainConfig, data: DataInfo) -> dict[str, Any]:
    """Return rates of at most a third, and at least the usual penalties unless the loss needs another bound."""
    bounded = config.loss.name == "wasserstein"  # R1 and R2 would be a second constraint.
    penalties = {} if bounded else _penalties(config, penalty_gamma(data, config.batch_size), 1.0)
    return {**_rates(config, learning_rate(data), 1.0, 1 / 3), **penalties}


def _left_behind(config: TrainConfig, data: DataInfo) -> bool:
    """Say whether the critic's rate is less than a tenth both of the usual one and of the generator's."""
    generator, critic = (getattr(config.optimisers, player).learning_rate.start for player in _PLAYERS)
    return bool(critic < _LEAST_RATE * min(generator, learning_rate(data)))


def _livelier(config: TrainConfig, data: DataInfo) -> dict[str, Any]:
    """Return the usual rates where Adam's are less than a tenth of them, and at most the usual penalties."""
    usual, gamma = learning_rate(data), penalty_gamma(data, config.batch_size)
    changes: dict[str, Any] = {}
    for player in _PLAYERS:
        optimiser = getattr(config.optimisers, player)
        rate: Anneal = optimiser.learning_rate
        if optimiser.name == "adam" and rate.start < usual * _LEAST_RATE:
            changes |= _both(f"optimisers.{player}.learning_rate", usual, usual * min(1.0, rate.end / rate.start))
    for name in _GAMMAS:
        if getattr(config.regularisers, name).most > gamma:
            changes |= _both(f"regularisers.{name}", gamma, gamma)
    return changes


def _rates(config: TrainConfig, usual: float, most: float = 1.0, share: float | None = None) -> dict[str, Any]:
    """Return learning rates of at most `most` of the usual one and this share of the present ones; None: of `most`.

    Several cures together go down to a tenth of the usual rate: with less, a run learns nothing. Rates fall as much as
    before.
    """
    changes: dict[str, Any] = {}
    for player in _PLAYERS:
        rate: Anneal = getattr(config.optimisers, player).learning_rate
        start = usual * most
        if share is not None:
            start = max(min(start, rate.start * share), min(rate.start, usual * _LEAST_RATE))
        changes |= _both(f"optimisers.{player}.learning_rate", start, start * rate.end / rate.start)
    return changes


def _penalties(config: TrainConfig, usual: float, gain: float) -> dict[str, Any]:
    """Return weights of R1 and R2 of at least the usual one, and `gain` times the present one if that is sensible."""
    changes: dict[str, Any] = {}
    for name in _GAMMAS:
        present = gain * getattr(config.regularisers, name).most
        weight = usual if present > _EXTREME * usual else max(usual, present)
        changes |= _both(f"regularisers.{name}", weight, weight)
    return changes


def _relativistic(config: TrainConfig) -> dict[str, Any]:
    """Return R3GAN's loss and optimisers, which converge locally (Huang et al. 2024), without other constraints."""
    changes: dict[str, Any] = {
        "loss.name": "relativistic-pairing",
        "regularisers.gradient_penalty.weight": 0.0,
        "regularisers.weight_clip": 0.0,
        "regularisers.roth_gamma.start": 0.0,
        "regularisers.roth_gamma.end": 0.0,
        "regularisers.drift": 0.0,
        "schedule.critic_steps": 1,
        "schedule.unrolled_steps": 0,
    }
    for player in _PLAYERS:
        changes |= {f"optimisers.{player}.name": "adam", f"optimisers.{player}.beta1": 0.0}
    if config.augmentation.ada.target:  # These scores have no fixed zero.
        changes |= {"augmentation.ada.target": 0.0, "augmentation.ada.kimg": 500.0, "augmentation.ada.every_steps": 4}
    if config.regularisers.own_updates:
        changes |= {"regularisers.own_updates": False, "regularisers.interval": 1}
    if "networks.critic_norm" in flat_config(config):
        changes["networks.critic_norm"] = "none"
    return changes


def _both(path: str, start: float, end: float) -> dict[str, float]:
    return {f"{path}.start": float(f"{start:.2g}"), f"{path}.end": float(f"{end:.2g}")}
