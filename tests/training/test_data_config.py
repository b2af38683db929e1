from typing import Any

import pytest

from ganserve_training.commands.train_arguments import read_arguments
from ganserve_training.config import (
    Anneal,
    DigitsConfig,
    FolderConfig,
    GridConfig,
    ParquetConfig,
    PatchesConfig,
    TrainConfig,
    owners,
    with_choices,
)
from ganserve_training.config.serialisation import (
    changed_config,
    check_same_config,
    config_from_dict,
    config_to_dict,
)
from ganserve_training.data.config import SOURCES
from ganserve_training.errors import ConfigChangedError, ConfigError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source": "folder"}, "^--data.source folder: needs the path of your data. Add --data.path PATH.$"),
        ({"source": "patches", "size": 8}, "^--data.size 8: must be from 16 to 128 pixels.$"),
        (
            {"source": "patches", "channels": "rgba"},
            "^data.channels 'rgba': is not a choice. Use one of auto, gray, rgb",
        ),
        ({"source": "folder", "path": "x", "size": 0}, "^--data.size 0: must be from 1 to 4096"),
        ({"labels": "ignore", "class_balanced": True}, "^--data.class-balanced True: needs labels. Leave it out, or "),
        (
            {"source": "folder", "path": "x", "labels": "ignore", "labels_path": "y"},
            "^--data.labels-path y: needs labels",
        ),
        ({"workers": -1}, "^--data.workers -1: must be 0 or more"),
        ({"source": "ring", "count": 1}, "^--data.count 1: must be at least 2"),
        ({"held_out_fraction": 0.0}, "^--data.held-out-fraction 0.0: must be between 0 and 1"),
        ({"source": "mine"}, "^data.source mine: is not registered. Import .*digits"),
    ],
)
def test_invalid_options_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_from_dict({"data": values})


@pytest.mark.parametrize(
    ("values", "option"),
    [
        ({"path": "x"}, "path"),
        ({"source": "ring", "flip": True}, "flip"),
        ({"source": "grid", "class_balanced": True}, "class_balanced"),
        ({"source": "stacked-digits", "size": 16}, "size"),
        ({"source": "digits", "count": 5}, "count"),
        ({"source": "cifar10", "path": "x", "labels_path": "y"}, "labels_path"),
        ({"source": "idx", "path": "x", "on_bad_file": "skip"}, "on_bad_file"),
        ({"source": "array", "path": "x", "label_column": "y"}, "label_column"),
    ],
)
def test_a_source_has_only_the_options_that_it_uses(values: dict[str, Any], option: str) -> None:
    with pytest.raises(ConfigError, match=f"^data.{option}: is unknown. Use one of "):
        config_from_dict({"data": values})
    assert values.get("source", "digits") not in owners(f"data.{option}")
    assert owners(f"data.{option}")


def test_another_source_keeps_the_options_that_it_has() -> None:
    config = TrainConfig(data=PatchesConfig(size=64, channels="gray", flip=True, count=100, split_seed=3))
    kept = FolderConfig(size=64, channels="gray", flip=True, split_seed=3)
    assert with_choices(config, {"data.source": "patches"}) == config
    assert with_choices(config, {"data.source": "folder"}).data == kept
    assert with_choices(config, {"data.source": "digits"}).data == DigitsConfig(flip=True, split_seed=3)
    assert with_choices(config, {"data.source": "grid"}).data == GridConfig(count=100, split_seed=3)


def test_a_template_may_lack_a_path() -> None:
    template = with_choices(TrainConfig(), {"data.source": "folder"})
    assert changed_config(template, {"data.path": "x"}).data == FolderConfig(path="x")
    with pytest.raises(ConfigError, match=r"Add --data\.path PATH"):
        changed_config(template, {"seed": 1})


def test_every_option_survives_json() -> None:
    data = ParquetConfig(path="x", image_column="img", size=64, channels="rgba", flip=True, on_bad_file="skip")
    config = TrainConfig(data=data)
    assert config_from_dict(config_to_dict(config)) == config
    assert next(iter(config_to_dict(config)["data"])) == "source"


@pytest.mark.parametrize("flag", ["--on-bad-file=skip", "--data.on-bad-file=skip"])
def test_bad_files_have_a_short_flag_too(flag: str) -> None:
    config = read_arguments(["digits", "--data.source", "folder", "--data.path", "x", flag]).config
    assert config_to_dict(config)["data"]["on_bad_file"] == "skip"


def test_data_may_move_but_not_change_form_on_resume() -> None:
    old = TrainConfig(data=FolderConfig(path="a", labels_path="a.csv"))
    new = TrainConfig(data=FolderConfig(path="b", labels_path="b.csv", workers=0))
    check_same_config(old, new, where="run")
    with pytest.raises(ConfigChangedError, match=r"--data\.size: \(not set\) -> 32"):
        check_same_config(old, TrainConfig(data=FolderConfig(path="b", size=32)), where="run")


def test_every_source_names_itself() -> None:
    assert all(SOURCES[name].source == name for name in SOURCES.names)


def test_a_value_that_may_change_is_given_for_both_ends_at_once() -> None:
    words = ["--regularisers.r1-gamma", "0.5", "--optimisers.critic.learning_rate=1e-4", "--data.size", "16"]
    asked = read_arguments(["mnist", *words])
    assert asked.config.regularisers.r1_gamma == Anneal.constant(0.5)
    assert asked.config.optimisers.critic.learning_rate == Anneal.constant(1e-4)
    assert asked.fit is not None
    assert {"regularisers.r1_gamma.start", "regularisers.r1_gamma.end"} <= asked.fit.given
