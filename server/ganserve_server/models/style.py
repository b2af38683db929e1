"""Describe the mapping of a style-based generator, and a request's options for it.

N = samples, Z = values of one latent, L = layers, W = values of one w.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ganserve.v1 import model_spec_pb2
from ganserve_server.error_text import listed
from ganserve_server.errors import PackageError

_MAX_LAYERS, _MAX_W_DIMENSION = 64, 2**14


class NoiseMode(enum.Enum):
    """The noise that a generator adds in each layer; the values are the factors of seeded and of constant noise."""

    SEEDED = (1.0, 0.0)
    CONSTANT = (0.0, 1.0)
    NONE = (0.0, 0.0)


NOISE_MODES = {
    model_spec_pb2.NOISE_MODE_SEEDED: NoiseMode.SEEDED,
    model_spec_pb2.NOISE_MODE_CONSTANT: NoiseMode.CONSTANT,
    model_spec_pb2.NOISE_MODE_NONE: NoiseMode.NONE,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Style:
    """The facts about a mapping that requests need."""

    layers: int
    """L."""
    w_dimension: int
    """W; 0 if requests can neither mix, give nor get w's."""
    default_truncation: float
    default_truncation_layers: int
    """Number of first layers that truncation acts on."""
    noise_modes: tuple[NoiseMode, ...]
    """The modes that a request may choose, the default first; empty: the graph has no inputs for it."""

    @property
    def w_bytes(self) -> int:
        """Bytes of the w's of one sample."""
        return 4 * self.layers * self.w_dimension

    def psi(self, truncation: float | None = None, layers: int | None = None) -> NDArray[np.float32]:
        """Return the truncation of each layer, float32 [L]; None means the model's default."""
        row = np.ones(self.layers, np.float32)
        row[: layers or self.default_truncation_layers] = self.default_truncation if truncation is None else truncation
        return row


@dataclass(kw_only=True, slots=True)  # not frozen: made for every request, and freezing takes time
class StyleWork:
    """A request's options for the mapping; unset ones mean the model's defaults."""

    psi: NDArray[np.float32] | None = None
    """[L], the truncation of each layer."""
    mix_from: int = 0
    """The first layer that has the w's of other latents; 0: no mixing."""
    mix_seed: int = 0
    """The seed of these: sample i takes those of sample i."""
    mix_latents: NDArray[np.float32] | None = None
    """[N, Z], in place of those of a seed."""
    noise: NoiseMode | None = None
    w: NDArray[np.float32] | None = None
    """[N, L, W], in place of those of latents."""
    return_w: bool = False

    def part(self, start: int, count: int) -> StyleWork:
        """Return the same for `count` of the samples, from `start` on."""
        if self.w is None and self.mix_latents is None:
            return self
        rows = slice(start, start + count)
        return replace(
            self,
            w=None if self.w is None else self.w[rows],
            mix_latents=None if self.mix_latents is None else self.mix_latents[rows],
        )


def read_style(spec: model_spec_pb2.ModelSpec) -> Style | None:
    """Return the mapping that a manifest describes, if there is one; raise PackageError if a value is out of range."""
    if not spec.HasField("style"):
        return None
    style = spec.style
    if not 1 <= style.layers <= _MAX_LAYERS:
        raise PackageError(f"style.layers is {style.layers}; expected 1 to {_MAX_LAYERS}")
    if style.w_dimension > _MAX_W_DIMENSION:
        raise PackageError(f"style.w_dimension is {style.w_dimension}; expected at most {_MAX_W_DIMENSION}")
    truncation = style.default_truncation if style.HasField("default_truncation") else 1.0
    if not 0 <= truncation <= 1:  # NaN fails this too
        raise PackageError(f"style.default_truncation is {truncation:g}; expected 0 to 1")
    if style.default_truncation_layers > style.layers:
        raise PackageError(
            f"style.default_truncation_layers is {style.default_truncation_layers}; expected at most the "
            f"{style.layers} layers"
        )
    unknown = [mode for mode in style.noise_modes if mode not in NOISE_MODES]
    if unknown or len(set(style.noise_modes)) < len(style.noise_modes):
        raise PackageError(f"style.noise_modes is {listed(style.noise_modes)}; expected known modes, each once")
    return Style(
        layers=style.layers,
        w_dimension=style.w_dimension,
        default_truncation=truncation,
        default_truncation_layers=style.default_truncation_layers or style.layers,
        noise_modes=tuple(NOISE_MODES[mode] for mode in style.noise_modes),
    )
