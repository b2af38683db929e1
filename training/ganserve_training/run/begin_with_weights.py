"""Begin a run with weights from elsewhere: its first checkpoint, from which `train` goes on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from torch import Tensor

from ganserve_training.config import TrainConfig
from ganserve_training.config.fitting import Fit
from ganserve_training.data import Samples, load_split
from ganserve_training.data.extremes import extreme_share
from ganserve_training.errors import ConfigError
from ganserve_training.run.distributed import Processes
from ganserve_training.run.healing import Treatment
from ganserve_training.run.run_folder import RunFolder
from ganserve_training.run.training_loop import RunLoop


@dataclass(frozen=True, kw_only=True, slots=True)
class FirstWeights:
    """The state_dicts that a run begins with."""

    generator: Mapping[str, Tensor]
    averaged: Mapping[str, Tensor]
    """Weights of the averaged generator."""
    critic: Mapping[str, Tensor]


def begin_with_weights(
    config: TrainConfig, out: Path, weights: FirstWeights, label_count: int, *, fit: Fit | None = None
) -> None:
    """Write a run's folder with a checkpoint of step 0; `train` with the same configuration goes on from it.

    Args:
        config: The run's configuration, whose networks these weights fit.
        out: The run's folder.
        weights: What it begins with.
        label_count: Labels that the networks take.
        fit: Makes values follow the data, as in `train`.

    Raises:
        ConfigError: The folder holds a run, or the data have another number of labels or another shape.
        DataError: The data can't be read.
        CheckpointError: The weights don't fit, or can't be written.
    """
    config = replace(config, data=config.data.anchored())
    folder = RunFolder(out)
    if folder.config.exists() or folder.checkpoints.exists():
        raise ConfigError(f"{out}: holds a run already. Choose another folder.")
    with folder.locked():
        samples = load_split(config.data, "train")
        _check(samples, label_count)
        fitted = None if fit is None else fit.to_data(config, samples.info, len(samples), extreme_share(samples))
        config = config if fitted is None else fitted.config
        quiet = Console(quiet=True)
        loop = RunLoop(Treatment.of(config, None), folder, samples, Processes(), quiet, lambda: None)
        try:
            loop.begin_with(weights.generator, weights.averaged, weights.critic)
        finally:
            loop.close()
        if fitted is not None:
            folder.write_fitted(fitted.values)
        folder.write_config(config)


def _check(samples: Samples, label_count: int) -> None:
    found = len(samples.info.label_names)
    if found != label_count:
        theirs = f"take {label_count} labels" if label_count else "take no labels"
        raise ConfigError(f"--data: has {found} labels, but the networks {theirs}. Give data with as many.")
