"""Describe the data of a configuration without reading them."""

from ganserve_training.config import TrainConfig
from ganserve_training.data import DataInfo


def data_of(config: TrainConfig) -> DataInfo:
    """Return the form of the data of a preset's source."""
    source = config.data.source
    if source in ("ring", "grid"):
        return DataInfo(sample_shape=(2,), mean=(0.0, 0.0), std=(1.0, 1.0))
    labels = {"digits": tuple("0123456789"), "patches": ("china", "flower")}.get(source, ())
    shape = (8, 8, 1) if source == "digits" else (8, 8, 3) if source == "stacked-digits" else (32, 32, 3)
    return DataInfo(sample_shape=shape, label_names=labels if config.data.labels == "use" else ())
