"""Serve videos as images: all frames side by side, or the one that a control chooses. N = batch, T = frames.

H, W, C = image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ganserve_export.from_onnx.onnx_options import VideoForm
from ganserve_export.from_onnx.surgery import Surgery
from ganserve_export.package.latent_values import DeclaredControl

AXES = {"[N, T, C, H, W]": (0, 1, 2, 3, 4), "[N, C, T, H, W]": (0, 2, 1, 3, 4), "[N, T, H, W, C]": (0, 1, 4, 2, 3)}
"""Places of N, T, C, H and W."""
_MOST_CHANNELS = 4
_LEAST_SIDE = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Video:
    """The form of a generator's videos."""

    form: str
    """A key of `AXES`."""
    shape: tuple[int, int, int, int]
    """T, C, H, W."""
    served: VideoForm

    @classmethod
    def of(cls, shape: list[int], served: VideoForm) -> Video | None:
        """Return the form of videos of this shape; None: it is not a video."""
        for form, places in AXES.items():
            _, frames, channels, height, width = (shape[place] for place in places)
            gray_or_colours = channels <= _MOST_CHANNELS if form != "[N, T, C, H, W]" else channels in (1, 3)
            if gray_or_colours and min(height, width) >= _LEAST_SIDE:
                return cls(form=form, shape=(frames, channels, height, width), served=served)
        return None

    @property
    def control(self) -> DeclaredControl | None:
        """Return the control that chooses a frame; None for strips, and for a single frame."""
        if self.served == "strip" or self.shape[0] == 1:
            return None
        last = self.shape[0] - 1
        about = f"frame of the video, 0 to {last}"
        return DeclaredControl(name="frame", low=0.0, high=float(last), default=0.0, description=about)

    def images(self, raw: npt.NDArray[Any], chosen: npt.NDArray[np.float32] | None) -> npt.NDArray[Any]:
        """Return images [N, C, H, W'] of videos; `chosen` has the frames [N], if a control chooses them."""
        frames, channels, height, width = self.shape
        ordered = raw.transpose(AXES[self.form])
        if chosen is not None:
            return np.asarray(ordered[np.arange(len(raw)), np.rint(chosen).astype(np.int64)])
        return ordered.transpose(0, 2, 3, 1, 4).reshape(len(raw), channels, height, frames * width)

    def add_images(self, surgery: Surgery, value: str, latents: str, column: int) -> str:
        """Add `images` as nodes; the frame is in this column of the latents. Return the result's name."""
        frames, channels, height, width = self.shape
        value = surgery.node("Transpose", value, perm=list(AXES[self.form]))
        if self.control is None:
            value = surgery.node("Transpose", value, perm=[0, 2, 3, 1, 4])
            return surgery.node("Reshape", value, surgery.constant([-1, channels, height, frames * width], np.int64))
        bounds = [surgery.constant([number], np.int64) for number in (column, column + 1, 1)]
        chosen = surgery.cast(surgery.node("Round", surgery.node("Slice", latents, *bounds)), "int64")
        depth, marks = surgery.constant([frames], np.int64), surgery.constant([0, 1], np.float32)
        marked = surgery.node("OneHot", surgery.node("Reshape", chosen, surgery.constant([-1], np.int64)), depth, marks)
        # Each sample has one marked frame, so the frames that Compress keeps are theirs in turn.
        kept = surgery.cast(surgery.node("Reshape", marked, surgery.constant([-1], np.int64)), "bool")
        flat = surgery.node("Reshape", value, surgery.constant([-1, channels, height, width], np.int64))
        return surgery.node("Compress", flat, kept, axis=0)

    def __str__(self) -> str:
        """Say what it is served as."""
        frames = self.shape[0]
        if self.control is not None:
            return f"videos {self.form} of {frames} frames, of which the control frame chooses one (--video frames)"
        return f"videos {self.form} of {frames} frames, side by side"
