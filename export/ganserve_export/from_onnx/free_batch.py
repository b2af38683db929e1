"""Turn a graph for certain batches into one for any: free its batch axis and prove it, else loop. N, B = batch.

An exporter that was given one example wrote the batch of 1 into declarations and into shapes of Reshape nodes. Often
nothing else depends on it. Where something does (a modulated convolution whose groups are the batch), a Scan node runs
the graph on one sample after another.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import numpy_helper

from ganserve_export.errors import ExportError
from ganserve_export.from_onnx.batch_loop import Form, looped, padded_to
from ganserve_export.from_onnx.batching import Arrays, Batching
from ganserve_export.from_onnx.graph_renaming import graphs_within
from ganserve_export.from_onnx.runtime_errors import one_line
from ganserve_export.package.batch_independence import SPREAD_TOLERANCE

Run: TypeAlias = Callable[[Arrays, list[str]], list[npt.NDArray[Any]]]
FREED, ONE_BY_ONE, DOUBLED = "batch axis freed", "one sample after another", "a single sample is computed twice"
_PROOFS = (1, 2, 3)
_ONE_LEVEL = 1.01  # of uint8


def served_model(
    model: onnx.ModelProto,
    batching: Batching,
    bare: frozenset[str],
    extents: Mapping[str, tuple[int, ...]],
    feed: Arrays,
    outputs: Sequence[str],
    original: Run,
    *,
    rounding: float,
    may_free: bool,
) -> tuple[onnx.ModelProto, str]:
    """Return a graph with these outputs for any batch, and how it works in words.

    `extents` are the fixed extents of one sample of each input, `bare` the inputs without a batch axis, `feed` samples
    to prove it on, `original` the graph itself on batches that it can compute.
    """
    expected = original(feed, list(outputs))
    inputs = {name: (values.dtype, extents[name]) for name, values in feed.items()}
    results = {name: (values.dtype, values.shape[1:]) for name, values in zip(outputs, expected, strict=True)}
    form = Form(inputs=inputs, outputs=results, bare=bare)
    if batching.size is None:
        return padded_to(model, batching.least, form), DOUBLED
    if may_free and not bare:
        freed = _freed(model, batching.size, form)
        if _agrees(freed, feed, outputs, expected, rounding):
            return freed, FREED
    how = ONE_BY_ONE if batching.size == 1 else f"{batching.size} samples after another {batching.size}"
    return looped(model, batching.size, form), how


def _freed(model: onnx.ModelProto, size: int, form: Form) -> onnx.ModelProto:
    """Return a copy that declares an open batch, with reshapes to the batch's size opened."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    del graph.value_info[:], graph.output[:]
    for item in graph.input:
        if item.name in form.inputs and item.type.tensor_type.shape.dim:
            item.type.tensor_type.shape.dim[0].dim_param = "batch"
    kept = [onnx.ValueInfoProto(name=name) for name in form.outputs]
    graph.output.extend(kept)
    constants = _constants(graph)
    varying = _varying(graph, set(form.inputs))
    for number, node in enumerate(graph.node):
        if node.op_type != "Reshape" or node.input[0] not in varying or node.input[1] not in constants:
            continue
        shape = constants[node.input[1]].copy()
        keeps_zero = any(attribute.name == "allowzero" and attribute.i for attribute in node.attribute)
        if shape.ndim != 1 or not len(shape) or shape[0] != size or keeps_zero:
            continue
        shape[0] = 0 if -1 in shape else -1  # 0 takes the extent of the input
        name = f"{node.input[1]}/open{number}"
        graph.initializer.append(numpy_helper.from_array(shape, name))
        node.input[1] = name
    return copy


def _agrees(
    model: onnx.ModelProto,
    feed: Arrays,
    outputs: Sequence[str],
    expected: Sequence[npt.NDArray[Any]],
    rounding: float,
) -> bool:
    """Say whether a graph computes several samples at once as the original computes them."""
    count = len(expected[0])
    for size in sorted({*(size for size in _PROOFS if size < count), count}):
        try:
            results = _results(model, {name: values[:size] for name, values in feed.items()}, outputs)
        except ExportError:
            return False  # the loop is the answer
        if not all(_close(mine, theirs[:size], rounding) for mine, theirs in zip(results, expected, strict=True)):
            return False
    return True


def _results(model: onnx.ModelProto, feed: Arrays, outputs: Sequence[str]) -> list[npt.NDArray[Any]]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = False
    try:
        session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
        results: list[npt.NDArray[Any]] = session.run(list(outputs), dict(feed))
    except Exception as error:  # onnxruntime's exceptions share no public base class
        raise ExportError(one_line(error)) from error
    return results


def _close(mine: npt.NDArray[Any], theirs: npt.NDArray[Any], rounding: float) -> bool:
    if mine.shape != theirs.shape:
        return False
    ours, original = mine.astype(np.float64), theirs.astype(np.float64)
    allowed = SPREAD_TOLERANCE * float(original.std()) + rounding * float(np.abs(original).max(initial=0.0))
    if mine.dtype == np.uint8:
        allowed = _ONE_LEVEL
    return bool(np.abs(ours - original).max(initial=0.0) <= allowed)


def _constants(graph: onnx.GraphProto) -> dict[str, npt.NDArray[Any]]:
    """Return small integer constants by name: shapes."""
    small = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if tensor.data_type == onnx.TensorProto.INT64 and len(tensor.dims) <= 1
    }
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value" and attribute.t.data_type == onnx.TensorProto.INT64:
                    small[node.output[0]] = numpy_helper.to_array(attribute.t)
                elif attribute.name == "value_ints":
                    small[node.output[0]] = np.array(attribute.ints, np.int64)
    return small


def _varying(graph: onnx.GraphProto, inputs: set[str]) -> set[str]:
    """Return the values that depend on these inputs."""
    varying = set(inputs)
    for node in graph.node:  # in the order of computation
        used = {*node.input}.union(*(_used(within) for within in graphs_within(node)))
        if used & varying:
            varying.update(node.output)
    return varying


def _used(graph: onnx.GraphProto) -> set[str]:
    return {name for node in graph.node for name in node.input}.union(
        *(_used(within) for node in graph.node for within in graphs_within(node))
    )
