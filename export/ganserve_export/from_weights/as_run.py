"""Turn a file of another project's weights into a run that `ganserve train` continues."""

import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from ganserve_export.errors import BadUsageError, ExportError, export_error
from ganserve_export.from_weights.import_weights import check_with_numpy
from ganserve_export.from_weights.lucidrains import NO_RUN
from ganserve_export.from_weights.read_weights import read_weights
from ganserve_export.from_weights.stylegan2_weights import Stylegan2Weights
from ganserve_training.commands.own_data import completed
from ganserve_training.errors import TrainingError
from ganserve_training.options.checks import flag
from ganserve_training.presets import PRESETS
from ganserve_training.run.begin_with_weights import FirstWeights, begin_with_weights
from ganserve_training.run.command_progress import Steps
from ganserve_training.run.run_folder import RunFolder

_SMALL, _LARGE, _SMALL_SIDE = "stylegan2-32", "stylegan2-256", 64


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A run with imported weights."""

    run: Path
    """Its folder."""
    command: str
    """The command that continues training."""


def import_as_run(file: Path, run: Path, data: str, steps: Steps | None = None) -> Begun:
    """Write a run that begins with the networks in another project's file.

    Args:
        file: A network pickle or a checkpoint, with its critic.
        run: The run's folder, which must not hold one.
        data: A source or a path: what it is to train on.
        steps: Takes a message before each step.

    Raises:
        ExportError: The file can't be read or holds other networks, or the data don't fit them.
    """
    steps = steps or Steps()
    folder = RunFolder(run)
    if folder.config.exists() or folder.checkpoints.exists():
        raise BadUsageError(f"--as-run {run}: holds a run already. Choose another folder.")
    steps.next(f"reading {file.name}")
    weights = read_weights(file, with_critic=True, with_trained=True)
    if not isinstance(weights, Stylegan2Weights):
        raise BadUsageError(f"--as-run {run}: {NO_RUN}.")
    words = [_SMALL if weights.side <= _SMALL_SIDE else _LARGE, "--data", data, "--out", str(run), *_words(weights)]
    try:
        call = completed(words)
        names = tuple(map(str, range(weights.label_count)))
        steps.next("building and comparing the networks")
        pair = weights.networks(weights.data(names))
        check_with_numpy(weights, pair, file)
        averaged = pair.generator.state_dict()
        trained = dict(averaged)
        if weights.trained_generator is not None:
            trained |= {name: value for name, value in weights.trained_generator.items() if name in averaged}
        first = FirstWeights(generator=_plain(trained), averaged=averaged, critic=pair.critic.state_dict())
        steps.next("reading the data")
        begin_with_weights(call.arguments.config, run, first, weights.label_count, fit=call.arguments.fit)
    except TrainingError as error:
        raise export_error(error) from error
    except ExportError as error:
        raise error if str(file) in str(error) else ExportError(f"{file}: {error}.") from error
    return Begun(run=run, command=f"ganserve train {shlex.join(call.argv)}")


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _words(weights: Stylegan2Weights) -> list[str]:
    """Return the options of `ganserve train` that give these networks, and continue gently, as their averages need."""
    preset = PRESETS[_SMALL if weights.side <= _SMALL_SIDE else _LARGE]
    config = weights.config()
    # Otherwise the first steps would replace the imported average.
    words = ["--ema.warm-up-fraction", "0", "--data.size", str(weights.side)]
    words += ["--data.channels", {1: "gray", 2: "gray-alpha", 3: "rgb", 4: "rgba"}[weights.channels]]
    if not weights.label_count:
        words += ["--data.labels", "ignore"]
    for item in fields(config):
        name, value = item.name, getattr(config, item.name)
        differs = value != getattr(preset.networks, name) and name not in {"style_mixing", "codes"}
        if differs or name == "output_activation":  # which would follow the data
            words += _word(f"networks.{name}", value)
    return words


def _word(path: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        head, _, last = path.rpartition(".")
        return [flag(path) if value else flag(f"{head}.no_{last}")]
    return [flag(path), str(value)]
