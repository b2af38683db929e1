"""Reads ONNX files that were made elsewhere: weights beside the file, operations, inputs and outputs. N = batch."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError
from onnx import external_data_helper, numpy_helper

from ganserve_export.errors import ExportError
from ganserve_export.package.publishing import digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from ganserve_export.package.manifest import Precision

    Arrays = Mapping[str, npt.NDArray[Any]]

MAX_BYTES = 2**31 - 1  # of a protobuf message, and so of a package's graph
RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
# Operations that change neither values nor their order, where there is one value a sample.
KEEPING = {"Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze"}
STANDARD_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}
_PLACE = re.compile(r"/onnxruntime_src/\S+:\d+ .*?\([^)]*\) (?=\w)(const )?")
_PRECISIONS: dict[int, Precision] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.BFLOAT16: "bfloat16",
}
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
    """Without its folder."""
    sha256: str
    """Of its content."""
    size_bytes: int
    """Its length."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Port:
    """An input or output of a graph, as it is declared."""

    name: str
    element: str
    """numpy's name of the element type; onnxruntime's where there is none."""
    shape: tuple[int | str | None, ...]
    """Batch axis first; a name or None where the extent is open. Empty for scalars, or where no shape is declared."""

    @property
    def is_float(self) -> bool:
        """float16, float32 or float64."""
        return self.element in ("float16", "float32", "float64")

    @property
    def is_integer(self) -> bool:
        """Any kind of integer."""
        return self.element in ("uint8", "int8", "int32", "int64")

    @property
    def extents(self) -> tuple[int, ...]:
        """The fixed extents of one sample."""
        return tuple(extent for extent in self.shape[1:] if isinstance(extent, int))

    @property
    def size(self) -> int | None:
        """Values of one sample; None where an extent is open."""
        return math.prod(self.extents) if self.shape and len(self.extents) == len(self.shape) - 1 else None

    def __str__(self) -> str:
        return f"{self.name} {self.element} [{', '.join('?' if axis is None else str(axis) for axis in self.shape)}]"


class Source:
    """A graph that was made elsewhere, loaded, whole in itself and run by onnxruntime on the CPU.

    Args:
        file: The ONNX file.
        role: What it is to be, for messages: "generator" or "critic".

    Raises:
        ExportError: It cannot be read, names weights outside its folder, is too large for one file, draws random
            numbers, or has operations that onnxruntime does not know.
    """

    def __init__(self, file: Path, role: str) -> None:
        self.name = f"{role} {file.name}"
        self.model, beside = _load(file)
        _check_operations(self.model, self.name)
        self.files = tuple(
            SourceFile(name=path.name, sha256=digest(path), size_bytes=path.stat().st_size) for path in (file, *beside)
        )
        self._session = _open(str(file), self.model, self.name)
        try:
            self.inputs = tuple(map(_port, self._session.get_inputs()))
            self.outputs = tuple(map(_port, self._session.get_outputs()))
        except UnicodeDecodeError as error:
            raise ExportError(f"{file} is damaged: a name in it is no UTF-8 text") from error

    @property
    def opset(self) -> int:
        """Version of ONNX's default operator set."""
        return next((entry.version for entry in self.model.opset_import if entry.domain in ("", "ai.onnx")), 1)

    @property
    def precision(self) -> Precision:
        """That of most weights."""
        return precision_of(self.model)

    @property
    def is_half(self) -> bool:
        """Whether it rounds to 16 bits anywhere that is known of."""
        return self.precision != "float32" or any(port.element == "float16" for port in (*self.inputs, *self.outputs))

    def run(self, feed: Arrays, outputs: list[str] | None = None) -> list[npt.NDArray[Any]]:
        """Run the graph as it was made.

        Args:
            feed: Its inputs by name, [N, ...].
            outputs: Names of the outputs that are wanted; None: all.

        Raises:
            ExportError: Onnxruntime fails.
        """
        try:
            results: list[npt.NDArray[Any]] = self._session.run(outputs, dict(feed))
        except Exception as error:  # onnxruntime's exceptions share no public base class
            raise ExportError(one_line(error)) from error
        return results

    def before_sigmoid(self, output: str) -> str | None:
        """What an output's last operation, a sigmoid, is applied to; None: it ends in another one."""
        makers = {name: node for node in self.model.graph.node for name in node.output}
        node = makers.get(output)
        while node is not None and node.op_type in KEEPING:
            node = makers.get(node.input[0])
        return (
            node.input[0] if node is not None and node.op_type == "Sigmoid" and node.domain in ("", "ai.onnx") else None
        )

    def expose(self, value: str) -> None:
        """Make a value inside an output, too, so that `run` gives it."""
        if all(port.name != value for port in self.outputs):
            self.model.graph.output.append(onnx.ValueInfoProto(name=value))
            self._session = _open(self.model.SerializeToString(), self.model, self.name)


def one_line(error: Exception) -> str:
    """An error of onnxruntime's in one line of bounded length, without its codes and places in its source."""
    text = _PLACE.sub("", " ".join(str(error).split()))
    for mark in ("Status Message: ", " : "):
        text = text.rpartition(mark)[2] if mark in text else text
    return text[:300]


def all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node of a model, with those of branches, loops and local functions."""
    pending = list(itertools.chain(model.graph.node, *(function.node for function in model.functions)))
    while pending:
        node = pending.pop()
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                pending.extend(graph.node)


def _load(file: Path) -> tuple[onnx.ModelProto, list[Path]]:
    """The model with all of its weights inside, and the files beside it that held them."""
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
            beside.setdefault(location, _beside(folder, location, file))
    total = size + sum(path.stat().st_size for path in beside.values())
    if total > MAX_BYTES:
        raise ExportError(
            f"{file} has {total:,} bytes with its weights: a package's graph is one file of less than 2 GiB. Export it "
            "in float16, or a smaller network"
        )
    if beside:
        try:
            onnx.load_external_data_for_model(model, str(folder))
        except Exception as error:  # onnx raises several kinds, of which it documents none
            raise ExportError(f"the weights beside {file} cannot be read: {one_line(error)}") from error
    return model, list(beside.values())


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor that may lie in a file of its own."""
    graphs = [model.graph]
    for node in all_nodes(model):
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            graphs.extend((attribute.g, *attribute.graphs))
    for graph in graphs:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)


def _beside(folder: Path, location: str, file: Path) -> Path:
    path = folder / location
    if not path.resolve().is_relative_to(folder) or path.resolve() == folder:
        raise ExportError(
            f"{file} takes weights from {location!r}, outside its own folder: only files beside it are read. Save it "
            "again with its weights beside it (links count as what they point to)"
        )
    if not path.is_file():
        raise ExportError(f"{file} takes weights from {location!r}, which is not there: put that file beside it")
    return path


def _check_operations(model: onnx.ModelProto, name: str) -> None:
    drawn = sorted({node.op_type for node in all_nodes(model) if node.op_type in RANDOM})
    drawn += ["Dropout in training mode"] if _drops_out(model) else []
    if drawn:
        raise ExportError(
            f"the {name} draws random numbers inside ({', '.join(drawn)}), and must not, so that a seed always gives "
            "the same sample: export it with the noise as part of its latents, or constant (StyleGAN: noise_mode const)"
        )


def _drops_out(model: onnx.ModelProto) -> bool:
    """Whether a Dropout has its third input, training_mode, and that is not a constant False."""
    off = {tensor.name for tensor in model.graph.initializer if _is_false(tensor)}
    for node in all_nodes(model):
        if node.op_type == "Constant" and any(_is_false(attribute.t) for attribute in node.attribute):
            off.update(node.output)
    modes = [node.input[2] for node in all_nodes(model) if node.op_type == "Dropout" and len(node.input) > 2]
    return any(mode and mode not in off for mode in modes)


def _is_false(tensor: onnx.TensorProto) -> bool:
    return tensor.data_type == onnx.TensorProto.BOOL and not numpy_helper.to_array(tensor).any()


def _open(graph: str | bytes, model: onnx.ModelProto, name: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # fatal only: what goes wrong is raised, and told in one line
    try:
        # A second attempt on the same provider would only print about itself.
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # onnxruntime's exceptions share no public base class
        known = STANDARD_DOMAINS | {function.domain for function in model.functions}
        unknown = sorted({f"{node.domain}::{node.op_type}" for node in all_nodes(model) if node.domain not in known})
        if unknown:
            raise ExportError(
                f"the {name} has operations that onnxruntime {ort.__version__} does not know: {', '.join(unknown)}. "
                "Export it with operations of ONNX's own"
            ) from error
        raise ExportError(f"onnxruntime {ort.__version__} cannot load the {name}: {one_line(error)}") from error


def _port(argument: Any) -> Port:
    return Port(
        name=argument.name, element=_ELEMENTS.get(argument.type, argument.type), shape=tuple(argument.shape or ())
    )


def precision_of(model: onnx.ModelProto) -> Precision:
    """The precision of most floating-point weights of a graph; float32 if it has none. A server counts alike."""
    sizes: dict[Precision, int] = {}
    for tensor in model.graph.initializer:
        if (precision := _PRECISIONS.get(tensor.data_type)) is not None:
            sizes[precision] = sizes.get(precision, 0) + math.prod(tensor.dims)
    return max(sizes, key=sizes.__getitem__, default="float32")
