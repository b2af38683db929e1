"""Read the truncation and the mapping's options from a request of the Open Inference Protocol."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ganserve.v1 import model_spec_pb2
from ganserve_server.models.manifest_checks import ModelInfo
from ganserve_server.models.style import StyleWork
from ganserve_server.open_inference.parameters import Parameters
from ganserve_server.requests.style_checks import StyleRequest, check_style

_NOISE = {name.removeprefix("NOISE_MODE_").lower(): value for name, value in model_spec_pb2.NoiseMode.items() if value}
STYLE_PARAMETERS = ("truncation_layers", "mix_seed", "mix_from", "noise")
"""Parameters that only models with a mapping have."""
_NOT_WITH_W = "cannot be combined with w: leave it out"


def read_style(
    info: ModelInfo, tensors: Mapping[str, NDArray[np.generic]], parameters: Parameters, *, return_w: bool
) -> tuple[float | None, StyleWork | None]:
    """Return the truncation of latents, and the options for a mapping; add problems to the findings."""
    findings = parameters.findings
    request = StyleRequest(
        truncation=parameters.number("truncation"),
        mix_fields=("mix_seed", "mix_from"),
        return_w="w" if return_w else "",
    )
    if info.style is not None or any(parameters.given(name) for name in STYLE_PARAMETERS):
        request.truncation_layers = parameters.integer("truncation_layers", 0, 2**32)
        request.noise = _NOISE.get(parameters.choice("noise", _NOISE) or "", 0)
        seed, first = parameters.integer("mix_seed", 0, 2**64 - 1), parameters.integer("mix_from", 0, 2**32)
        if seed is not None and first is not None:
            request.mix = seed, first
        elif parameters.given("mix_seed") != parameters.given("mix_from"):
            findings.invalid("mix_from" if seed is not None else "mix_seed", "is missing; mixing needs both")
    request.w = tensors.get("w")
    if request.w is not None:
        for name in ("count", "truncation", "truncation_layers", "mix_seed", "mix_from"):
            if parameters.given(name):
                findings.invalid(name, _NOT_WITH_W)
        if parameters.numbers("controls."):
            findings.invalid("controls", _NOT_WITH_W)
    return check_style(info, request, findings)
