"""What to learn."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from ganserve_training.config._checks import expect, expect_seed
from ganserve_training.errors import ConfigError

SourceName = Literal[
    "digits", "patches", "ring", "grid", "stacked-digits", "folder", "array", "idx", "cifar10", "parquet"
]
ChannelsName = Literal["auto", "gray", "gray-alpha", "rgb", "rgba"]

_STORED = ("folder", "array", "idx", "cifar10", "parquet")
_DRAWN = ("patches", "ring", "grid", "stacked-digits")
# Options that only some sources have a use for. What is not listed fits all.
_ONLY_FOR: dict[str, tuple[str, ...]] = {
    "path": _STORED,
    "labels_path": ("folder", "array", "idx"),
    "image_column": ("parquet",),
    "label_column": ("parquet",),
    "size": (*_STORED, "patches"),
    "crop": _STORED,
    "channels": (*_STORED, "patches"),
    "flip": ("digits", "patches", "stacked-digits", *_STORED),
    "class_balanced": ("digits", "patches", *_STORED),
    "on_bad_file": ("folder", "parquet"),
    "count": _DRAWN,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """What to learn."""

    source: SourceName = "digits"
    """digits: scikit-learn's 1,797 handwritten digits, 8 x 8 gray. patches: of scikit-learn's two photographs, labelled
    by photograph. ring, grid: points of 8 or 25 Gaussians in the plane. stacked-digits: three digits as the channels of
    one image, unlabelled. folder, array, idx, cifar10, parquet: your own, at path; see docs/data.md."""
    path: str | None = None
    """Where your own data are. folder: the folder; array: a .npy or .npz file; idx: an images file or its folder;
    cifar10: the folder of data_batch_*.bin or one such file; parquet: a file or a folder of them."""
    labels_path: str | None = None
    """Labels that lie apart. folder: a CSV file with the columns file and label; array: a .npy file; idx: the labels
    file where it has no standard name."""
    labels: Literal["use", "ignore"] = "use"
    """ignore: learn labelled data without their labels. The split stays the same."""
    image_column: str = "image"
    """Parquet: the column of encoded images."""
    label_column: str = "label"
    """Parquet: the column of labels, integers or text."""
    size: int | None = None
    """Width and height in pixels that images are resized to. None: what they have, the same for all; patches: 32."""
    crop: Literal["center", "none"] = "center"
    """center: the largest square in the middle of each image. none: an image that is not square is a bad file."""
    channels: ChannelsName = "auto"
    """What images are turned into. auto: what they are, the same for all."""
    flip: bool = False
    """Show half of the images mirrored left to right, others each time."""
    class_balanced: bool = False
    """Show each label equally often, however many samples it has; else, each sample equally often."""
    on_bad_file: Literal["fail", "skip"] = field(default="fail", metadata={"aliases": ("--on-bad-file",)})
    """What to do about images that can't be read: name them and stop, or name them and go on without."""
    workers: int = 2
    """Processes that read ahead where data are too large for memory; 0: read when needed."""
    count: int | None = None
    """Samples to draw in all, training and held out. None: ring, grid 80,000; stacked-digits 50,000; patches 20,000."""
    held_out_fraction: float = 0.2
    """Share of the samples, stratified by label, that training never sees; the judge tests on them."""
    split_seed: int = 0
    """Seed of the split, and of what is drawn; runs with the same value hold out the same samples."""

    def __post_init__(self) -> None:
        for item in fields(self):
            suited, value = _ONLY_FOR.get(item.name), getattr(self, item.name)
            if suited is not None and self.source not in suited and value != item.default:
                raise ConfigError(
                    f"data.{item.name} is for the sources {', '.join(suited)} only "
                    f"(got {value} with the source {self.source}): leave out --data.{item.name.replace('_', '-')}"
                )
        if self.source in _STORED and not self.path:
            raise ConfigError(f"data.path must say where the data are for the source {self.source}: add --data.path")
        if self.labels == "ignore":
            for name in ("labels_path", "class_balanced"):
                if getattr(self, name):
                    raise ConfigError(f"data.{name} needs the labels that data.labels ignore drops: leave one out")
        size_from, size_to = (16, 128) if self.source == "patches" else (1, 4096)
        if self.size is not None:
            expect(size_from <= self.size <= size_to, "data.size", self.size, f"from {size_from} to {size_to} pixels")
        if self.source == "patches":
            expect(self.channels in ("auto", "rgb", "gray"), "data.channels", self.channels, "rgb or gray for patches")
        expect(self.workers >= 0, "data.workers", self.workers, "not negative")
        if self.count is not None:
            expect(self.count >= 2, "data.count", self.count, "at least 2")
        expect(0.0 < self.held_out_fraction < 1.0, "data.held_out_fraction", self.held_out_fraction, "between 0 and 1")
        expect_seed("data.split_seed", self.split_seed)


def suit_source(data: DataConfig, source: str) -> DataConfig:
    """`data` without the options that `source` has no use for: what is left of a preset's with another source.

    `data.source` itself stays: the new one may need a path that only its user knows.
    """
    unsuited: dict[str, Any] = {
        item.name: item.default for item in fields(data) if source not in _ONLY_FOR.get(item.name, (source,))
    }
    return replace(data, **unsuited)
