"""Read a picture of a stranger with what it says about itself."""

# N = samples, H = height, W = width, C = channels

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ganserve._errors import InvalidRequest
from ganserve._marks.files import xmp_of
from ganserve._marks.orientation import upright
from ganserve._marks.signing import MEDIA_TYPES, Manifest, NoC2paError, may_have_manifest, read_manifest
from ganserve._marks.xmp import MarkError, read_mark
from ganserve._results.grid_picture import CHUNK, Grid
from ganserve._results.input_source import Source
from ganserve._results.lost_layout import lost_layout
from ganserve._results.picture_file import without_inks
from ganserve._results.picture_reading import eight_bit, file_content, open_picture
from ganserve._results.pictures import to_pil

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import PIL.Image

    from ganserve._marks.mark import Mark
    from ganserve._types import File

MOST_FILE_BYTES = 2**26  # Pillow takes up to 0.2 s for a MiB of hostile chunks


@dataclass(slots=True, eq=False)
class MarkedPicture:
    """A picture, its mark and its signature."""

    source: Source
    """Its name in errors."""
    image: PIL.Image.Image
    """The picture, loaded."""
    form: str
    """Pillow's name of its format: PNG, JPEG or WEBP."""
    pixels: npt.NDArray[np.uint8]
    """The whole picture upright, uint8 [height, width, C]."""
    mark: Mark | None = None
    """Ganserve's mark."""
    source_type: str = ""
    """The digital source type that the picture states; empty: none."""
    grid: Grid | None = None
    """The places of the samples in a PNG that ganserve wrote."""
    layout_lost: bool = False
    """True if `grid` was found by the picture's size: it has no labels, and counts its samples from 0."""
    manifest: Manifest | None = None
    """Its C2PA manifest."""
    notes: list[str] = field(default_factory=list)
    """Remarks about oddities, in words."""

    @classmethod
    def read(cls, file: File, argument: str = "picture") -> MarkedPicture:
        """Read a path, the bytes of a file, or a file opened for reading bytes.

        Raises:
            InvalidRequest: It is not a PNG, JPEG or WebP, is too large, or an animation.
            MissingExtra: Pillow is not installed.
        """
        name = Path(file).name if isinstance(file, str | os.PathLike) else None
        source = Source(argument, file=name)
        content = file_content(file, source, MOST_FILE_BYTES)
        image = open_picture(content, source)
        if getattr(image, "is_animated", False):
            raise source.refuse("is an animation; expected one picture a file")
        picture = cls(source, image, image.format or "PNG", eight_bit(upright(without_inks(image)), source))
        picture._read_mark()
        picture._read_grid()
        picture._read_manifest(content)
        return picture

    def _read_mark(self) -> None:
        try:
            xmp = xmp_of(self.image.info)
            if xmp:
                self.mark, self.source_type = read_mark(xmp)
        except MarkError as error:
            self.notes.append(str(error))

    def _read_grid(self) -> None:
        text = getattr(self.image, "text", {}).get(CHUNK)
        if text is None:
            return
        try:
            self.grid = Grid.from_json(str(text), self.source)
        except InvalidRequest as error:
            self.notes.append(f"its layout cannot be read: {error.violations[0].description}")

    def _read_manifest(self, content: bytes) -> None:
        if not may_have_manifest(content) or self.form not in MEDIA_TYPES:
            return
        try:
            self.manifest = read_manifest(content, self.form)
        except NoC2paError as error:
            self.notes.append(f"it seems to have a C2PA manifest, which was not read: {error}")

    def restore_grid(self, shape: tuple[int, ...]) -> bool:
        """Find the samples of a grid whose layout was removed; return False if it has one that cannot be found.

        Args:
            shape: H, W and C of the model's samples.
        """
        count = None if self.mark is None else self.mark.samples
        if self.grid is not None or count == 1:
            return True
        self.grid = lost_layout(self.pixels, shape, count)
        if self.grid is not None:
            self.layout_lost = True
            self.notes.append(
                f"it has no layout; by its size it is a grid of {self.grid.columns} x {self.grid.rows} cells"
            )
        return self.grid is not None or count is None

    def samples(self, shape: tuple[int, ...]) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
        """Return its samples as a model makes them, uint8 [N, H, W, C], and what was changed for that.

        Args:
            shape: H, W and C of the model's samples.
        """
        if self.grid is None or (self.grid.height, self.grid.width, self.grid.channels) != tuple(shape):
            pixels, changes = _of_size(self.pixels, (shape[0], shape[1]))
            pixels, colours = _with_channels(pixels, shape[2], tolerant=self.form == "WEBP")
            return pixels[None], (*changes, *colours)
        height, width = self.grid.pixel_size
        pixels, changes = _of_size(self.pixels, (height, width))
        pixels, colours = _with_channels(pixels, self.grid.channels, tolerant=False)
        return self.grid.cut(pixels, self.source), (*changes, *colours)


def _of_size(pixels: npt.NDArray[np.uint8], size: tuple[int, int]) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    """Return pixels [*, *, C] with this height and width, and what was changed: nothing, or sizes that differ."""
    from PIL import Image

    (height, width), given = size, pixels.shape[:2]
    if given == size:
        return pixels, ()
    times = given[0] // height
    if times > 1 and given == (height * times, width * times):
        small = pixels[::times, ::times]
        if (small.repeat(times, axis=0).repeat(times, axis=1) == pixels).all():
            return small, (f"enlarged {times} times",)
    import numpy as np

    resized = np.asarray(to_pil(pixels).resize((width, height), Image.Resampling.BOX), np.uint8)
    changes = (f"{given[1]}x{given[0]} pixels, resized to {width}x{height}",)
    return (resized[..., None] if resized.ndim == 2 else resized), changes


def _with_channels(
    pixels: npt.NDArray[np.uint8], channels: int, *, tolerant: bool
) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    """Return pixels [..., C] with another C; `tolerant` accepts small losses, as in formats without gray."""
    import numpy as np

    from ganserve._results.input_source import NeedsFittingError
    from ganserve._results.picture_reading import fit_channels
    from ganserve._results.pictures import MODES

    try:
        return fit_channels(pixels, channels, Source()), ()
    except NeedsFittingError:
        converted = np.asarray(to_pil(pixels).convert(MODES[channels]), np.uint8)
        changes = (
            () if tolerant else (f"in other colours, converted from {MODES[pixels.shape[-1]]} to {MODES[channels]}",)
        )
        return (converted[..., None] if converted.ndim == 2 else converted), changes
