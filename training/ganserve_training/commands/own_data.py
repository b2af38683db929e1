"""Choose what `ganserve train --data PATH` leaves open: preset, size, channels, and whether to use the labels.

The choices become arguments. The command with them is printed, and makes the same run.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ganserve_training.commands.own_data_choices import (
    LARGEST_SIDE,
    Choice,
    choose_channels,
    choose_labels,
    choose_size,
    describe,
)
from ganserve_training.commands.train_arguments import TrainArguments, data_value, given_options, read_arguments
from ganserve_training.data.config import DataConfig, StoredDataConfig
from ganserve_training.data.image_decoding import CHANNEL_COUNTS
from ganserve_training.data.label_table import is_table, lists_files
from ganserve_training.data.layouts.split_names import split_of
from ganserve_training.data.recognition import names_source
from ganserve_training.data.sample_info import DataInfo
from ganserve_training.data.sources.folder import FolderConfig
from ganserve_training.data.survey import Survey, survey
from ganserve_training.networks.growth import GrowthConfig
from ganserve_training.options.checks import flag
from ganserve_training.presets import PRESETS
from ganserve_training.run import launcher_environment as launched
from ganserve_training.run.run_folder import RunFolder

_PICTURES, _SMALL_PICTURES, _VECTORS = "mnist", "digits", "ring"
_SMALL_SIDE = 16
"""Largest side at which the networks of the small preset were measured; the others' were not, down to this side."""
_OPEN = ("data.size", "data.channels", "data.labels")


@dataclass(frozen=True, kw_only=True, slots=True)
class Completed:
    """Arguments of `ganserve train` with every choice about the data."""

    argv: list[str]
    """The arguments, the preset first."""
    arguments: TrainArguments
    lines: tuple[str, ...]
    """Lines for the user about what was found and chosen; empty: nothing was open."""


def completed(argv: Sequence[str]) -> Completed:
    """Look at the data of --data PATH, and choose what the arguments leave open.

    Raises:
        UsageError: An argument is wrong.
        ConfigError: There is no such file or folder, or the arguments contradict each other.
        DataError: The data can't be read.
    """
    named = argv[0] if argv and argv[0] in PRESETS else None
    words = list(argv[1:] if named else argv)
    value = data_value(words)
    if value is None or names_source(value):
        preset = named or (value if value in PRESETS else _PICTURES)
        return Completed(argv=[preset, *words], arguments=read_arguments([preset, *words]), lines=())
    preset = named or (_VECTORS if _holds_vectors(Path(value)) else _PICTURES)
    if not named and "out" not in given_options(preset, words):
        words += ["--out", str(Path("runs") / run_name(value))]
    trial = read_arguments([preset, *words])
    data = trial.config.data
    given = given_options(preset, words)
    if "data.labels_path" in given:
        given |= {"data.labels"}  # Who gives labels wants them used.
    open_options = [path for path in _OPEN if path not in given and hasattr(data, path.partition(".")[2])]
    if not isinstance(data, StoredDataConfig) or not open_options:
        preset, arguments = _read(preset, words, named=named is not None)
        return Completed(argv=[preset, *words], arguments=arguments, lines=())
    skips = "on_bad_file" in {item.name for item in fields(data)} and "data.on_bad_file" not in given
    before = RunFolder(trial.out).read_config()
    lines: tuple[str, ...] = ()
    if before is not None:  # The run goes on as it began, whatever would be chosen now.
        more = ["data.on_bad_file"] if skips else []
        more += ["data.labels_path"] if "data.labels_path" not in given else []
        chosen = _as_before(before.data, value, [*open_options, *more])
    else:
        found = survey(data, skip_bad=skips)
        if isinstance(data, FolderConfig) and (table := _table_of(data, found)):
            with_table = [*words, "--data.labels-path", str(table)]
            labelled_trial = read_arguments([preset, *with_table])
            labelled = survey(labelled_trial.config.data, skip_bad=skips)
            choice = choose_labels(labelled)
            if choice.value == "use":
                words, trial, found = with_table, labelled_trial, labelled
            else:
                why = choice.words.removeprefix("without labels, as ")
                found = replace(found, label_problem=f"{why} ({table.name})")
        choices = _choices(found, trial, preset, open_options)
        chosen = {choice.option: choice.value for choice in choices}
        if found.bad is not None and skips:
            chosen["--data.on-bad-file"] = "skip"
        lines = (describe(found), "; ".join(choice.words for choice in choices))
    words += [word for option_and_value in chosen.items() for word in option_and_value]
    preset, arguments = _read(preset, words, named=named is not None)
    if lines:
        lines = (
            lines[0],
            f"chosen: preset {preset}; {lines[1]}.",
            f"as a command: ganserve train {shlex.join([preset, *words])}",
        )
    return Completed(argv=[preset, *words], arguments=arguments, lines=lines)


def run_name(path: str) -> str:
    """Return the name of a run and of a model, for data at a path: "Große Häuser.zip" -> "grosse-hauser"."""
    whole = Path(path).expanduser().absolute()
    stem = whole.name if whole.is_dir() else whole.name.partition(".")[0]
    letters = unicodedata.normalize("NFKD", stem.casefold()).encode("ascii", "ignore").decode()  # ä as a
    return re.sub(r"[^a-z0-9_]+", "-", letters).strip("-_") or "own"


def _read(preset: str, words: Sequence[str], *, named: bool) -> tuple[str, TrainArguments]:
    """Return the preset that fits the size, if the user named none, and the arguments with it."""
    arguments = read_arguments([preset, *words])
    if named or preset != _PICTURES or _side(arguments) > _SMALL_SIDE:
        return preset, arguments
    return _SMALL_PICTURES, read_arguments([_SMALL_PICTURES, *words])


def _holds_vectors(path: Path) -> bool:
    from ganserve_training.data.sources.array import holds_vectors

    return holds_vectors(path.expanduser())


def _table_of(data: FolderConfig, found: Survey) -> Path | None:
    """Return the table in a folder of pictures of no or one label that gives them some; None: there is not just one.

    Of several, such as train.csv and sample_submission.csv, it is the only one called train.
    """
    root = Path(data.path).expanduser()
    if len(found.labels) > 1 or found.label_problem or data.labels == "ignore" or data.labels_path or not root.is_dir():
        return None
    tables = [path for pattern in ("*", "*/*") for path in sorted(root.glob(pattern)) if is_table(path)]
    listing = [path for path in tables if lists_files(path)]
    if len(listing) > 1:
        splits = {path: split_of(path.name.partition(".")[0]) for path in listing}
        listing = [path for path, split in splits.items() if split is not None and split.kind == "train"]
    return listing[0] if len(listing) == 1 else None


def _side(arguments: TrainArguments) -> int:
    return getattr(arguments.config.data, "size", None) or LARGEST_SIDE


def _as_before(data: DataConfig, path: str, open_options: Sequence[str]) -> dict[str, str]:
    """Return the choices that an existing run began with, for its data at this path."""
    if isinstance(data, StoredDataConfig):
        data = data.moved_to(path)
    values = {option: getattr(data, option.partition(".")[2], None) for option in open_options}
    return {flag(option): str(value) for option, value in values.items() if value is not None}


def _choices(found: Survey, trial: TrainArguments, preset: str, open_options: Sequence[str]) -> list[Choice]:
    """Return the choices for the open options, in the order in which they are told."""
    choices: dict[str, Choice] = {}
    data = trial.config.data
    if "data.labels" in open_options:
        choices["data.labels"] = choose_labels(found)
        if data.labels == "ignore":
            words = f"without labels, as preset {preset} learns"
            choices["data.labels"] = Choice("--data.labels", "ignore", words)
    if not found.values:
        if "data.channels" in open_options:
            choices["data.channels"] = choose_channels(found)
        if "data.size" in open_options:
            others = [choice for choice in choices.values() if choice.option != "--data.size"]
            choices["data.size"] = choose_size(found, lambda side: _seconds(trial, found, preset, side, others))
    return [choices[path] for path in _OPEN if path in choices]


def _seconds(trial: TrainArguments, found: Survey, preset: str, side: int, others: Sequence[Choice]) -> float | None:
    """Return the time that the preset's run takes with pictures of this side; None: it is not known."""
    words = {choice.option: choice.value for choice in others}
    if launched.is_launched() or (isinstance(trial.config.networks, GrowthConfig) and trial.config.networks.grows):
        return None
    data: Any = trial.config.data
    channels = words.get("--data.channels", data.channels)
    channels = found.channels.most_common(1)[0][0] if channels == "auto" else channels
    labels = tuple(found.labels) if words.get("--data.labels", data.labels) == "use" else ()
    info = DataInfo(sample_shape=(side, side, CHANNEL_COUNTS[channels]), label_names=labels)
    config = trial.config if trial.fit is None else trial.fit.to_data(trial.config, info, found.count).config
    from ganserve_training.run.step_time import seconds_per_step

    return seconds_per_step(config, info, trial.device, trial.threads) * PRESETS[preset].steps
