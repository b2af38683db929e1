"""Convert foreign networks' images to and from uint8 pixels, in numpy and as nodes. H, W, C = image, N = batch."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ganserve_export.errors import ExportError
from ganserve_export.from_onnx.last_operation import Operation
from ganserve_export.from_onnx.onnx_options import PixelRange
from ganserve_export.from_onnx.questions import UnclearError
from ganserve_export.from_onnx.surgery import Surgery

LayoutName = Literal["nchw", "nhwc"]

# level = (value + offset) * factor
_OFFSET_AND_FACTOR: dict[PixelRange, tuple[float, float]] = {
    "-1..1": (1.0, 127.5),
    "0..1": (0.0, 255.0),
    "0..255": (0.0, 1.0),
}
_OUTSIDE = 0.2  # With a larger share of values outside the stated range, the range must be wrong; a few are clamped.
_TO_NHWC, _TO_NCHW = [0, 2, 3, 1], [0, 3, 1, 2]


_BOUNDED: dict[str, PixelRange] = {"Tanh": "-1..1", "Sigmoid": "0..1"}
_EDGE = 1.001
_FAR = 20.0  # networks without a tanh, little trained, stay below


def check_range(
    values: npt.NDArray[Any], stated: PixelRange | None, name: str, last: Operation | None
) -> tuple[PixelRange, str]:
    """Return the range of float images, and how it was found, unless it was stated.

    `last` is the operation that made the images: tanh and sigmoid say the range. Else values that stay within one of
    the ranges do.

    Raises:
        ExportError: The values contradict the stated range.
        UnclearError: No range was stated, and neither operation nor values say it.
    """
    low, high = float(values.min()), float(values.max())
    seen = f"{len(values)} samples of the {name} lie between {low:.3g} and {high:.3g}"
    likely = _likely(low, high)
    if stated is None:
        if last is not None and last.name in _BOUNDED:
            return _BOUNDED[last.name], f" by its {last.name.lower()}"
        spread = high - low
        if likely == "-1..1" and low >= -_EDGE and high <= _EDGE and spread > 1.0:
            return likely, " by its values"
        if likely == "0..1" and low >= -_EDGE + 1.0 and spread > 0.5:
            return likely, " by its values"
        if likely == "0..255" and high <= 255.0 * _EDGE and spread > 64.0:
            return likely, " by its values"
        hint = f" (by these samples, {likely})" if likely else ""
        raise UnclearError(f"{seen}: say what black and white are with --range -1..1, 0..1 or 0..255{hint}")
    offset, factor = _OFFSET_AND_FACTOR[stated]
    levels = (values.astype(np.float64) + offset) * factor
    outside = np.mean((levels < -0.5) | (levels > 255.5))
    if outside > _OUTSIDE and likely is None and stated != "0..255" and max(-low, high) < _FAR:
        return stated, f" ({outside:.0%} of the values lie outside, and are clamped)"  # they suggest no other range
    if outside > _OUTSIDE:
        fits = likely is not None and likely != stated
        way_out = f"did you mean --range {likely}?" if fits else "export it with such a range"
        raise ExportError(f"{seen}, {outside:.0%} of their values outside --range {stated}: {way_out}")
    if stated == "0..255" and high <= _EDGE:
        raise ExportError(f"{seen}, which is all black with --range {stated}: did you mean --range {likely}?")
    if stated == "-1..1" and low >= 0.0 and high > low and values.size >= _ENOUGH:
        raise ExportError(
            f"{seen}, without one value below 0, so none would be darker than gray with --range {stated}: did you mean "
            "--range 0..1?"
        )
    return stated, ""


_BELOW_BLACK = 0.05  # of the highest value: how far values from 0 to 255 may fall below 0
_ENOUGH = 1_000  # values; of fewer, none may be below 0 by chance


def _likely(low: float, high: float) -> PixelRange | None:
    """Return the range that values suggest; None: they lie beyond every one."""
    if high > 2.0:
        return "0..255" if low >= -_BELOW_BLACK * high and high > 8.0 else None
    return "-1..1" if low < -0.02 else "0..1"


def to_levels(values: npt.NDArray[Any], pixel_range: PixelRange | None, layout: LayoutName) -> npt.NDArray[np.uint8]:
    """Convert a network's images to uint8 [N, H, W, C], with the steps of `ganserve_training.data.from_network`."""
    if pixel_range is not None:
        offset, factor = map(np.float32, _OFFSET_AND_FACTOR[pixel_range])
        values = np.rint(np.clip((values.astype(np.float32) + offset) * factor, 0, 255)).astype(np.uint8)
    return np.ascontiguousarray(values.transpose(_TO_NHWC) if layout == "nchw" else values)


def add_to_levels(surgery: Surgery, value: str, pixel_range: PixelRange | None, layout: LayoutName) -> str:
    """Add `to_levels` as nodes; returns the result's name."""
    if pixel_range is not None:
        offset, factor = _OFFSET_AND_FACTOR[pixel_range]
        value = surgery.cast(value, "float32")
        if offset:
            value = surgery.node("Add", value, surgery.constant(offset, np.float32))
        if factor != 1.0:
            value = surgery.node("Mul", value, surgery.constant(factor, np.float32))
        value = surgery.node("Clip", value, surgery.constant(0, np.float32), surgery.constant(255, np.float32))
        value = surgery.cast(surgery.node("Round", value), "uint8")
    return surgery.node("Transpose", value, perm=_TO_NHWC) if layout == "nchw" else value


def from_levels(
    levels: npt.NDArray[np.uint8], pixel_range: PixelRange | None, layout: LayoutName, element: str
) -> npt.NDArray[Any]:
    """Convert uint8 [N, H, W, C] to a network's images, with the steps of `ganserve_training.data.to_network`."""
    values: npt.NDArray[Any] = levels.transpose(_TO_NCHW) if layout == "nchw" else levels
    if pixel_range is not None:
        offset, factor = map(np.float32, _OFFSET_AND_FACTOR[pixel_range])
        values = (values.astype(np.float32) / factor - offset).astype(element)
    return np.ascontiguousarray(values)


def add_from_levels(
    surgery: Surgery, value: str, pixel_range: PixelRange | None, layout: LayoutName, element: str
) -> str:
    """Add `from_levels` as nodes; returns the result's name."""
    if layout == "nchw":
        value = surgery.node("Transpose", value, perm=_TO_NCHW)
    if pixel_range is not None:
        offset, factor = _OFFSET_AND_FACTOR[pixel_range]
        value = surgery.cast(value, "float32")
        if factor != 1.0:
            value = surgery.node("Div", value, surgery.constant(factor, np.float32))
        if offset:
            value = surgery.node("Sub", value, surgery.constant(offset, np.float32))
        value = value if element == "float32" else surgery.cast(value, element)
    return value
