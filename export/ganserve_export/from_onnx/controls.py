"""Inputs of a foreign generator that a request may set: `--control NAME=LOW..HIGH[:DEFAULT]`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ganserve_export.errors import BadUsageError
from ganserve_export.from_onnx.foreign_graph import ForeignGraph, TensorInfo
from ganserve_export.package.latent_values import DeclaredControl

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_CONTROL = re.compile(rf"(?P<name>.+)=(?P<low>{_NUMBER})\.\.(?P<high>{_NUMBER})(?::(?P<default>{_NUMBER}))?")
_EXAMPLE = "such as psi=0..1:0.7 (from 0 to 1, 0.7 unless a request sets it) or code=-1..1 (drawn uniformly)"
_MOST_NAME = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlInput:
    """An input whose values are controls."""

    tensor: TensorInfo
    controls: tuple[DeclaredControl, ...]
    """One for each of its values."""


def find_controls(graph: ForeignGraph, given: Sequence[str]) -> tuple[ControlInput, ...]:
    """Return the inputs that `--control` names.

    Raises:
        BadUsageError: A control cannot be read, or the graph has no such input of numbers.
    """
    found: list[ControlInput] = []
    for text in given:
        match = _CONTROL.fullmatch(text)
        if match is None:
            raise BadUsageError(f"--control {text}: expected NAME=LOW..HIGH or NAME=LOW..HIGH:DEFAULT, {_EXAMPLE}")
        low, high = float(match["low"]), float(match["high"])
        default = None if match["default"] is None else float(match["default"])
        if not low < high or (default is not None and not low <= default <= high):
            raise BadUsageError(f"--control {text}: expected LOW below HIGH, and DEFAULT between them")
        tensor = next((item for item in graph.inputs if item.name == match["name"]), None)
        if tensor is None:
            raise BadUsageError(
                f"--control {text}: the {graph.name} has no such input. It has {', '.join(map(str, graph.inputs))}"
            )
        if tensor.size is None or not (tensor.is_float or tensor.is_integer):
            raise BadUsageError(f"--control {text}: the input is {tensor}; expected numbers of a fixed shape")
        if any(other.tensor.name == tensor.name for other in found):
            raise BadUsageError(f"--control {text}: {tensor.name} is declared twice. Give each control once")
        plain = re.sub(r"[^A-Za-z0-9_.-]", "_", tensor.name)[:_MOST_NAME]
        plain = plain if re.match(r"[A-Za-z_]", plain) else f"_{plain}"
        names = [plain] if tensor.size == 1 else [f"{plain}{place}" for place in range(tensor.size)]
        found.append(
            ControlInput(
                tensor=tensor,
                controls=tuple(
                    DeclaredControl(
                        name=name,
                        low=low,
                        high=high,
                        default=default,
                        description=f"input {tensor.name} of the network",
                    )
                    for name in names
                ),
            )
        )
    return tuple(found)
