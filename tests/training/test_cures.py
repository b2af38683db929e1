"""Test the changes that a failing run makes to itself."""

from dataclasses import replace
from typing import Any

import pytest

from ganserve_training.config import (
    AdamConfig,
    Anneal,
    ConvolutionalConfig,
    DcganConfig,
    MinimaxLoss,
    MnistConfig,
    OptimisersConfig,
    RegularisersConfig,
    RmspropConfig,
    TrainConfig,
    WassersteinLoss,
)
from ganserve_training.config.data_rules import learning_rate, penalty_gamma
from ganserve_training.config.serialisation import changed_config
from ganserve_training.data import DataInfo
from ganserve_training.diagnosis.cures import CURABLE, choose_cure
from ganserve_training.errors import ConfigError
from ganserve_training.presets import PRESETS

LABELS = tuple("0123456789")
ENDS = ("start", "end")
GRAY_16 = DataInfo(sample_shape=(16, 16, 1), label_names=LABELS)
FAST = TrainConfig(
    data=MnistConfig(size=16),
    networks=ConvolutionalConfig(generator_conditioning="concatenation", critic_conditioning="projection"),
    regularisers=RegularisersConfig(r1_gamma=Anneal.constant(0.3), r2_gamma=Anneal.constant(0.3)),
    optimisers=OptimisersConfig.both(
        replace(TrainConfig().optimisers.critic, learning_rate=Anneal(start=3e-3, end=3e-4))
    ),
)


def at_rate(rate: float) -> TrainConfig:
    """Return FAST with this learning rate."""
    return replace(FAST, optimisers=OptimisersConfig.both(AdamConfig(learning_rate=Anneal.constant(rate))))


def accept(_: TrainConfig) -> None:
    """Accept every configuration."""


def cures(config: TrainConfig, kind: Any = "mode-collapse", data: DataInfo = GRAY_16) -> list[dict[str, Any]]:
    """Return the cures of a run that fails again and again."""
    found: list[dict[str, Any]] = []
    while len(found) < 5 and (changes := choose_cure(kind, len(found), config, data, accept)) is not None:
        found.append(changes)
        config = changed_config(config, changes)
    return found


@pytest.mark.parametrize(
    ("shape", "batch", "gamma", "rate"),
    [
        ((8, 8, 1), 64, 0.3, 3e-3),
        ((16, 16, 1), 64, 0.8, 1e-3),
        ((32, 32, 3), 64, 9.0, 1e-3),
        ((32, 32, 3), 256, 2.0, 1e-3),
        ((2,), 64, 1.0, 1e-3),
    ],
)
def test_penalties_grow_with_values_and_fall_with_the_batch(
    shape: tuple[int, ...], batch: int, gamma: float, rate: float
) -> None:
    moments = (0.0,) * (shape[0] if len(shape) == 1 else 0)
    info = DataInfo(sample_shape=shape, mean=moments, std=moments)
    assert (penalty_gamma(info, batch), learning_rate(info)) == (gamma, rate)


def test_the_first_cure_calms_the_players() -> None:
    first = cures(FAST)[0]
    assert first["optimisers.critic.learning_rate.start"] == 1e-3
    assert first["optimisers.critic.learning_rate.end"] == 1e-4  # It falls as much as before.
    assert first["regularisers.r1_gamma.start"] == 0.8
    assert not any(path.startswith("networks.") for path in first)


def test_cures_together_leave_a_tenth_of_the_usual_rate() -> None:
    assert [cure.get("optimisers.critic.learning_rate.start") for cure in cures(at_rate(1e-3))] == [
        3.3e-4,
        1.1e-4,
        1e-4,
    ]
    assert not any("learning_rate" in path for cure in cures(at_rate(1e-5)) for path in cure)


def test_players_that_learn_nothing_get_the_usual_rates_and_penalties() -> None:
    slow = replace(at_rate(1e-9), regularisers=replace(FAST.regularisers, r1_gamma=Anneal.constant(1e4)))
    first, second, _ = cures(slow, "no-progress")[:3]
    assert first == {
        **{f"optimisers.{player}.learning_rate.{end}": 1e-3 for player in ("generator", "critic") for end in ENDS},
        **{f"regularisers.r1_gamma.{end}": 0.8 for end in ENDS},
    }
    assert second["optimisers.critic.learning_rate.start"] == 3.3e-4
    assert cures(FAST, "no-progress") == cures(FAST)  # Too slow is not what these are.


def test_a_critic_that_its_generator_leaves_behind_gets_the_usual_rate() -> None:
    optimisers = replace(FAST.optimisers, critic=at_rate(1e-9).optimisers.critic)
    first = cures(replace(FAST, optimisers=optimisers), "mode-collapse")[0]
    assert first["optimisers.critic.learning_rate.start"] == 1e-3
    assert not any(path.startswith("optimisers.generator") for path in first)


@pytest.mark.parametrize("kind", CURABLE)
@pytest.mark.parametrize("name", PRESETS)
def test_each_cure_of_a_preset_is_a_valid_change_and_calmer_than_the_one_before(name: str, kind: str) -> None:
    config = PRESETS[name]
    found = cures(config, kind)
    assert len(found) >= 3
    rates = [config.optimisers.critic.learning_rate.start]
    for changes in found:
        config = changed_config(config, changes)
        rates.append(config.optimisers.critic.learning_rate.start)
    assert rates[-1] < rates[0] or config.loss.name == "relativistic-pairing"


def test_a_saturating_loss_is_replaced_first() -> None:
    saturating = replace(FAST, loss=MinimaxLoss(), regularisers=RegularisersConfig.none())
    assert cures(saturating, "vanishing-gradients")[0]["loss.name"] == "modified-minimax"
    assert "loss.name" not in cures(saturating, "mode-collapse")[0]


def test_a_clipped_critic_gets_the_relativistic_game_second() -> None:
    clipped = replace(
        FAST,
        networks=DcganConfig(),
        loss=WassersteinLoss(),
        regularisers=replace(RegularisersConfig.none(), weight_clip=0.01),
        optimisers=OptimisersConfig.both(RmspropConfig()),
    )
    first, second, *_ = cures(clipped)
    assert set(first) == {
        f"optimisers.{player}.learning_rate.{end}" for player in ("critic", "generator") for end in ("start", "end")
    }
    assert second["loss.name"] == "relativistic-pairing"
    assert second["regularisers.weight_clip"] == 0.0
    assert second["networks.critic_norm"] == "none"
    assert second["optimisers.critic.name"] == "adam"


def test_ignored_labels_get_a_critic_that_classifies() -> None:
    assert cures(FAST, "ignored-labels")[0] == {"networks.critic_conditioning": "classifier"}


def test_an_extreme_penalty_becomes_a_usual_one() -> None:
    extreme = replace(FAST, regularisers=replace(FAST.regularisers, r1_gamma=Anneal.constant(1e41)))
    assert cures(extreme, "divergence")[0]["regularisers.r1_gamma.end"] == 0.8


def test_a_cure_that_the_run_would_refuse_is_left_out() -> None:
    def refuse(config: TrainConfig) -> None:
        raise ConfigError(f"{config.loss.name}: no.")

    assert choose_cure("mode-collapse", 0, FAST, GRAY_16, refuse) is None
