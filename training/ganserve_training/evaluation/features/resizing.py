"""Convert images to the form that a feature network takes. N = samples, H, W, C = image."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.sample_info import DataInfo
from ganserve_training.errors import ConfigError
from ganserve_training.evaluation.options import FeatureRange

_IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)
_LUMA = np.array([[0.299], [0.587], [0.114]], np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureInput:
    """Form of the images that a network takes, float32 [N, C, H, W]."""

    height: int
    width: int
    channels: int
    """1, 3, or as in the data."""
    values: FeatureRange = "0..1"
    """Values of black and white; imagenet: 0..1, normalised by mean and deviation of ImageNet's channels."""

    def __post_init__(self) -> None:
        if self.values == "imagenet" and self.channels != 3:
            raise ConfigError(f"feature_range imagenet: needs a network of 3 channels (this one takes {self.channels})")

    def resizer(self, info: DataInfo) -> str:
        """Describe how the data's images are resized."""
        if (info.height, info.width) == (self.height, self.width):
            return "none"
        return f"Pillow bicubic, antialiased, to {self.height} x {self.width} pixels"

    def prepare(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Convert uint8 [N, h, w, c] to float32 [N, C, H, W]; raise ConfigError if the channels do not fit.

        Drop alpha. Gray becomes equal red, green and blue; colour becomes luma (ITU-R 601) for a network of 1 channel.
        Resizing keeps fractions of levels (Parmar et al. 2022 show how rounding and aliasing change FID).
        """
        images = self._with_channels(pixels)
        if images.shape[1:3] != (self.height, self.width):
            images = self._resize(images)
        scaled = images.astype(np.float32)
        if self.values != "0..255":
            scaled /= np.float32(255.0)
        if self.values == "-1..1":
            scaled = scaled * np.float32(2.0) - np.float32(1.0)
        elif self.values == "imagenet":
            scaled = (scaled - _IMAGENET_MEAN) / _IMAGENET_STD
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))

    def _with_channels(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        got = pixels.shape[3]
        if got == self.channels:
            return pixels
        colour = pixels[..., : got - 1 + got % 2]  # drop alpha
        if colour.shape[3] == self.channels:
            return colour
        if (colour.shape[3], self.channels) == (1, 3):
            return colour.repeat(3, axis=3)
        if (colour.shape[3], self.channels) == (3, 1):
            return colour.astype(np.float32) @ _LUMA
        raise ConfigError(f"images of {got} channels do not fit a feature network that takes {self.channels}")

    def _resize(self, images: NDArray[Any]) -> NDArray[np.float32]:
        from PIL import Image

        out = np.empty((len(images), self.height, self.width, self.channels), np.float32)
        for index, image in enumerate(images):
            for channel in range(self.channels):
                plane = Image.fromarray(image[:, :, channel].astype(np.float32))  # mode F does not round
                out[index, :, :, channel] = np.asarray(
                    plane.resize((self.width, self.height), Image.Resampling.BICUBIC)
                )
        return np.clip(out, 0.0, 255.0, out=out)  # bicubic overshoots at edges
