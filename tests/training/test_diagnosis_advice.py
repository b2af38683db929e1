"""Test the advice of diagnosis: training accepts it, and it suits the run."""

import functools
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from ganserve._command_framework.parsing import app_of, parse
from ganserve_training.commands.train_arguments import TrainArguments
from ganserve_training.config import (
    Anneal,
    AugmentationConfig,
    ConvolutionalConfig,
    DiagnosisConfig,
    DigitsConfig,
    MinimaxLoss,
    RegularisersConfig,
    ScheduleConfig,
    TrainConfig,
    WassersteinLoss,
    allowed_choices,
    with_choices,
)
from ganserve_training.config.serialisation import changed_config, flat_config
from ganserve_training.diagnosis import KINDS, Kind
from ganserve_training.diagnosis.advice import advise
from ganserve_training.errors import ConfigError
from ganserve_training.networks import NetworkPair, build_networks
from ganserve_training.presets import PRESETS
from ganserve_training.run.compatibility import check_everything
from preset_data import data_of

CONFIGS = [
    TrainConfig(),
    TrainConfig(
        loss=MinimaxLoss(),
        regularisers=RegularisersConfig(r1_gamma=Anneal.constant(0.0), r2_gamma=Anneal.constant(0.0)),
        schedule=ScheduleConfig(critic_steps=5),
    ),
    TrainConfig(loss=WassersteinLoss(), regularisers=RegularisersConfig(weight_clip=0.01)),
    TrainConfig(regularisers=RegularisersConfig(r2_gamma=Anneal.constant(0.0))),
    TrainConfig(
        data=DigitsConfig(labels="ignore"),
        schedule=ScheduleConfig(unrolled_steps=5),
        networks=ConvolutionalConfig(packing=2, minibatch_stddev_group=4),
        augmentation=AugmentationConfig(instance_noise=Anneal(start=0.1, end=0.0), translation_px=1),
        diagnosis=DiagnosisConfig(patience=5, keep_best=False),
    ),
]


@functools.cache
def build(config: TrainConfig) -> NetworkPair:
    return build_networks(config.networks, data_of(config))


def advice_for(kind: Kind, config: TrainConfig, processes: int = 1) -> str:
    data, pair = data_of(config), build(config)
    return advise(kind, config, data, lambda changed: check_everything(changed, data, pair, processes))


def settings_in(remedy: str, config: TrainConfig) -> tuple[list[str], dict[str, object]]:
    """Return the flags in an advice as arguments, and as values by their path."""
    arguments: list[str] = []
    settings: dict[str, object] = {}
    for flag, value in re.findall(r"(--[a-z][\w.-]*[a-z0-9])(?: ([\w.-]*\w))?", remedy):
        path = flag.removeprefix("--").replace("-", "_")
        arguments += [flag, value] if value else [flag]
        settings[path] = type(flat_config(config)[path])(value or True)
    return arguments, settings


@pytest.mark.parametrize("config", [*PRESETS.values(), *CONFIGS], ids=[*PRESETS, *map(str, range(len(CONFIGS)))])
def test_training_accepts_every_advice(config: TrainConfig) -> None:
    """Check each remedy alone, and the flags of all that go together on the command line."""
    data, pair = data_of(config), build(config)
    words: list[str] = []
    together = config
    for kind in KINDS:
        advice = advice_for(kind, config)
        assert advice.endswith(".")
        for remedy in advice.split(", "):
            arguments, settings = settings_in(remedy, config)
            changed = changed_config(config, settings)
            check_everything(changed, data, pair if changed.networks == config.networks else build(changed), 1)
            assert all(flat_config(config)[path] != value for path, value in settings.items())
            with suppress(ConfigError):
                together = changed_config(together, settings)
                words += arguments
    chosen = {
        path: words[-1 - words[::-1].index(f"--{path}") + 1] for path in allowed_choices() if f"--{path}" in words
    }
    default = TrainArguments(config=with_choices(config, chosen), out=Path("runs/x"))
    values = parse(app_of("ganserve train", default.options()), words)
    assert changed_config(default.config, values) == together


def test_advice_names_what_the_run_has_not_tried() -> None:
    assert "--loss.name modified-minimax, which" in advice_for("vanishing-gradients", CONFIGS[1])
    assert "modified-minimax" not in advice_for("vanishing-gradients", TrainConfig())
    assert "--schedule.unrolled-steps 5" in advice_for("mode-collapse", CONFIGS[1])
    assert "--schedule.unrolled-steps" not in advice_for("mode-collapse", CONFIGS[4])
    assert "--diagnosis.patience 10" in advice_for("decline", TrainConfig())
    assert "--diagnosis.patience" not in advice_for("decline", CONFIGS[4])


def test_advice_suits_the_data_and_the_networks() -> None:
    digits, ring = PRESETS["digits"], PRESETS["ring"]
    assert "--networks.packing" not in advice_for("mode-collapse", digits)  # A pack has samples of different labels.
    assert "--networks.packing 2" in advice_for("mode-collapse", ring)
    assert "--networks.packing" not in advice_for("mode-collapse", replace(ring, batch_size=63))
    assert "--augmentation.translation-px 1" in advice_for("critic-overfitting", digits)
    assert "--augmentation" not in advice_for("critic-overfitting", ring)
    assert "(--augmentation.translation-px 4 --augmentation.ada.target 0.6)" in advice_for(
        "critic-overfitting", PRESETS["dcgan-32"]
    )
    assert "--networks.packing 2" in advice_for("mode-collapse", ring, 64)  # 128 samples.
    assert "--networks.packing" not in advice_for("mode-collapse", ring, 128)
    assert "--networks.minibatch-stddev-group" not in advice_for("mode-collapse", replace(ring, batch_size=66))


def test_advice_has_values_that_follow_from_the_runs_own() -> None:
    assert "ten times the penalties (--regularisers.r1-gamma.start 3 --regularisers.r1-gamma.end 3 --reg" in advice_for(
        "divergence", PRESETS["digits"]
    )
    one = advice_for("divergence", CONFIGS[3])  # R2 is off.
    assert "(--regularisers.r1-gamma.start 10 --regularisers.r1-gamma.end 10)" in one
    none = advice_for("divergence", CONFIGS[1])
    assert "ten times" not in none
    assert "--regularisers.r1-gamma.start 1 --regularisers.r1-gamma.end 1 --regularisers.r2-gamma.start 1" in none
    assert "ten times" not in advice_for("divergence", PRESETS["wgan-32"])
    assert (
        "--optimisers.generator.learning-rate.start 0.0015 --optimisers.generator.learning-rate.end 0.00015 --"
        in advice_for("oscillation", PRESETS["digits"])
    )
