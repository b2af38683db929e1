"""Graph surgery: put nodes before a foreign graph that feed it, and nodes after it that convert its output. N = batch.

Inner values keep their names, unless a name is one of a package's inputs or outputs.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from ganserve_export.errors import ExportError
from ganserve_export.from_onnx.graph_renaming import names_of, rename, unused_prefix
from ganserve_export.package.onnx_graphs import opset_of, strip_metadata

MIN_IR_VERSION = 4
Declared: TypeAlias = Mapping[str, tuple[str, tuple[int, ...]]]
"""Element type and shape of one sample, by the name of an input or output."""
OWN_NAMES = ("latents", "labels", "psi", "samples", "scores", "probabilities")


class Surgery:
    """A foreign graph for any batch, to which nodes are added; `ForeignGraph.servable` makes it."""

    def __init__(self, servable: onnx.ModelProto) -> None:
        self.model = servable
        strip_metadata(self.model)
        # Older versions list constants among the inputs, where callers can override them.
        self.model.ir_version = max(self.model.ir_version, MIN_IR_VERSION)
        graph = self.model.graph
        # Drop inferred shapes: an exporter may have got them wrong, and onnxruntime infers its own.
        del graph.value_info[:]
        used = names_of(graph)
        self._mark = unused_prefix(graph, "ganserve")
        self._inner = {name: self._mark + name for name in OWN_NAMES if name in used}
        rename(graph, self._inner)
        self.opset = opset_of(self.model)
        self._count = 0
        self._head: list[onnx.NodeProto] = []
        self._tail: list[onnx.NodeProto] = []
        self._nodes = self._head

    def inner(self, name: str) -> str:
        """Return the new name of an input or output of the foreign graph."""
        return self._inner.get(name, name)

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        """Add a constant and return its name."""
        name = self._new_name("constant")
        self.model.graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(self, operation: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output and return the output's name."""
        output = self._new_name(operation)
        self._nodes.append(helper.make_node(operation, inputs, [output], name=output, **attributes))
        return output

    def cast(self, value: str, element: str) -> str:
        """Add a cast to the numpy type of that name."""
        return self.node("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(element)))

    def sum_rows(self, value: str) -> str:
        """Add the sum over the second axis of a matrix, [N, 1]."""
        if self.opset >= 13:  # axes became an input
            return self.node("ReduceSum", value, self.constant([1], np.int64), keepdims=1)
        return self.node("ReduceSum", value, axes=[1], keepdims=1)

    def feed(self, name: str, value: str) -> None:
        """Give a foreign input its value; nodes added later may feed other inputs."""
        self._head.append(helper.make_node("Identity", [value], [self.inner(name)], name=self._new_name("feed")))

    def take(self, name: str) -> str:
        """Return a foreign output. Feed all inputs first: nodes added later come after the foreign graph."""
        self._nodes = self._tail
        return self.inner(name)

    def emit(self, name: str, value: str) -> None:
        """Make a value an output of the package's graph."""
        self._tail.append(helper.make_node("Identity", [value], [name], name=self._new_name("emit")))

    def finish(self, inputs: Declared, outputs: Declared, *, has_labels: bool) -> onnx.ModelProto:
        """Return the package's graph with these inputs, labels if it takes some, and outputs.

        Raises:
            ExportError: ONNX's checker refuses the graph.
        """
        graph = self.model.graph
        nodes = [*self._head, *graph.node, *self._tail]
        del graph.node[:], graph.input[:], graph.output[:]
        graph.node.extend(nodes)
        labels: Declared = {"labels": ("int64", ())} if has_labels else {}
        graph.input.extend(_value(name, *form) for name, form in {**inputs, **labels}.items())
        graph.output.extend(_value(name, *form) for name, form in outputs.items())
        try:
            onnx.checker.check_model(self.model)
        except onnx.checker.ValidationError as error:
            raise ExportError(f"ONNX's checker refuses the graph: {' '.join(str(error).split())[:300]}") from error
        return self.model

    def _new_name(self, kind: str) -> str:
        self._count += 1
        return f"{self._mark}{kind}_{self._count}"


def _value(name: str, element: str, sample_shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(element))
    return helper.make_tensor_value_info(name, kind, ["batch", *sample_shape])
