"""Write small real image files and data sets in every format that training reads."""

import gzip
import io
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def random_pixels(count: int, side: int = 8, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """Return random uint8 [N, side, side, C]."""
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, channels), np.uint8)


def encode(pixels: NDArray[np.uint8], form: str = "PNG", **options: Any) -> bytes:
    """Encode uint8 [H, W, C] as a picture."""
    stream = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(stream, form, **options)
    return stream.getvalue()


def write_folder(root: Path, pixels: NDArray[np.uint8], labels: Sequence[str] | None = None) -> Path:
    """Write PNG files 0000.png, ... into `root`, or into a sub-folder for each label."""
    for index, item in enumerate(pixels):
        folder = root if labels is None else root / labels[index]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{index:04d}.png").write_bytes(encode(item))
    return root


def write_idx(path: Path, values: NDArray[np.uint8]) -> Path:
    """Write an IDX file, gzipped if its name ends in .gz."""
    data = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_cifar10(path: Path, pixels: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Path:
    """Write a binary batch of uint8 [N, 32, 32, 3]."""
    planes = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
    path.write_bytes(np.concatenate([labels[:, None], planes], axis=1).astype(np.uint8).tobytes())
    return path
