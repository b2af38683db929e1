"""The input of a foreign style-based generator for its truncation psi: `--truncation-input NAME[=DEFAULT]`.

N = batch, L = layers.
"""

from dataclasses import dataclass

from ganserve_export.errors import BadUsageError
from ganserve_export.from_onnx.foreign_graph import ForeignGraph, TensorInfo

_MOST_LAYERS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class TruncationInput:
    """An input for psi."""

    tensor: TensorInfo
    """Its values are those of the layers; one value is that of all layers."""
    default: float
    """psi unless a request sets it."""

    @property
    def layers(self) -> int:
        """Return L."""
        return self.tensor.size or 1


def find_truncation(graph: ForeignGraph, given: str | None) -> TruncationInput | None:
    """Return the input that `--truncation-input` names.

    Raises:
        BadUsageError: The option cannot be read, or the graph has no such input of 1 to 64 floats.
    """
    if given is None:
        return None
    tensors = {tensor.name: tensor for tensor in graph.inputs}
    name, equals, value = (given, "", "") if given in tensors else given.rpartition("=")
    try:
        default = float(value) if equals else 1.0
    except ValueError:
        default = -1.0
    if not 0 <= default <= 1:
        raise BadUsageError(
            f"--truncation-input {given}: {value!r} is not 0 to 1. Expected NAME or NAME=DEFAULT, such as psi=0.7"
        )
    tensor = tensors.get(name or given)
    if tensor is None:
        listed = ", ".join(map(str, graph.inputs))
        raise BadUsageError(f"--truncation-input {given}: the {graph.name} has no such input. It has {listed}")
    if tensor.size is None or not 1 <= tensor.size <= _MOST_LAYERS or not tensor.is_float:
        raise BadUsageError(f"--truncation-input {given}: the input is {tensor}; expected 1 to {_MOST_LAYERS} floats")
    return TruncationInput(tensor=tensor, default=default)
