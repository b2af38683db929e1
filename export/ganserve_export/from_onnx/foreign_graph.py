"""Load an ONNX graph that was made elsewhere, with weights in files beside it, and run it. N = batch."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError
from onnx import external_data_helper

from ganserve_export.errors import ExportError
from ganserve_export.from_onnx.operators_and_opsets import all_nodes, refuse_randomness, unknown_operators
from ganserve_export.package.onnx_graphs import MAX_BYTES, precision_of
from ganserve_training.files import file_sha256

Arrays = Mapping[str, npt.NDArray[Any]]

_SOURCE_LINE = re.compile(r"/onnxruntime_src/\S+:\d+ .*?\([^)]*\) (?=\w)(const )?")
# With one value per sample, these operations change neither the values nor their order.
KEEPING = {"Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze"}
_ELEMENTS = {"tensor(float)": "float32", "tensor(double)": "float64"}
_ELEMENTS |= {f"tensor({name})": name for name in ("float16", "uint8", "int8", "int32", "int64")}


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
    """The graph of an ONNX file, with all of its weights inside; `role` is "generator" or "critic", for messages.

    Raises:
        ExportError: The file cannot be read, names weights outside its folder, is too large for one file, draws random
            numbers, or has operations that onnxruntime does not know.
    """

    def __init__(self, file: Path, role: str) -> None:
        self.name = f"{role} {file.name}"
        self.model, beside = _load(file)
        refuse_randomness(self.model, self.name)
        self.files = [
            {"name": path.name, "sha256": file_sha256(path), "size_bytes": path.stat().st_size}
            for path in (file, *beside)
        ]
        """The files that it was read from, for the manifest."""
        self._session = _open(str(file), self.model, self.name)
        try:
            self.inputs = tuple(map(_tensor_info, self._session.get_inputs()))
            self.outputs = tuple(map(_tensor_info, self._session.get_outputs()))
        except UnicodeDecodeError as error:
            raise ExportError(f"{file} is damaged: it has a name that is not UTF-8 text") from error

    def error(self, problem: str) -> ExportError:
        """Return an error whose message begins with the graph's name."""
        return ExportError(f"the {self.name} {problem}")

    @property
    def is_half(self) -> bool:
        """Say whether its weights, inputs or outputs have 16 bits."""
        return precision_of(self.model) != "float32" or any(
            tensor.element == "float16" for tensor in (*self.inputs, *self.outputs)
        )

    def run(self, feed: Arrays, outputs: list[str] | None = None) -> list[npt.NDArray[Any]]:
        """Return these outputs (default: all) for inputs by name, [N, ...]; raise ExportError if onnxruntime fails."""
        try:
            results: list[npt.NDArray[Any]] = self._session.run(outputs, dict(feed))
        except Exception as error:  # onnxruntime's exceptions share no public base class
            raise ExportError(_one_line(error)) from error
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
    options.log_severity_level = 4  # fatal only: failures are raised with a one-line message
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
        raise ExportError(f"onnxruntime {ort.__version__} cannot load the {name}: {_one_line(error)}") from error


def _tensor_info(argument: Any) -> TensorInfo:
    return TensorInfo(
        name=argument.name, element=_ELEMENTS.get(argument.type, argument.type), shape=tuple(argument.shape or ())
    )


def _load(file: Path) -> tuple[onnx.ModelProto, list[Path]]:
    """Return a model with all of its weights inside, and the files beside it that held them."""
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise ExportError(f"{file} has {size:,} bytes: a package's graph is one file of less than 2 GiB")
        model = onnx.load_model(file, format="protobuf", load_external_data=False)
    except OSError as error:
        raise ExportError(f"{file} cannot be read: {error.strerror or error}") from error
    except DecodeError as error:
        raise ExportError(f"{file} is not an ONNX file, or only part of one") from error
    if not model.graph.output or not model.opset_import:
        raise ExportError(f"{file} is not an ONNX file: it has no graph with outputs")
    folder = file.parent.resolve()
    beside: dict[str, Path] = {}
    for tensor in _tensors(model):
        if external_data_helper.uses_external_data(tensor):
            location = external_data_helper.ExternalDataInfo(tensor).location
            beside.setdefault(location, _weight_file(folder, location, file))
    total = size + sum(path.stat().st_size for path in beside.values())
    if total > MAX_BYTES:
        remedy = "a package's graph is one file of less than 2 GiB. Export it in float16, or a smaller network"
        raise ExportError(f"{file} has {total:,} bytes with its weights: {remedy}")
    if beside:
        try:
            onnx.load_external_data_for_model(model, str(folder))
        except Exception as error:  # onnx documents none of its errors here
            raise ExportError(f"the weights beside {file} cannot be read: {_one_line(error)}") from error
    return model, list(beside.values())


def _one_line(error: Exception) -> str:
    """Return an error of onnxruntime in one short line, without its codes and source lines."""
    text = _SOURCE_LINE.sub("", " ".join(str(error).split()))
    for mark in ("Status Message: ", " : "):
        text = text.rpartition(mark)[2] if mark in text else text
    return text[:300]


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor that may be stored in another file."""
    graphs = [model.graph]
    for node in all_nodes(model):
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            graphs.extend((attribute.g, *attribute.graphs))
    for graph in graphs:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)


def _weight_file(folder: Path, location: str, file: Path) -> Path:
    path = folder / location
    if not path.resolve().is_relative_to(folder) or path.resolve() == folder:
        raise ExportError(
            f"{file} takes weights from {location!r}, outside its own folder: only files beside it are read. Save it "
            "again with its weights beside it (a link counts as the file that it points to)"
        )
    if not path.is_file():
        raise ExportError(f"{file} takes weights from {location!r}, which does not exist: put that file beside it")
    return path
