import dataclasses
import json
import typing

import pytest

from ganserve_training import PRESETS, TrainConfig, config_from_dict, config_to_dict
from ganserve_training.config import (
    Anneal,
    AugmentationConfig,
    DataConfig,
    EmaConfig,
    NetworksConfig,
    OptimiserConfig,
    OutputConfig,
    RegularisersConfig,
    ScheduleConfig,
)
from ganserve_training.config.annealing import anneal, burn_in_progress
from ganserve_training.config.serialisation import check_same_config, config_diff
from ganserve_training.errors import ConfigChangedError, ConfigError
from tiny_runs import tiny_config


@pytest.mark.parametrize("config", [TrainConfig(), tiny_config(seed=7), *PRESETS.values()])
def test_a_configuration_survives_json(config: TrainConfig) -> None:
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config


def test_whole_floats_are_read_as_integers_and_back() -> None:
    """Protobuf's Struct, which manifests hold the configuration in, turns every number into a float."""
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
        ({"colour": 1}, "unknown field colour"),
        ({"ema": {"half_life": 1.0}}, "unknown field ema.half_life;.*half_life_kimg"),
        ({"steps": "many"}, "steps must be of type int"),
        ({"steps": True}, "steps must be of type int"),
        ({"ema": 3}, "ema must be a table"),
        ({"loss": {"name": "cubic"}}, "loss.name must be one of minimax, .*relativistic-pairing"),
        (
            {"optimisers": {"critic": {"learning_rate": {"start": 0.1}}}},
            "optimisers.critic.learning_rate.end is missing",
        ),
        ({"batch_size": 0}, r"batch_size must be at least 1 \(got 0\)"),
    ],
)
def test_a_wrong_dictionary_is_refused_with_the_field(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_from_dict(change)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TrainConfig(seed=-1), "seed must be at least 0"),
        (lambda: TrainConfig(steps=0), "steps must be at least 1"),
        (lambda: DataConfig(held_out_fraction=1.0), "data.held_out_fraction must be between 0 and 1"),
        (lambda: NetworksConfig(latent_dim=0), "networks.latent_dim must be at least 1"),
        (lambda: RegularisersConfig(r2_gamma=Anneal.constant(-1.0)), "regularisers.r2_gamma must be not negative"),
        (lambda: OptimiserConfig(learning_rate=Anneal.constant(0.0)), "learning_rate must be positive"),
        (lambda: OptimiserConfig(beta2=Anneal.constant(1.0)), "beta2 must be at least 0 and less than 1"),
        (lambda: EmaConfig(half_life_kimg=-1.0), "ema.half_life_kimg must be not negative"),
        (lambda: AugmentationConfig(translation_px=-1), "augmentation.translation_px must be not negative"),
        (lambda: ScheduleConfig(burn_in_steps=0), "schedule.burn_in_steps must be at least 1"),
        (lambda: OutputConfig(keep_checkpoints=0), "output.keep_checkpoints must be at least 1"),
    ],
)
def test_values_out_of_range_are_refused(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ConfigError, match=message):
        make()


def test_the_difference_of_two_configurations_names_each_field_with_both_values() -> None:
    old = tiny_config()
    new = tiny_config(seed=3, ema=EmaConfig(half_life_kimg=7.5))
    assert config_diff(old, old) == []
    assert config_diff(old, new) == ["seed: 0 -> 3", "ema.half_life_kimg: 0.1 -> 7.5"]


def test_only_what_leaves_the_weights_alone_may_change_on_resume() -> None:
    old = tiny_config()
    check_same_config(old, tiny_config(steps=99, output=OutputConfig(log_every_steps=1)), where="runs/x")
    with pytest.raises(ConfigChangedError, match=r"(?s)runs/x was trained .*\n  batch_size: 16 -> 8\nGo back.*--out"):
        check_same_config(old, tiny_config(steps=99, batch_size=8), where="runs/x")


def test_every_field_of_a_configuration_is_documented_for_the_command_line() -> None:
    def undocumented(kind: type) -> list[str]:
        import inspect

        source = inspect.getsource(kind)
        names = []
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            nested = hints[field.name] if dataclasses.is_dataclass(hints[field.name]) else None
            if nested is not None:
                names += undocumented(nested)
            elif f"    {field.name}:" in source:
                after = source.split(f"    {field.name}:", 1)[1].split("\n")[1]
                if not after.strip().startswith('"""'):
                    names.append(f"{kind.__name__}.{field.name}")
        return names

    assert undocumented(TrainConfig) == []


def test_annealed_values_follow_half_a_cosine_and_then_stay() -> None:
    schedule = ScheduleConfig(burn_in_steps=10)
    value = Anneal(start=2.0, end=1.0)
    assert anneal(value, burn_in_progress(schedule, 0)) == 2.0
    assert anneal(value, burn_in_progress(schedule, 5)) == pytest.approx(1.5)
    assert anneal(value, burn_in_progress(schedule, 2)) == pytest.approx(1.9045084971874737)  # 1.5 + cos(36 deg) / 2
    assert anneal(value, burn_in_progress(schedule, 10)) == pytest.approx(1.0)
    assert anneal(value, burn_in_progress(schedule, 1000)) == pytest.approx(1.0)
