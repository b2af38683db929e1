"""Open, describe and clean ONNX graphs of any origin."""

import itertools
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeAlias

import onnx
import onnxruntime as ort

from ganserve_export.errors import ExportError

MAX_BYTES = 2**31 - 1  # of a protobuf message, and so of a package's graph
Precision: TypeAlias = Literal["float32", "float16", "bfloat16"]
"""Number format of a graph's weights."""
_PRECISIONS: dict[int, Precision] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.BFLOAT16: "bfloat16",
}


def open_on_cpu(file: Path) -> ort.InferenceSession:
    """Load a graph into onnxruntime; raise ExportError if that fails."""
    options = ort.SessionOptions()
    options.log_severity_level = 3  # its warnings concern the exporter
    options.enable_cpu_mem_arena = False  # it keeps up to twice the largest need
    try:
        return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no public base class
        raise ExportError(f"onnxruntime cannot load {file}: {error}") from error


def save(model: onnx.ModelProto, file: Path) -> None:
    """Write a graph; raise ExportError if it has 2 GiB or more."""
    if model.ByteSize() > MAX_BYTES:
        raise ExportError(f"{file.name} would have more than 2 GiB: a package's graph is one file of less")
    onnx.save_model(model, file)


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's default operator set that a graph uses."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)


def precision_of(model: onnx.ModelProto) -> Precision:
    """Return the format of most floating-point weights; float32 without weights. The server counts the same way."""
    sizes: dict[Precision, int] = {}
    for tensor in model.graph.initializer:
        if (precision := _PRECISIONS.get(tensor.data_type)) is not None:
            sizes[precision] = sizes.get(precision, 0) + math.prod(tensor.dims)
    return max(sizes, key=sizes.__getitem__, default="float32")


def strip_metadata(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes: stack traces with this machine's paths, a third of a small file's size."""
    graph = model.graph
    described: tuple[Iterable[Any], ...] = (graph.node, graph.input, graph.output, graph.value_info, graph.initializer)
    for part in itertools.chain((model, graph), *described):
        del part.metadata_props[:]
    for node in graph.node:
        node.ClearField("doc_string")
