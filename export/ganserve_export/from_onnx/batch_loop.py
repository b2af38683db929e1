"""Put a graph for batches of one size inside a Scan over batches of that size. N = batch, B = the graph's own batch.

The last batch is filled with copies of the last sample.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from ganserve_export.from_onnx.graph_renaming import rename, unused_prefix

Tensors = Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]
"""Element type and shape of one sample by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """The inputs and outputs of a graph."""

    inputs: Tensors
    outputs: Tensors
    """The outputs to keep."""
    bare: frozenset[str]
    """Inputs without a batch axis, which then is 1."""


class _Builder:
    """A graph around another one: the inner graph's inputs and outputs are renamed, the outer ones keep their names."""

    def __init__(self, model: onnx.ModelProto, form: Form) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        graph = self.model.graph
        self.form = form
        self.mark = unused_prefix(graph, "batch")
        # Older files list weights among the inputs.
        weights = {tensor.name for tensor in graph.initializer}
        self.inner = {name: self.mark + name for name in form.inputs}
        self.results = {name: f"{self.mark}result/{name}" for name in form.outputs}
        rename(graph, {name: new for name, new in self.inner.items() if name not in weights})
        rename(graph, {name: new for name, new in self.results.items() if name not in form.inputs})
        self.nodes = list(graph.node)
        del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
        self.before: list[onnx.NodeProto] = []
        self.after: list[onnx.NodeProto] = []
        self._count = 0

    def constant(self, value: npt.ArrayLike) -> str:
        """Add an integer constant."""
        name = self.new("constant")
        self.model.graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.int64), name))
        return name

    def new(self, kind: str) -> str:
        """Return a new name."""
        self._count += 1
        return f"{self.mark}{kind}_{self._count}"

    def node(self, nodes: list[onnx.NodeProto], operation: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output, and return the output's name."""
        output = self.new(operation)
        nodes.append(helper.make_node(operation, inputs, [output], name=output, **attributes))
        return output

    def count(self) -> str:
        """Return N, a scalar."""
        first = next(iter(self.form.inputs))
        return self.node(self.before, "Gather", self.node(self.before, "Shape", first), self.constant(0), axis=0)

    def padded(self, name: str, count: str, total: str) -> str:
        """Return an input with its last row repeated until it has `total` rows."""
        rows = self.node(self.before, "Range", self.constant(0), total, self.constant(1))
        last = self.node(self.before, "Sub", count, self.constant(1))
        inside = self.node(self.before, "Less", rows, count)
        return self.node(self.before, "Gather", name, self.node(self.before, "Where", inside, rows, last), axis=0)

    def emit(self, name: str, value: str, count: str | None) -> None:
        """Give an output its value, cut to `count` rows."""
        if count is not None:
            ends = self.node(self.after, "Reshape", count, self.constant([1]))
            value = self.node(self.after, "Slice", value, self.constant([0]), ends, self.constant([0]))
        self.after.append(helper.make_node("Identity", [value], [name], name=self.new("emit")))

    def finish(self, middle: Sequence[onnx.NodeProto]) -> onnx.ModelProto:
        """Return the model with an open batch."""
        graph = self.model.graph
        graph.node.extend([*self.before, *middle, *self.after])
        for values, tensors in ((graph.input, self.form.inputs), (graph.output, self.form.outputs)):
            values.extend(_value(name, *tensor) for name, tensor in tensors.items())
        return self.model


def padded_to(model: onnx.ModelProto, least: int, form: Form) -> onnx.ModelProto:
    """Return a graph that computes fewer than `least` samples by repeating the last one."""
    built = _Builder(model, form)
    count = built.count()
    few = built.node(built.before, "Less", count, built.constant(least))
    total = built.node(built.before, "Where", few, built.constant(least), count)
    for name in form.inputs:
        value = built.padded(name, count, total)
        built.before.append(helper.make_node("Identity", [value], [built.inner[name]], name=built.new("feed")))
    for name in form.outputs:
        built.emit(name, built.results[name], count)
    return built.finish(built.nodes)


def looped(model: onnx.ModelProto, size: int, form: Form) -> onnx.ModelProto:
    """Return a graph that computes batches of `size` one after another, with a Scan."""
    built = _Builder(model, form)
    count = built.count() if size > 1 else None
    head: list[onnx.NodeProto] = []
    slices, given = [], []
    total = None
    if count is not None:
        more = built.node(built.before, "Add", count, built.constant(size - 1))
        batches = built.node(built.before, "Div", more, built.constant(size))
        total = built.node(built.before, "Mul", batches, built.constant(size))
    for name, (dtype, extents) in form.inputs.items():
        value = name if count is None or total is None else built.padded(name, count, total)
        given.append(built.node(built.before, "Reshape", value, built.constant([-1, size, *extents])))
        inside = built.inner[name]
        if name in form.bare:
            shape = built.constant(list(extents))
            inside = built.new("slice")
            head.append(helper.make_node("Reshape", [inside, shape], [built.inner[name]], name=built.new("bare")))
        slices.append(_typed(inside, dtype))
    bodies, stacked = [], []
    for name, (dtype, _) in form.outputs.items():
        inside = built.new("inside")
        head_of = built.results[name]
        bodies.append((helper.make_node("Identity", [head_of], [inside], name=built.new("out")), _typed(inside, dtype)))
        stacked.append(built.new("stacked"))
    body = helper.make_graph(
        [*head, *built.nodes, *(node for node, _ in bodies)], f"{built.mark}body", slices, [info for _, info in bodies]
    )
    scan = helper.make_node("Scan", given, stacked, name=built.new("Scan"), body=body, num_scan_inputs=len(given))
    for (name, (_, result)), value in zip(form.outputs.items(), stacked, strict=True):
        flat = built.node(built.after, "Reshape", value, built.constant([-1, *result]))
        built.emit(name, flat, count)
    return built.finish([scan])


def _typed(name: str, dtype: np.dtype[Any]) -> onnx.ValueInfoProto:
    info = onnx.ValueInfoProto(name=name)
    info.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(dtype)
    return info


def _value(name: str, dtype: np.dtype[Any], extents: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), ["batch", *extents])
