"""Find the devices for tests: the CPU, and the GPU if onnxruntime can use it."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

from ganserve_server.engine.providers import CPU, CUDA, cuda_obstacle
from ganserve_server.engine.sessions import EngineConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Names before and after onnxruntime fuses them: FusedConv, NhwcConv, FusedMatMul, LayerNormalization …
_HEAVY = re.compile(r"Conv|MatMul|Gemm|Norm")


@dataclass(frozen=True)
class Device:
    """A device with torch's name of it."""

    name: Literal["cpu", "cuda"]

    @property
    def provider(self) -> str:
        """onnxruntime's execution provider."""
        return CUDA if self.name == "cuda" else CPU

    def engine(self, **changes: Any) -> EngineConfig:
        """Return the server's options for this device, with buckets on CPU and GPU."""
        fields = {"threads": 1, "buckets": (1, 4, 16), "conv_search": "heuristic", "conv_layout": "nchw"}
        return EngineConfig(provider=self.provider, **(fields | changes))


ON_CPU = pytest.param(Device("cpu"), id="cpu")
ON_CUDA = pytest.param(Device("cuda"), id="cuda", marks=pytest.mark.gpu)
# Load the CUDA libraries once, and only if a test needs them.
obstacle = functools.cache(cuda_obstacle)


def skip_without(device: Device) -> None:
    """Skip a test whose device is missing, with the reason."""
    if device.name == "cuda" and (reason := obstacle()) is not None:
        pytest.skip(f"CUDA cannot be had here: {reason}")


def heavy_nodes(session: Any) -> dict[str, set[str]]:
    """Return the convolutions, matrix products and normalisations of a session: {execution provider: operations}.

    The session must have been made with session.record_ep_graph_assignment_info.
    """
    found: dict[str, set[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        found.setdefault(part.ep_name, set()).update(
            node.op_type for node in part.get_nodes() if _HEAVY.search(node.op_type)
        )
    return {provider: kinds for provider, kinds in found.items() if kinds}


@dataclass(frozen=True)
class Distance:
    """Distance of an array from the expected one."""

    largest: float
    """Largest difference: levels of pixels, else a share of the largest expected magnitude."""
    mean: float
    """Mean difference, in the same unit."""
    unequal: float
    """Share of the values that differ at all."""


def distance(found: NDArray[np.generic], expected: NDArray[np.generic]) -> Distance:
    """Compare two arrays of the same shape and type; all values must be finite."""
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    mine, theirs = found.astype(np.float64), expected.astype(np.float64)
    assert np.isfinite(mine).all()
    assert np.isfinite(theirs).all()
    unit = 1.0 if found.dtype == np.uint8 else np.abs(theirs).max()
    difference = np.abs(mine - theirs) / unit
    return Distance(float(difference.max()), float(difference.mean()), float((found != expected).mean()))
