"""Write a typicality as an ONNX graph: samples -> typicality float32 [N].

N = samples, H, W, C = image, D = vector, F = features, P = components, K = clusters, M = held-out samples.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from ganserve_export.errors import ExportError
from ganserve_export.package.content import GraphToWrite
from ganserve_export.typicality.clusters import LEAST_DISTANCE, Clusters
from ganserve_export.typicality.features import PictureFeatures, VectorFeatures
from ganserve_export.typicality.typicality import LOG_FLOOR, Typicality

OPSET = 20
IR_VERSION = 9  # that of operator set 20
_RANKS_APART = 2.5
SAMPLES, TYPICALITY = "samples", "typicality"


def typicality_graph(typicality: Typicality, sample_shape: tuple[int, ...]) -> onnx.ModelProto:
    """Return the graph, which computes what `typicality` computes; raise ExportError if ONNX's checker refuses it."""
    nodes = _Nodes()
    if isinstance(typicality.features, PictureFeatures):
        element, features = TensorProto.UINT8, _energies(nodes, typicality.features)
    else:
        element, features = TensorProto.FLOAT, _scaled(nodes, typicality.features)
    distances = _distances(nodes, typicality.linear, features)
    if typicality.logarithmic is not None:
        logarithms = nodes.add("Log", nodes.add("Add", features, nodes.constant(LOG_FLOOR)))
        distances = nodes.add("Max", distances, _distances(nodes, typicality.logarithmic, logarithms))
    # A distance that is not a number is farther than all.
    farther = nodes.cast(nodes.add("Less", distances, nodes.constant(typicality.held_out[None])), TensorProto.FLOAT)
    share = np.float32(1 / (len(typicality.held_out) + 1))
    ranks = nodes.add("Add", nodes.sum(farther), nodes.constant(1.0))
    shares = nodes.add("Mul", ranks, nodes.constant(share))
    flat = nodes.add("Reshape", shares, nodes.constant([-1], np.int64))
    nodes.list.append(helper.make_node("Identity", [flat], [TYPICALITY]))
    graph = helper.make_graph(
        nodes.list,
        TYPICALITY,
        [helper.make_tensor_value_info(SAMPLES, element, ["batch", *sample_shape])],
        [helper.make_tensor_value_info(TYPICALITY, TensorProto.FLOAT, ["batch"])],
        nodes.constants,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="ganserve"
    )
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"ONNX's checker refuses the graph of typicality: {error}") from error
    return model


def graph_to_write(typicality: Typicality, sample_shape: tuple[int, ...]) -> GraphToWrite:
    """Pair a typicality with its graph."""
    return GraphToWrite(
        make=lambda: typicality_graph(typicality, sample_shape),
        original=typicality.original,
        make_inputs=typicality.inputs,
        original_name="numpy",
        # Distances that differ in the last bit can change places.
        tolerance=_RANKS_APART / (len(typicality.held_out) + 1),
    )


class _Nodes:
    """The nodes and constants of a graph."""

    def __init__(self) -> None:
        self.list: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        """Add a constant and return its name."""
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype), name))
        return name

    def add(self, operation: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output and return the output's name."""
        output = f"{operation}_{len(self.list)}"
        self.list.append(helper.make_node(operation, inputs, [output], name=output, **attributes))
        return output

    def cast(self, value: str, element: int) -> str:
        """Add a cast."""
        return self.add("Cast", value, to=element)

    def sum(self, value: str) -> str:
        """Add the sum over the last axis: [N, …] -> [N, 1]."""
        return self.add("ReduceSum", value, self.constant([1], np.int64), keepdims=1)


def _energies(nodes: _Nodes, features: PictureFeatures) -> str:
    """Add a picture's energies, [N, F]."""
    values = nodes.add("Transpose", nodes.cast(SAMPLES, TensorProto.FLOAT), perm=[0, 3, 1, 2])
    values = nodes.add("Mul", values, nodes.constant(1 / 255))
    rows = nodes.add("MatMul", nodes.constant(features.rows), values)
    reduced = nodes.add("MatMul", rows, nodes.constant(features.columns))
    answers = nodes.add("Conv", reduced, nodes.constant(features.filters), strides=[features.stride] * 2)
    rows = nodes.add("MatMul", nodes.constant(features.field_rows), nodes.add("Abs", answers))
    fields = nodes.add("MatMul", rows, nodes.constant(features.field_columns))
    size = len(features.filters) * len(features.field_rows) * features.field_columns.shape[1]
    return nodes.add("Reshape", fields, nodes.constant([-1, size], np.int64))


def _scaled(nodes: _Nodes, features: VectorFeatures) -> str:
    """Add a vector's values in units of the data's deviation, [N, D]."""
    return nodes.add("Mul", nodes.add("Sub", SAMPLES, nodes.constant(features.mean)), nodes.constant(features.scale))


def _distances(nodes: _Nodes, clusters: Clusters, features: str) -> str:
    """Add how far features lie from the data, [N, 1]."""
    centred = nodes.add("Sub", features, nodes.constant(clusters.mean))
    values = nodes.add("MatMul", centred, nodes.constant(clusters.components))
    white = nodes.add("MatMul", values, nodes.constant(clusters.whitening))
    centres = nodes.constant(clusters.centres)
    products = nodes.add("MatMul", white, nodes.add("Transpose", centres, perm=[1, 0]))
    closeness = nodes.add("Sub", products, nodes.constant((clusters.centres**2).sum(axis=1) / 2))
    nearest = nodes.add("ArgMax", closeness, axis=1, keepdims=0)
    deviations = nodes.add("Sub", white, nodes.add("Gather", centres, nearest))
    distances = nodes.sum(nodes.add("Mul", deviations, deviations))
    if clusters.rest_weight:
        whole, inside = (nodes.sum(nodes.add("Mul", value, value)) for value in (centred, values))
        outside = nodes.add("Relu", nodes.add("Sub", whole, inside))
        distances = nodes.add("Add", distances, nodes.add("Mul", outside, nodes.constant(clusters.rest_weight)))
    logarithms = nodes.add("Log", nodes.add("Add", distances, nodes.constant(LEAST_DISTANCE)))
    return nodes.add(
        "Mul", nodes.add("Sub", logarithms, nodes.constant(clusters.offset)), nodes.constant(clusters.scale)
    )
