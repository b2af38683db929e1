"""Draw pictures of vectors: generated points over real ones. N = points, D = values of a vector."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

_SIDE_PX = 480
_OVERSAMPLING = 3  # draw larger and average down, for smooth dots
_MARGIN = 0.15  # share of the real points' extent, on every side
_DOT_PX = 3.0
_BACKGROUND, _REAL, _GENERATED = (255, 255, 255), (205, 208, 214), (20, 90, 200)


class ScatterView:
    """A fixed window on real vectors, float32 [N, D], so that pictures of different steps can be compared.

    Vectors of more than two values are projected on the two directions in which real ones vary most. For single values,
    the second axis is their rank.
    """

    def __init__(self, real: NDArray[Any]) -> None:
        self._mean = real.mean(axis=0)
        self._axes = None
        if real.shape[1] > 2:
            _, _, axes = np.linalg.svd(real - self._mean, full_matrices=False)
            self._axes = axes[:2].T
        self._real = self._project(real)
        low, high = self._real.min(axis=0), self._real.max(axis=0)
        self._centre = (low + high) / 2
        self._extent = float((high - low).max()) * (1.0 + 2.0 * _MARGIN) or 1.0

    def draw(self, generated: NDArray[Any]) -> Image.Image:
        """Draw real points in gray and generated ones, float32 [N, D], in blue over them; omit points outside."""
        side = _SIDE_PX * _OVERSAMPLING
        canvas = Image.new("RGB", (side, side), _BACKGROUND)
        draw = ImageDraw.Draw(canvas)
        for points, colour in ((self._real, _REAL), (self._project(generated), _GENERATED)):
            radius = _DOT_PX * _OVERSAMPLING / 2
            for x, y in self._to_pixels(points, side):
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
        return canvas.resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BOX)

    def _project(self, vectors: NDArray[Any]) -> NDArray[np.float64]:
        """Project [N, D] to [N, 2]."""
        finite = vectors[np.isfinite(vectors).all(axis=1)].astype(np.float64)
        if self._axes is not None:
            return np.asarray((finite - self._mean) @ self._axes, np.float64)
        if finite.shape[1] == 2:
            return np.asarray(finite, np.float64)
        values = np.sort(finite[:, 0])
        return np.stack([values, np.linspace(0.0, 1.0, len(values))], axis=1)

    def _to_pixels(self, points: NDArray[np.float64], side: int) -> list[tuple[float, float]]:
        placed = (points - self._centre) / self._extent * (1.0, -1.0) + 0.5  # y points up
        inside = ((placed >= 0.0) & (placed <= 1.0)).all(axis=1)
        return [(float(x), float(y)) for x, y in placed[inside] * side]
