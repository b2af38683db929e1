from dataclasses import replace
from typing import Any

import pytest

from ganserve_training.cli.train import read_arguments
from ganserve_training.config import DataConfig, TrainConfig
from ganserve_training.config.data import suit_source
from ganserve_training.config.serialisation import check_same_config, config_from_dict, config_to_dict
from ganserve_training.errors import ConfigChangedError, ConfigError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"path": "x"},
            r"data.path is for the sources folder, .* only \(got x with the source digits\): leave out --data.path",
        ),
        ({"source": "folder"}, "data.path must say where the data are for the source folder"),
        ({"source": "ring", "flip": True}, "data.flip is for the sources"),
        ({"source": "grid", "class_balanced": True}, "data.class_balanced is for"),
        ({"source": "stacked-digits", "size": 16}, "data.size is for"),
        ({"source": "digits", "count": 5}, "data.count is for the sources patches, ring, grid, stacked-digits only"),
        ({"source": "cifar10", "path": "x", "labels_path": "y"}, "data.labels_path is for"),
        ({"source": "idx", "path": "x", "on_bad_file": "skip"}, "data.on_bad_file is for the sources folder, parquet"),
        (
            {"source": "array", "path": "x", "label_column": "y"},
            "data.label_column is for .* leave out --data.label-column",
        ),
        ({"source": "patches", "size": 8}, "data.size must be from 16 to 128 pixels"),
        ({"source": "patches", "channels": "rgba"}, "data.channels must be rgb or gray for patches"),
        ({"source": "folder", "path": "x", "size": 0}, "data.size must be from 1 to 4096"),
        ({"labels": "ignore", "class_balanced": True}, "data.class_balanced needs the labels that data.labels ignore"),
        (
            {"source": "folder", "path": "x", "labels": "ignore", "labels_path": "y"},
            "data.labels_path needs the labels",
        ),
        ({"workers": -1}, "data.workers must be not negative"),
        ({"source": "ring", "count": 1}, "data.count must be at least 2"),
        ({"held_out_fraction": 0.0}, "data.held_out_fraction must be between 0 and 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DataConfig(**values)


def test_another_source_takes_over_what_it_has_a_use_for() -> None:
    patches = DataConfig(source="patches", size=64, channels="gray", flip=True, count=100, split_seed=3)
    assert suit_source(patches, "patches") == patches
    assert suit_source(patches, "folder") == replace(patches, count=None)
    assert suit_source(patches, "digits") == DataConfig(source="patches", flip=True, split_seed=3)
    assert suit_source(patches, "grid") == DataConfig(source="patches", count=100, split_seed=3)


def test_every_option_survives_the_way_to_json_and_back() -> None:
    data = DataConfig(
        source="parquet", path="x", image_column="img", size=64, channels="rgba", flip=True, on_bad_file="skip"
    )
    config = TrainConfig(data=data)
    assert config_from_dict(config_to_dict(config)) == config


@pytest.mark.parametrize("flag", ["--on-bad-file=skip", "--data.on-bad-file=skip"])
def test_bad_files_have_a_short_flag_too(flag: str) -> None:
    config = read_arguments(["digits", "--data.source", "folder", "--data.path", "x", flag]).config
    assert config.data.on_bad_file == "skip"


def test_data_may_move_between_two_calls_of_a_run_but_not_change_their_form() -> None:
    old = TrainConfig(data=DataConfig(source="folder", path="a", labels_path="a.csv"))
    new = TrainConfig(data=DataConfig(source="folder", path="b", labels_path="b.csv", workers=0))
    check_same_config(old, new, where="run")
    with pytest.raises(ConfigChangedError, match=r"data.size: \(not set\) -> 32"):
        check_same_config(old, TrainConfig(data=DataConfig(source="folder", path="b", size=32)), where="run")
