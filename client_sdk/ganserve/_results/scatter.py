"""Draw vectors of two values as points, for notebooks."""

# N = samples

import numpy as np
import numpy.typing as npt

from ganserve._results.pictures import png, to_pil

_SIDE, _MARGIN, _DOT = 320, 20, 3  # pixels
_PAPER, _INK = 255, 96
# Okabe and Ito's colours, which most colour-blind people can tell apart; the ninth label repeats the first.
_COLOURS = np.frombuffer(bytes.fromhex("0072b2 e69f00 009e73 cc79a7 56b4e9 d55e00 000000 f0e442"), np.uint8).reshape(
    -1, 3
)


def scatter_png(points: npt.NDArray[np.float32], labels: npt.NDArray[np.int64] | None) -> bytes:
    """Return a PNG file of points [N, 2], with one scale for both axes, a colour for each label, and the axes' ranges.

    Points that are not finite are left out; at least one must be finite.
    """
    from PIL import ImageDraw

    finite = np.isfinite(points).all(axis=1)
    shown = points[finite].astype(np.float64)
    low, high = shown.min(axis=0), shown.max(axis=0)
    span = float((high - low).max()) or 1.0
    room = _SIDE - 2 * _MARGIN - _DOT
    places = np.rint(((shown - (low + high) / 2) / span + 0.5) * room).astype(np.intp) + _MARGIN
    colours = _COLOURS[np.zeros(len(shown), np.intp) if labels is None else labels[finite] % len(_COLOURS)]
    picture = np.full((_SIDE, _SIDE, 3), _PAPER, np.uint8)
    for down in range(_DOT):
        for right in range(_DOT):  # y grows upwards
            picture[_SIDE - _DOT - places[:, 1] + down, places[:, 0] + right] = colours
    image = to_pil(picture)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, _SIDE - 1, _SIDE - 1), outline=(_INK,) * 3)
    ends = [f"{name} {least:.3g} to {most:.3g}" for name, least, most in zip(("x0", "x1"), low, high, strict=True)]
    draw.text((4, _SIDE - 15), ", ".join(ends), fill=(_INK,) * 3)
    return png(image)
