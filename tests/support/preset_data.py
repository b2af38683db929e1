"""Describe the data of presets without reading them, or read some."""

import functools
from dataclasses import replace

import numpy as np
import pytest

from ganserve_training.config import DataConfig, FolderConfig, TrainConfig
from ganserve_training.data import DataInfo, Images, Samples, load_split
from ganserve_training.errors import DataError

CLOTHES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot")


def data_of(config: TrainConfig) -> DataInfo:
    """Return the form of the data of a preset's source."""
    source = config.data.source
    if source in ("ring", "grid"):
        return DataInfo(sample_shape=(2,), mean=(0.0, 0.0), std=(1.0, 1.0))
    digits = tuple("0123456789")
    labels = {"digits": digits, "mnist": digits, "fashion": CLOTHES, "patches": ("china", "flower")}.get(source, ())
    shapes = {"digits": (8, 8, 1), "stacked-digits": (8, 8, 3), "mnist": (32, 32, 1), "fashion": (32, 32, 1)}
    shapes |= {"stacked-mnist": (28, 28, 3), "folder": (256, 256, 3)}
    shape = shapes.get(source, (32, 32, 3))
    return DataInfo(sample_shape=shape, label_names=labels if config.data.labels == "use" else ())


def fewer(data: DataConfig, count: int = 2000) -> DataConfig:
    """Return a configuration that draws fewer samples, if it draws them."""
    return replace(data, count=count) if hasattr(data, "count") else data


@functools.cache
def training_samples(data: DataConfig) -> Samples:
    """Return the training samples, or skip the test where a package with them is not installed.

    In place of a folder of pictures, which a user has, they are random ones.
    """
    if isinstance(data, FolderConfig):
        assert data.size is not None
        random = np.random.default_rng(0)
        return Images(pixels=random.integers(0, 256, (16, data.size, data.size, 3), np.uint8))
    try:
        return load_split(data, "train")
    except DataError as error:
        if data.source == "fashion":  # A package of the operating system, which pip can't install.
            pytest.skip(str(error))
        raise
