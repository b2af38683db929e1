"""Say whether a picture is the sample that it claims to be."""

# N = samples

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from ganserve._marks.mark import Mark
    from ganserve._marks.signing import Manifest

Likeness: TypeAlias = Literal["exact", "near", "changed", "different", "unknown"]
"""Likeness of a picture to the sample that was drawn again: see `PictureVerdict.likeness`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureVerdict:
    """The result of `Client.verify`.

    A mark proves nothing: anybody can write one. The client checks that the picture shows what the model draws from the
    seed, not who drew it.
    """

    likeness: Likeness
    """Likeness of the picture to the sample that was drawn again.

    - "exact": bit for bit that sample, perhaps enlarged pixel by pixel.
    - "near": that sample within the loss of its format (JPEG, WebP), or the rounding of another device.
    - "changed": a changed copy, such as resized, edited or compressed more; clearly nearer to it than to others.
    - "different": not that sample.
    - "unknown": it could not be drawn again.
    """
    reason: str
    """The likeness in a sentence, with what is missing if it is unknown."""
    mark: Mark | None
    """The picture's mark; None: it has none of ganserve, or a damaged one."""
    source_type: str
    """IPTC's digital source type that the picture states, trainedAlgorithmicMedia for generated ones; empty: none."""
    manifest: Manifest | None
    """The picture's C2PA manifest; None: it has none, or the extra `c2pa` is not installed (see notes)."""
    package: Literal["same", "replaced", "unknown"]
    """The server's package, compared with the one that the mark names."""
    model: str
    """Name of the model that drew the sample again; empty: none did."""
    version: int
    """Its version; 0: none did."""
    seed: int | None
    """The seed that was used; None: none, or the mark has the latents."""
    indices: tuple[int, ...]
    """Indices of the samples that were drawn again, N of them."""
    labels: tuple[str, ...] | None
    """Their labels, N of them; None: unconditional, or nothing was drawn."""
    exact_samples: int
    """Samples of the picture that are equal, bit for bit."""
    largest_difference: int | None
    """Largest difference of a value from the drawn samples, in levels of 255; None: nothing was drawn."""
    mean_difference: float | None
    """Mean difference of all values, in levels of 255; None: nothing was drawn."""
    notes: tuple[str, ...]
    """Remarks: how the picture was changed for the comparison, what is odd about its mark."""

    @property
    def matches(self) -> bool:
        """True if the picture is that sample, exactly or as near as its format allows."""
        return self.likeness in ("exact", "near")
