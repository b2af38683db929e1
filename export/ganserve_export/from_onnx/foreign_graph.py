"""Hold an ONNX graph that was made elsewhere: its inputs, outputs and weights, run by onnxruntime. N = batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx
import onnxruntime as ort

from ganserve_export.errors import ExportError
from ganserve_export.from_onnx.loading import load, one_line
from ganserve_export.from_onnx.operators_and_opsets import refuse_randomness, unknown_operators
from ganserve_export.package.onnx_graphs import precision_of
from ganserve_training.files import file_sha256

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    Arrays = Mapping[str, npt.NDArray[Any]]

# With one value per sample, these operations change neither the values nor their order.
KEEPING = {"Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze"}
_ELEMENTS = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """A file that a graph was read from."""

    name: str
    """File name without the folder."""
    sha256: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorInfo:
    """An input or output of a graph, as the graph declares it."""

    name: str
    element: str
    """numpy's name of the element type; onnxruntime's if numpy has none."""
    shape: tuple[int | str | None, ...]
    """Batch axis first; a name or None for an open axis. Empty for scalars and undeclared shapes."""

    @property
    def is_float(self) -> bool:
        """Say whether elements are float16, float32 or float64."""
        return self.element in ("float16", "float32", "float64")

    @property
    def is_integer(self) -> bool:
        """Say whether elements are integers."""
        return self.element in ("uint8", "int8", "int32", "int64")

    @property
    def extents(self) -> tuple[int, ...]:
        """Return the fixed extents of one sample."""
        return tuple(extent for extent in self.shape[1:] if isinstance(extent, int))

    @property
    def size(self) -> int | None:
        """Return the number of values of one sample; None if an axis is open."""
        return math.prod(self.extents) if self.shape and len(self.extents) == len(self.shape) - 1 else None

    def __str__(self) -> str:
        return f"{self.name} {self.element} [{', '.join('?' if axis is None else str(axis) for axis in self.shape)}]"


class ForeignGraph:
    """A graph that was made elsewhere, with all of its weights inside, run by onnxruntime on the CPU.

    Args:
        file: The ONNX file.
        role: "generator" or "critic", for messages.

    Raises:
        ExportError: The file cannot be read, names weights outside its folder, is too large for one file, draws random
            numbers, or has operations that onnxruntime does not know.
    """

    def __init__(self, file: Path, role: str) -> None:
        self.name = f"{role} {file.name}"
        self.model, beside = load(file)
        refuse_randomness(self.model, self.name)
        self.files = tuple(
            SourceFile(name=path.name, sha256=file_sha256(path), size_bytes=path.stat().st_size)
            for path in (file, *beside)
        )
        self._session = _open(str(file), self.model, self.name)
        try:
            self.inputs = tuple(map(_tensor_info, self._session.get_inputs()))
            self.outputs = tuple(map(_tensor_info, self._session.get_outputs()))
        except UnicodeDecodeError as error:
            raise ExportError(f"{file} is damaged: it has a name that is not UTF-8 text") from error

    @property
    def is_half(self) -> bool:
        """Say whether its weights, inputs or outputs have 16 bits."""
        return precision_of(self.model) != "float32" or any(
            tensor.element == "float16" for tensor in (*self.inputs, *self.outputs)
        )

    def run(self, feed: Arrays, outputs: list[str] | None = None) -> list[npt.NDArray[Any]]:
        """Run the graph as it was made.

        Args:
            feed: Inputs by name, [N, ...].
            outputs: Names of the outputs to return; None: all.

        Raises:
            ExportError: Onnxruntime fails.
        """
        try:
            results: list[npt.NDArray[Any]] = self._session.run(outputs, dict(feed))
        except Exception as error:  # onnxruntime's exceptions share no public base class
            raise ExportError(one_line(error)) from error
        return results

    def before_sigmoid(self, output: str) -> str | None:
        """Return the input of the sigmoid that an output ends in; None: it ends in another operation."""
        makers = {name: node for node in self.model.graph.node for name in node.output}
        node = makers.get(output)
        while node is not None and node.op_type in KEEPING:
            node = makers.get(node.input[0])
        ends_in_sigmoid = node is not None and node.op_type == "Sigmoid" and node.domain in ("", "ai.onnx")
        return node.input[0] if node is not None and ends_in_sigmoid else None

    def expose(self, value: str) -> None:
        """Make an inner value an output, so that `run` can return it."""
        if all(tensor.name != value for tensor in self.outputs):
            self.model.graph.output.append(onnx.ValueInfoProto(name=value))
            self._session = _open(self.model.SerializeToString(), self.model, self.name)


def _open(graph: str | bytes, model: onnx.ModelProto, name: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # fatal only: failures are raised and told in one line
    try:
        # A fallback to the same provider would only print messages.
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # onnxruntime's exceptions share no public base class
        unknown = unknown_operators(model)
        if unknown:
            raise ExportError(
                f"the {name} has operations that onnxruntime {ort.__version__} does not know: {', '.join(unknown)}. "
                "Export it with standard ONNX operations only"
            ) from error
        raise ExportError(f"onnxruntime {ort.__version__} cannot load the {name}: {one_line(error)}") from error


def _tensor_info(argument: Any) -> TensorInfo:
    return TensorInfo(
        name=argument.name, element=_ELEMENTS.get(argument.type, argument.type), shape=tuple(argument.shape or ())
    )
