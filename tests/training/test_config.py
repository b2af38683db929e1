import inspect
import json
import re
import typing
from dataclasses import fields, is_dataclass

import pytest

from ganserve_training import PRESETS, TrainConfig, config_from_dict, config_to_dict
from ganserve_training.config import (
    AdamConfig,
    Anneal,
    AugmentationConfig,
    ConvolutionalConfig,
    DigitsConfig,
    EmaConfig,
    OutputConfig,
    RegularisersConfig,
    ScheduleConfig,
)
from ganserve_training.config.serialisation import check_same_config, config_diff
from ganserve_training.errors import ConfigChangedError, ConfigError
from tiny_runs import tiny_config


@pytest.mark.parametrize("config", [TrainConfig(), tiny_config(seed=7), *PRESETS.values()])
def test_a_configuration_survives_json(config: TrainConfig) -> None:
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config


def test_whole_floats_are_read_as_integers_and_back() -> None:
    """Protobuf's Struct, used for the configuration in manifests, turns every number into a float."""
    values = config_to_dict(tiny_config())
    values["steps"] = 12.0
    values["ema"]["half_life_kimg"] = 2
    config = config_from_dict(values)
    assert (config.steps, type(config.steps)) == (12, int)
    assert (config.ema.half_life_kimg, type(config.ema.half_life_kimg)) == (2.0, float)


def test_a_missing_field_gets_its_default() -> None:
    values = config_to_dict(tiny_config())
    del values["augmentation"]
    assert config_from_dict(values).augmentation == AugmentationConfig()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, "^colour: is unknown"),
        ({"ema": {"half_life": 1.0}}, "^ema.half_life: is unknown. Use one of half_life_kimg"),
        ({"steps": "many"}, "^steps 'many': must be of type int"),
        ({"steps": True}, "^steps True: must be of type int"),
        ({"ema": 3}, "^ema 3: must be a table"),
        (
            {"loss": {"name": "cubic"}},
            "^loss.name cubic: is not registered. Import the module that defines it, or use one of hinge, ",
        ),
        (
            {"optimisers": {"critic": {"learning_rate": {"start": 0.1}}}},
            "^optimisers.critic.learning_rate.end: is missing",
        ),
        ({"batch_size": 0}, "^--batch-size 0: must be at least 1"),
    ],
)
def test_a_wrong_dictionary_is_refused_with_the_field(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_from_dict(change)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TrainConfig(seed=-1), "--seed -1: must be at least 0 and less than 2^63."),
        (lambda: TrainConfig(steps=0), "--steps 0: must be at least 1."),
        (lambda: DigitsConfig(held_out_fraction=1.0), "--data.held-out-fraction 1.0: must be between 0 and 1."),
        (lambda: ConvolutionalConfig(latent_dim=0), "--networks.latent-dim 0: must be at least 1."),
        (
            lambda: RegularisersConfig(r2_gamma=Anneal.constant(-1.0)),
            "--regularisers.r2-gamma.{start,end} -1: must be 0 or more.",
        ),
        (
            lambda: AdamConfig(learning_rate=Anneal.constant(0.0)),
            "--optimisers.{generator,critic}.learning-rate.{start,end} 0: must be positive.",
        ),
        (
            lambda: AdamConfig(beta2=Anneal.constant(1.0)),
            "--optimisers.{generator,critic}.beta2.{start,end} 1: must be at least 0 and less than 1.",
        ),
        (lambda: EmaConfig(half_life_kimg=-1.0), "--ema.half-life-kimg -1.0: must be 0 or more."),
        (lambda: AugmentationConfig(translation_px=-1), "--augmentation.translation-px -1: must be 0 or more."),
        (lambda: ScheduleConfig(burn_in_steps=0), "--schedule.burn-in-steps 0: must be at least 1."),
        (lambda: OutputConfig(keep_checkpoints=0), "--output.keep-checkpoints 0: must be at least 1."),
    ],
)
def test_values_out_of_range_are_refused(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ConfigError) as refusal:
        make()
    assert str(refusal.value) == message


def test_the_difference_of_two_configurations_names_each_field_with_both_values() -> None:
    old = tiny_config()
    new = tiny_config(seed=3, ema=EmaConfig(half_life_kimg=7.5))
    assert config_diff(old, old) == []
    assert config_diff(old, new) == ["--seed: 0 -> 3", "--ema.half-life-kimg: 0.1 -> 7.5"]


def test_only_options_without_effect_on_weights_may_change_on_resume() -> None:
    old = tiny_config()
    check_same_config(old, tiny_config(steps=99, output=OutputConfig(log_every_steps=1)), where="runs/x")
    with pytest.raises(
        ConfigChangedError, match=r"(?s)runs/x: was trained .*\n  --batch-size: 16 -> 8\nGo back.*--out"
    ):
        check_same_config(old, tiny_config(steps=99, batch_size=8), where="runs/x")


def test_every_option_is_documented_for_the_command_line() -> None:
    def undocumented(kind: type) -> list[str]:
        sources = [inspect.getsource(base) for base in kind.__mro__ if is_dataclass(base)]
        return [
            f"{kind.__name__}.{field.name}"
            for field in fields(kind)
            if not is_dataclass(typing.get_type_hints(kind)[field.name])
            if not any(re.search(rf'^    {field.name}: .*\n    """', source, re.MULTILINE) for source in sources)
        ]

    assert [name for kind in every_kind(TrainConfig) for name in undocumented(kind)] == []


def every_kind(kind: type) -> set[type]:
    """Return a configuration's class and all classes that its fields may hold."""
    kinds = {kind}
    for hint in typing.get_type_hints(kind).values():
        if isinstance(hint, type) and is_dataclass(hint) and hint is not Anneal:
            registry = vars(hint).get("registry")
            for part in [hint] if registry is None else [registry[name] for name in registry.names]:
                kinds |= every_kind(part)
    return kinds


def test_annealed_values_follow_half_a_cosine_and_then_stay() -> None:
    schedule = ScheduleConfig(burn_in_steps=10)
    value = Anneal(start=2.0, end=1.0)
    assert value.at(schedule.burn_in_progress(0)) == 2.0
    assert value.at(schedule.burn_in_progress(5)) == pytest.approx(1.5)
    assert value.at(schedule.burn_in_progress(2)) == pytest.approx(1.9045084971874737)  # 1.5 + cos(36 deg) / 2
    assert value.at(schedule.burn_in_progress(10)) == pytest.approx(1.0)
    assert value.at(schedule.burn_in_progress(1000)) == pytest.approx(1.0)
