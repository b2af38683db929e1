"""Options that all data sources share; each source adds its own options in its file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray

from ganserve_training.data.bad_files import ReportBadFiles
from ganserve_training.data.samples import Samples
from ganserve_training.data.split_indices import split_indices
from ganserve_training.errors import DataError, MissingDataError
from ganserve_training.free_memory import free_bytes, shown_bytes
from ganserve_training.options.checks import expect, expect_at_least, expect_choices, expect_seed, refusal
from ganserve_training.options.registry import Registry

PathKind = Literal["file", "folder", "either"]


def existing(path: Path, *, kind: PathKind, option: str) -> Path:
    """Return `path` if it exists and is of that kind.

    Raises:
        MissingDataError: It does not exist or is of another kind.
    """
    flag = f"--{option.replace('_', '-')} {path}"
    if not path.exists():
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        moved = " If the data were moved, say where they are now: --data PATH." if option == "data.path" else ""
        raise MissingDataError(f"{flag}: does not exist{where}.{moved}")
    if (kind == "file" and not path.is_file()) or (kind == "folder" and not path.is_dir()):
        raise MissingDataError(f"{flag}: must be a {kind}.")
    return path


SplitName = Literal["train", "held_out"]
ChannelsName = Literal["auto", "gray", "gray-alpha", "rgb", "rgba"]
OnBadFile = Literal["fail", "skip"]

_PATHS = ("path", "labels_path")

SOURCES: Registry[DataConfig] = Registry("source")
register_source = SOURCES.register
"""Decorator that adds a class to the choices of `--data.source`."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Training data: their source, labels and split."""

    registry: ClassVar = SOURCES
    source: ClassVar[str]
    """Source of the data; docs/data.md describes each."""

    labels: Literal["use", "ignore"] = "use"
    """ignore: learn labelled data without their labels. The split stays the same."""
    workers: int = 2
    """Processes that read ahead where data are too large for memory; 0: read when needed."""
    held_out_fraction: float = 0.2
    """Share of the samples, stratified by label, that training never sees; the judge tests on them."""
    split_seed: int = 0
    """Seed of the split, and of what is drawn; runs with the same value hold out the same samples."""

    def __post_init__(self) -> None:
        expect_choices(self, "data")
        expect_at_least(0, self, "data", "workers")
        expect(0.0 < self.held_out_fraction < 1.0, "data.held_out_fraction", self.held_out_fraction, "between 0 and 1")
        expect_seed("data.split_seed", self.split_seed)
        if self.labels == "ignore":
            for name in ("labels_path", "class_balanced"):
                if value := getattr(self, name, None):
                    raise refusal(f"data.{name}", value, "needs labels", "Leave it out, or --data.labels ignore")

    def __str__(self) -> str:
        return self.source

    def check_complete(self) -> None:
        """Refuse a configuration that lacks a required option."""

    def anchored(self) -> Self:
        """Return the same data with absolute paths, so that a run finds them from any folder."""
        return self

    def load(self, report: ReportBadFiles | None) -> Samples:
        """Return all samples; call `report` with the unreadable images that are skipped.

        Raises:
            DataError: Data are missing, unreadable, or differ from the configuration.
        """
        raise NotImplementedError

    def load_side(self, split: SplitName, report: ReportBadFiles | None) -> Samples:
        """Return one side of the split; a source that splits before it draws overrides this."""
        whole = self.load(report)
        try:
            sides = self.split_indices(len(whole), whole.labels)
        except DataError:
            if self.labels == "use" or whole.labels is None:
                raise
            sides = self.split_indices(len(whole), None)
        side = whole.take(sides[0 if split == "train" else 1])
        return replace(side, origin=replace(whole.origin, total=len(whole)))

    def split_indices(self, count: int, labels: NDArray[np.int64] | None) -> tuple[NDArray[np.int64], ...]:
        """Return the indices of the training samples and of the held-out ones, for labels int64 [count]."""
        return split_indices(count, labels, held_out_fraction=self.held_out_fraction, seed=self.split_seed)

    @property
    def flip(self) -> bool:
        """True if half of the images are shown mirrored; False for sources without this option."""
        return False

    @property
    def class_balanced(self) -> bool:
        """True if each label is shown equally often; False for sources without this option."""
        return False


@dataclass(frozen=True, kw_only=True)
class ImageDataConfig(DataConfig):
    """Images."""

    flip: bool = False
    """Mirror a random half of the images left to right each time."""


@dataclass(frozen=True, kw_only=True)
class LabelledImageDataConfig(ImageDataConfig):
    """Images that may have labels."""

    class_balanced: bool = False
    """Show each label equally often, however many samples it has; else, each sample equally often."""


@dataclass(frozen=True, kw_only=True)
class DrawnDataConfig(DataConfig):
    """Samples drawn at random, in any number."""

    default_count: ClassVar[int]
    drawing_bytes: ClassVar[int] = 32
    """Least memory that drawing takes for each sample."""
    count: int | None = None
    """Samples to draw in all, training and held out. None: ring, grid 80,000; stacked-digits 50,000; stacked-mnist
    128,000; patches 20,000."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.count is not None:
            expect(self.count >= 2, "data.count", self.count, "at least 2")

    def check_memory(self) -> None:
        """Refuse more samples than fit into memory."""
        needed, free = self.total * self.drawing_bytes, free_bytes(torch.device("cpu"))
        if free is not None and needed > free:
            problem = f"drawing needs more than {shown_bytes(needed)} of memory, and {shown_bytes(free)} are free"
            raise refusal("data.count", self.total, problem, f"Use {free // (2 * self.drawing_bytes):,} or less")

    @property
    def total(self) -> int:
        """Samples to draw in all."""
        return self.count or self.default_count

    def side_count(self, split: SplitName) -> int:
        """Return the number of samples to draw for one side, at least one."""
        held_out = min(max(1, round(self.total * self.held_out_fraction)), self.total - 1)
        return held_out if split == "held_out" else self.total - held_out


@dataclass(frozen=True, kw_only=True)
class StoredDataConfig(LabelledImageDataConfig):
    """Data of the user, in files."""

    path: str = ""
    """Path of your data."""
    size: int | None = None
    """Width and height in pixels that images are resized to. None: keep theirs, which must all be the same."""
    crop: Literal["center", "none"] = "center"
    """center: the largest square in the middle of each image. none: an image that is not square is a bad file."""
    channels: ChannelsName = "auto"
    """Channels that images are converted to. auto: keep theirs, which must all be the same."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size is not None:
            expect(1 <= self.size <= 4096, "data.size", self.size, "from 1 to 4096 pixels")

    def __str__(self) -> str:
        return f"{self.source} {self.path}"

    def check_complete(self) -> None:
        """Refuse a missing path."""
        if not self.path:
            raise refusal("data.source", self.source, "needs the path of your data", "Add --data.path PATH")

    def anchored(self) -> Self:
        """Return the same data with absolute paths, so that a run finds them from any folder."""
        named = {name: value for name in _PATHS if (value := getattr(self, name, None))}
        changes: dict[str, Any] = {name: str(Path(path).expanduser().absolute()) for name, path in named.items()}
        return replace(self, **changes)

    def moved_to(self, path: str) -> Self:
        """Return the same data at another place; a labels file below the old place is looked for below the new one."""
        labels = getattr(self, "labels_path", None)
        changes: dict[str, Any] = {"path": path}
        if labels and self.path and Path(labels).is_relative_to(self.path):
            changes["labels_path"] = str(Path(path) / Path(labels).relative_to(self.path))
        return replace(self, **changes)

    def existing_path(self, kind: PathKind) -> Path:
        """Return `path` if it exists and is of that kind.

        Raises:
            MissingDataError: It does not exist or is of another kind.
        """
        self.check_complete()
        return existing(Path(self.path).expanduser(), kind=kind, option="data.path")

    @property
    def on_bad_file(self) -> OnBadFile:
        """Action for images that can't be read."""
        return "fail"
