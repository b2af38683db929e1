"""Hold one sample: show and convert it."""

# N = samples, H = height, W = width, C = channels, D = values of a vector, Z = latent

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ganserve._marks.files import png_with_xmp
from ganserve._results.conversions import as_images, kind_of_samples, to_torch
from ganserve._results.marking import sample_xmp
from ganserve._results.pictures import has_pillow, picture_png, to_pil

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import PIL.Image
    import torch

    from ganserve._results.origin import Origin


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Sample:
    """One sample of a batch."""

    array: npt.NDArray[Any]
    """The sample: an image uint8 [H, W, C] (float32 with encoding="float32"), or a vector float32 [D]."""
    index: int
    """Its index in the seed's sequence: `client.sample(1, …, seed=seed, offset=index)` draws this sample."""
    label: int | None
    """Its label's index; None for an unconditional model."""
    label_name: str | None
    """Its label's name; None for an unconditional model."""
    score: float | None
    """The critic's own output, higher for more realistic; None without `return_scores`."""
    probability: float | None
    """Calibrated probability that it is real rather than this generator's, 0 to 1; None without `return_scores`."""
    seed: int | None
    """The seed it was drawn with; None if it was made from given latents."""
    model: str
    """Name of the model that drew it."""
    version: int
    """Version of the model that drew it."""
    latent: npt.NDArray[np.float32] | None = None
    """Its latent, float32 [Z]; None without `return_latents`, unless it was given."""
    w: npt.NDArray[np.float32] | None = None
    """Its w's, float32 [L, W], mixed and truncated; None without `return_w`, unless
    they were given."""
    origin: Origin | None = None
    """The package and the options that it was drawn with; None: unknown."""

    @property
    def image(self) -> npt.NDArray[np.uint8]:
        """The image, uint8 [H, W, C], for every encoding.

        Raises:
            UnsupportedByModel: The model makes vectors.
        """
        return as_images(self.array, 3, self.model)

    def to_pil(self) -> PIL.Image.Image:
        """Return the sample as a Pillow image.

        Raises:
            UnsupportedByModel: The model makes vectors.
            MissingExtra: Pillow is not installed.
        """
        return to_pil(self.image)

    def to_torch(self) -> torch.Tensor:
        """Return the sample as a new PyTorch tensor: an image [C, H, W] or a vector [D]; see `SampleBatch.to_torch`.

        Raises:
            MissingExtra: PyTorch is not installed.
        """
        return to_torch(self.array, 3)

    @property
    def xmp(self) -> bytes:
        """The mark for a JPEG or WebP that you write yourself: `sample.to_pil().save("7.webp", xmp=sample.xmp)`.

        Pillow does not write it into PNGs: `SampleBatch.save` does.

        It says that the picture is generated, and what it takes to draw it again (see `Client.verify`).
        """
        return sample_xmp(self)

    def __repr__(self) -> str:
        label = "" if self.label is None else f", label={self.label} {self.label_name!r}"
        score = "" if self.score is None else f", score={self.score:.3g}"
        return f"Sample({kind_of_samples(self.array.dtype, self.array.shape)}{label}, index={self.index}{score})"

    def _repr_png_(self) -> bytes | None:
        """Return the image for a notebook, enlarged if tiny; None for a vector, or without Pillow."""
        if self.array.ndim != 3 or not has_pillow():
            return None
        return png_with_xmp(picture_png(self.image), self.xmp)
