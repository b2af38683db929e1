"""Load the real data that an evaluation compares with."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data import Samples, load_split
from ganserve_training.data.config import SOURCES, ChannelsName, DataConfig, StoredDataConfig
from ganserve_training.data.recognition import names_source, source_of
from ganserve_training.errors import DataError
from ganserve_training.evaluation.features import Features
from ganserve_training.evaluation.judge import fit_judge, sample_rows
from ganserve_training.evaluation.modes import Modes, modes_of

REFERENCE_AT_MOST = 10_000
_SEED = 20_000_011
_CHANNELS: dict[int, ChannelsName] = {1: "gray", 2: "gray-alpha", 3: "rgb", 4: "rgba"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """Real samples: at most 10,000 from each side of the split, always the same. M = training samples."""

    train: Samples
    """Samples that generators learn from."""
    held_out: Samples
    """Samples that they never see."""
    modes: Modes | None
    """Modes of the data; None: unknown."""
    features: Features | None = None
    """Features for the metrics that compare features."""

    @cached_property
    def real_features(self) -> NDArray[Any]:
        """Return the features of the training samples, float [M, F]."""
        assert self.features is not None
        return self.features.extract(self.train.read(np.arange(len(self.train))))

    @cached_property
    def real_values(self) -> NDArray[np.float64]:
        """Return the training samples as rows, float64 [M, D]."""
        return sample_rows(self.train)

    @cached_property
    def judge(self) -> Any:
        """Return a judge that learned the labels of the training samples; DataError if they have fewer than two."""
        assert self.train.labels is not None
        return fit_judge(self.real_values, self.train.labels)


def load_reference(config: DataConfig, sample_shape: tuple[int, ...], *, needs_labels: bool = True) -> Reference:
    """Load both sides of the data that `config` names, with the labels that generators may have learned without.

    Labels that can't be used are left out if `config` ignores them, or the model does not need them.

    Raise DataError if they cannot be read, or their samples do not have the model's `sample_shape`.
    """
    try:
        train, held_out = _sides(replace(config, labels="use"))
    except DataError:
        if needs_labels and config.labels == "use":
            raise
        train, held_out = _sides(replace(config, labels="ignore"))
    if train.info.sample_shape != sample_shape:
        raise DataError(
            f"the model makes samples of shape {list(sample_shape)}, the data have "
            f"{list(train.info.sample_shape)}: give the data that it learned from with --data"
        )
    return Reference(train=train, held_out=held_out, modes=modes_of(config))


def data_config(name: str, learned_from: DataConfig | None, sample_shape: tuple[int, ...]) -> DataConfig:
    """Return the data that `--data` names: a source such as digits, or the path of a file or folder.

    If the source is that of `learned_from`, its other options apply, too; else images are resized to `sample_shape`.
    Raise ConfigError if the path does not exist.
    """
    is_source = names_source(name)
    kind = SOURCES.kind(name if is_source else source_of(name), "--data")
    config = learned_from if learned_from is not None and type(learned_from) is kind else kind()
    if is_source or not isinstance(config, StoredDataConfig):
        return config
    if config is not learned_from and len(sample_shape) == 3:
        height, width, channels = sample_shape
        config = replace(config, size=height if height == width else None, channels=_CHANNELS[channels])
    return config.moved_to(name)


def _sides(config: DataConfig) -> tuple[Samples, Samples]:
    return _at_most(load_split(config, "train")), _at_most(load_split(config, "held_out"))


def _at_most(samples: Samples) -> Samples:
    if len(samples) <= REFERENCE_AT_MOST:
        return samples
    chosen = np.random.default_rng(_SEED).permutation(len(samples))[:REFERENCE_AT_MOST]
    return samples.take(np.sort(chosen))
