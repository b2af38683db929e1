"""Check a request's options for the mapping of a style-based generator.

N = samples, L = layers, W = values of one w.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ganserve.v1 import model_spec_pb2
from ganserve_server.error_text import enum_name, listed
from ganserve_server.models.latent_types import Distribution
from ganserve_server.models.manifest_checks import ModelInfo
from ganserve_server.models.style import NOISE_MODES, NoiseMode, Style, StyleWork
from ganserve_server.requests.findings import Findings


@dataclass(kw_only=True, slots=True)
class StyleRequest:
    """A request's truncation and options for the mapping; None where it sets none."""

    truncation: float | None = None
    truncation_layers: int | None = None
    mix: tuple[int, int] | None = None
    """The seed, and the first layer that takes its w's."""
    mix_fields: tuple[str, str] = ("mix", "mix.from_layer")
    """The names of mixing and of its first layer in messages."""
    noise: int = model_spec_pb2.NOISE_MODE_UNSPECIFIED
    w: NDArray[np.generic] | None = None
    """[N, L, W]."""
    return_w: str = ""
    """The name of the field that asks for w's, if one does."""

    def named(self) -> list[str]:
        """Return the fields that only models with a mapping have, and that the request has."""
        given = {
            "truncation_layers": self.truncation_layers is not None,
            self.mix_fields[0]: self.mix is not None,
            "noise": bool(self.noise),
            "w": self.w is not None,
            self.return_w: bool(self.return_w),
        }
        return [name for name, is_given in given.items() if is_given]


def check_style(info: ModelInfo, request: StyleRequest, findings: Findings) -> tuple[float | None, StyleWork | None]:
    """Check truncation and the options for the mapping.

    Returns the truncation of latents (None for a model with a mapping) and the checked options (None for other models).
    """
    truncation = request.truncation
    style = info.style
    if style is None:
        if named := request.named():
            findings.precondition(
                f"model {info.name!r} has no mapping, as StyleGANs have, which {listed(named)} needs: leave it out"
            )
        if truncation is not None:
            check_latent_truncation(info, truncation, findings)
        return truncation, None
    if truncation is not None and not 0 <= truncation <= 1:  # NaN fails this too
        findings.invalid(
            "truncation", f"is {truncation:g}; expected psi, 0 to 1, as model {info.name!r} has a mapping; 1 is none"
        )
    layers = request.truncation_layers
    if layers is not None and not 1 <= layers <= style.layers:
        findings.invalid("truncation_layers", f"is {layers}; expected 1 to {style.layers}, the model's layers")
    work = StyleWork(w=cast("NDArray[np.float32] | None", request.w), return_w=bool(request.return_w))
    if truncation is not None or layers is not None:
        work.psi = style.psi(truncation, layers)
    if not style.w_dimension and (named := [name for name in request.named() if name not in _WITHOUT_W]):
        findings.precondition(f"model {info.name!r} gives no access to its w's, which {listed(named)} needs: omit it")
    elif request.mix is not None:
        work.mix_seed, work.mix_from = request.mix
        _check_mix(style, work.mix_from, request.mix_fields[1], findings)
    work.noise = _check_noise(info, style, request.noise, findings)
    return None, work


_WITHOUT_W = ("truncation_layers", "noise")


def check_latent_truncation(info: ModelInfo, truncation: float, findings: Findings) -> None:
    """Check the truncation of a model without a mapping."""
    if not (math.isfinite(truncation) and truncation > 0):
        findings.invalid("truncation", f"is {truncation}; expected a finite number above 0, or none for no truncation")
    if info.distribution is not Distribution.NORMAL:
        findings.precondition(f"model {info.name!r} has uniform latents, truncation applies to normal ones: omit it")
    elif info.truncation_absence:
        findings.precondition(f"model {info.name!r} has no truncation: {info.truncation_absence}. Omit it")


def _check_mix(style: Style, first: int, field: str, findings: Findings) -> None:
    if style.layers == 1:
        findings.precondition("the model has only one layer, so that there is nothing to mix: leave mixing out")
    elif not 1 <= first < style.layers:
        findings.invalid(field, f"is {first}; expected 1 to {style.layers - 1}: the model has {style.layers} layers")


def _check_noise(info: ModelInfo, style: Style, noise: int, findings: Findings) -> NoiseMode | None:
    if not noise:
        return None
    if noise not in NOISE_MODES:
        expected = listed([name for name, value in model_spec_pb2.NoiseMode.items() if value])
        findings.invalid("noise", f"is {enum_name(model_spec_pb2.NoiseMode, noise)}; expected {expected}")
        return None
    mode = NOISE_MODES[cast("model_spec_pb2.NoiseMode.ValueType", noise)]
    if mode not in style.noise_modes:
        offered = f"offers the noise {listed([each.name.lower() for each in style.noise_modes])}"
        has = offered if style.noise_modes else "lets requests choose no noise"
        findings.precondition(f"model {info.name!r} {has}; not {mode.name.lower()}: leave noise out")
    return mode
