"""Everything that needs Pillow: pictures from arrays and arrays from pictures.

Pillow is optional (the extra `images`); it is imported when a function here is called, and its absence is a
`MissingExtra`.
"""

# N = samples, H = height, W = width, C = channels

from __future__ import annotations

import io
import re
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from ganserve._errors import InvalidRequest, MissingExtra, ServerError
from ganserve._results.grid import CHUNK, Grid, Source, arrange, default_scale

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from types import ModuleType

    import numpy.typing as npt
    import PIL.Image

    from ganserve._results.batch import SampleBatch

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def has_pillow() -> bool:
    """Whether Pillow is installed."""
    return find_spec("PIL") is not None


def need_pillow(purpose: str) -> None:
    """Check that Pillow is there, before anything is sent whose answer would need it.

    Args:
        purpose: What needs it.

    Raises:
        MissingExtra: It is not installed.
    """
    _pillow(purpose)


def to_pil(image: npt.NDArray[np.uint8]) -> PIL.Image.Image:
    """A Pillow image of an array uint8 [H, W, C].

    Raises:
        UnsupportedByModel: It has more than 4 channels.
        MissingExtra: Pillow is not installed.
    """
    pillow = _pillow("making pictures")
    channels = image.shape[-1]
    if channels not in _MODES:
        raise InvalidRequest.of("images", f"have {channels} channels; expected 1 to 4 for a picture")
    result: PIL.Image.Image = pillow.fromarray(image[..., 0] if channels == 1 else image)
    return result


def grid_png(
    batch: SampleBatch, *, columns: int | None = None, scale: int | None = None, gap: int | None = None
) -> bytes:
    """The PNG file of a batch's grid; see `SampleBatch.save_grid`."""
    grid = (
        arrange(batch, columns=columns, scale=scale)
        if gap is None
        else arrange(batch, columns=columns, scale=scale, gap=gap)
    )
    picture = to_pil(grid.compose(batch.images))
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt(CHUNK, grid.to_json(), zip=True)
    file = io.BytesIO()
    picture.save(file, "PNG", pnginfo=info)
    return file.getvalue()


def picture_png(image: npt.NDArray[np.uint8]) -> bytes:
    """The PNG file of one image [H, W, C], enlarged as a grid's are."""
    scale = default_scale(*image.shape[:2])
    file = io.BytesIO()
    to_pil(image.repeat(scale, axis=0).repeat(scale, axis=1)).save(file, "PNG")
    return file.getvalue()


def save_grid(batch: SampleBatch, path: str | os.PathLike[str], *, columns: int | None, scale: int | None) -> Path:
    """Write a batch's grid; see `SampleBatch.save_grid`."""
    file = check_suffix(path, ".png")
    file.write_bytes(grid_png(batch, columns=columns, scale=scale))
    return file


def save_each(batch: SampleBatch, folder: str | os.PathLike[str]) -> list[Path]:
    """Write each sample; see `SampleBatch.save`."""
    images = batch.images  # before the folder is made: a vector model has none
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    for i in range(len(images)):
        label = "" if batch.label_names is None else "-" + re.sub(r"[^\w.-]+", "_", batch.label_names[i])
        path = target / f"{int(batch.indices[i]):06d}{label}.png"
        # A grid of one: the file knows its label, model and seed, and can be scored without saying them again.
        path.write_bytes(grid_png(batch[i : i + 1], scale=1, gap=0))
        paths.append(path)
    return paths


def check_suffix(path: str | os.PathLike[str], suffix: str) -> Path:
    """The path, which must end in `suffix`.

    Raises:
        InvalidRequest: It doesn't.
    """
    file = Path(path)
    if file.suffix.lower() != suffix:
        raise InvalidRequest.of("path", f"is {str(file)!r}; expected a name that ends in {suffix}")
    return file


def open_picture(file: str | os.PathLike[str] | IO[bytes], source: Source) -> PIL.Image.Image:
    """The Pillow image of a file, loaded.

    Args:
        file: Its path, or the open file.
        source: What the errors call it.

    Raises:
        InvalidRequest: There is no such file, or it is no picture.
        MissingExtra: Pillow is not installed.
    """
    pillow = _pillow(f"reading {source.file or source.argument!r}")
    try:
        with pillow.open(file) as image:
            image.load()
            loaded: PIL.Image.Image = image
            return loaded
    except FileNotFoundError as error:
        raise source.refuse("does not exist") from error
    except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError) as error:
        raise source.refuse(f"cannot be read as a picture ({error})") from error


def decode_images(files: Sequence[bytes], channels: int | None) -> npt.NDArray[np.uint8]:
    """The images of picture files that a server sent, uint8 [N, H, W, C].

    Args:
        files: PNG, JPEG or WebP, all of one size.
        channels: C, where the format does not keep it (WebP knows no gray); None: as the files have it.

    Raises:
        ServerError: A file is no picture.
        MissingExtra: Pillow is not installed.
    """
    pillow = _pillow("reading pictures")
    images: list[npt.NDArray[np.uint8]] = []
    for file in files:
        try:
            with pillow.open(io.BytesIO(file)) as image:
                pixels = np.asarray(image if channels is None else image.convert(_MODES[channels]), dtype=np.uint8)
        except (OSError, SyntaxError, ValueError) as error:
            raise ServerError(f"the answer's sample {len(images)} is no picture ({error})") from error
        images.append(pixels[..., None] if pixels.ndim == 2 else pixels)
    return np.stack(images)


def read_pixels(image: PIL.Image.Image, source: Source) -> tuple[npt.NDArray[np.uint8], Grid | None]:
    """The images of a picture, uint8 [N, H, W, C], and the description of the grid if it is one that ganserve wrote.

    Args:
        image: Any Pillow image; only one read from a PNG file can be a grid.
        source: What the errors call it.

    Raises:
        InvalidRequest: Its mode is not 8-bit gray or RGB, with or without alpha, or the grid was changed.
    """
    text = getattr(image, "text", {}).get(CHUNK)
    pixels = _eight_bit(image, source)
    if text is None:
        return pixels[None], None
    grid = Grid.from_json(str(text), source)
    return grid.cut(fit_channels(pixels, grid.channels, source), source), grid


def fit_channels(pixels: npt.NDArray[np.uint8], channels: int, source: Source) -> npt.NDArray[np.uint8]:
    """The pixels [..., C] with another number of channels, if nothing is lost by it.

    Gray becomes RGB; RGB becomes gray if its three channels are equal everywhere; alpha is left out if it is opaque
    everywhere, and added opaque.

    Raises:
        InvalidRequest: Something would be lost.
    """
    given = pixels.shape[-1]
    if given == channels:
        return pixels
    gray_or_rgb = pixels[..., : 1 if given <= 2 else 3]
    alpha = pixels[..., -1:] if given in (2, 4) else None
    if channels in (1, 2) and gray_or_rgb.shape[-1] == 3:
        if (gray_or_rgb != gray_or_rgb[..., :1]).any():
            raise source.refuse("has colours, and the model takes gray: convert it first")
        gray_or_rgb = gray_or_rgb[..., :1]
    elif channels in (3, 4) and gray_or_rgb.shape[-1] == 1:
        gray_or_rgb = gray_or_rgb.repeat(3, axis=-1)
    if channels in (1, 3):
        if alpha is not None and (alpha != 255).any():
            raise source.refuse("is transparent in places, and the model takes no alpha: flatten it first")
        return gray_or_rgb
    if alpha is None:
        alpha = np.full((*pixels.shape[:-1], 1), 255, np.uint8)
    return np.concatenate([gray_or_rgb, alpha], axis=-1)


def _eight_bit(image: PIL.Image.Image, source: Source) -> npt.NDArray[np.uint8]:
    mode = image.mode
    if mode == "1":
        image = image.convert("L")
    elif mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif mode in ("L", "RGB") and image.has_transparency_data:
        image = image.convert(f"{mode}A")
    elif mode not in _MODES.values():
        raise source.refuse(f"has the mode {mode}, not 8-bit gray or RGB: convert it first")
    pixels: npt.NDArray[np.uint8] = np.asarray(image, dtype=np.uint8)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _pillow(purpose: str) -> ModuleType:
    try:
        import PIL.Image
    except ModuleNotFoundError as error:
        raise MissingExtra.of("images", "Pillow", purpose) from error
    return PIL.Image
