"""Make pictures of samples, with Pillow, which only the extra `images` installs: imported when it is needed."""

# N = samples, H = height, W = width, C = channels

from __future__ import annotations

import io
import os
import re
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ganserve._argument_checks import check_flag, check_suffix, kind_of
from ganserve._errors import InvalidRequest, MissingExtra
from ganserve._results.captions import captioned
from ganserve._results.grid_layout import arrange, default_scale
from ganserve._results.grid_picture import CHUNK
from ganserve._results.marking import check_marking, marked_png
from ganserve._results.whole_files import write_whole

if TYPE_CHECKING:
    from types import ModuleType

    import numpy as np
    import numpy.typing as npt
    import PIL.Image

    from ganserve._results.batch_fields import Drawn
    from ganserve._results.marking import Marking

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def has_pillow() -> bool:
    """Return whether Pillow is installed."""
    return find_spec("PIL") is not None


def import_pillow(purpose: str) -> ModuleType:
    """Return the module PIL.Image, or raise MissingExtra for `purpose`, the part of the SDK that needs it."""
    try:
        import PIL.Image
    except ModuleNotFoundError as error:
        raise MissingExtra.of("images", "Pillow", purpose) from error
    return PIL.Image


def to_pil(image: npt.NDArray[np.uint8]) -> PIL.Image.Image:
    """Return a Pillow image of an array uint8 [H, W, C], 1 to 4 channels."""
    pillow = import_pillow("making pictures")
    channels = image.shape[-1]
    if channels not in MODES:
        raise InvalidRequest.of("images", f"have {channels} channels; expected 1 to 4 for a picture")
    result: PIL.Image.Image = pillow.fromarray(image[..., 0] if channels == 1 else image)
    return result


def png(picture: PIL.Image.Image, **options: Any) -> bytes:
    """Return the PNG file of a Pillow image."""
    file = io.BytesIO()
    picture.save(file, "PNG", **options)
    return file.getvalue()


def grid_png(
    batch: Drawn,
    *,
    columns: int | None = None,
    scale: int | None = None,
    captions: bool = False,
    mark: Marking = True,
    **gap: int,
) -> bytes:
    """Return the PNG file of a batch's grid; see `SampleBatch.save_grid`."""
    check_marking(mark)
    grid = arrange(batch, columns=columns, scale=scale, **gap)
    import_pillow("making pictures")
    if check_flag("captions", captions):
        grid, texts = captioned(grid, batch)
        picture = to_pil(texts.draw(grid.compose(batch.images), grid))
    else:
        picture = to_pil(grid.compose(batch.images))
    if mark is False:
        return png(picture)
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt(CHUNK, grid.to_json(), zip=True)
    return marked_png(png(picture, pnginfo=info), batch, mark)


def picture_png(image: npt.NDArray[np.uint8]) -> bytes:
    """Return the PNG file of one image [H, W, C], enlarged as in a grid."""
    scale = default_scale(*image.shape[:2])
    return png(to_pil(image.repeat(scale, axis=0).repeat(scale, axis=1)))


def sample_png(batch: Drawn, i: int, *, scale: int = 1, mark: Marking = True) -> bytes:
    """Return the PNG file of one sample: a grid of one, so that the file has its label, model and seed."""
    return grid_png(batch[i : i + 1], scale=scale, mark=mark, gap=0)


def save_grid(
    batch: Drawn,
    path: str | os.PathLike[str] | IO[bytes],
    *,
    columns: int | None,
    scale: int | None,
    captions: bool,
    mark: Marking,
) -> Path | None:
    """Write a batch's grid; see `SampleBatch.save_grid`."""
    if isinstance(path, str | os.PathLike):
        file = check_suffix(path, ".png")
        write_whole(file, grid_png(batch, columns=columns, scale=scale, captions=captions, mark=mark))
        return file
    if not hasattr(path, "write") or isinstance(path, io.TextIOBase):
        expected = 'expected a name that ends in .png, or a file that is open for writing bytes ("wb")'
        raise InvalidRequest.of("path", f"is {kind_of(path)}; {expected}")
    path.write(grid_png(batch, columns=columns, scale=scale, captions=captions, mark=mark))
    return None


def save_each(batch: Drawn, folder: str | os.PathLike[str], *, mark: Marking) -> list[Path]:
    """Write each sample; see `SampleBatch.save`."""
    check_marking(mark)
    images = batch.images  # before the folder is made: vectors have none
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    taken: Counter[str] = Counter()
    for i in range(len(images)):
        label = "" if batch.label_names is None else "-" + re.sub(r"[^\w.-]+", "_", batch.label_names[i])
        stem = f"{int(batch.indices[i]):06d}{label}"
        taken[stem] += 1  # a batch may hold a sample twice
        path = target / (f"{stem}.png" if taken[stem] == 1 else f"{stem}-{taken[stem]}.png")
        write_whole(path, sample_png(batch, i, mark=mark))
        paths.append(path)
    return paths
