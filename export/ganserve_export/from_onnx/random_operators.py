"""Spell operators that draw random numbers out by RandomUniformLike: Bernoulli, and Dropout in training mode."""

from __future__ import annotations

import onnx
from onnx import helper

from ganserve_export.from_onnx.graph_renaming import graphs_within
from ganserve_export.from_onnx.operators_and_opsets import drops_out

DRAWING = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
_STANDARD = ("", "ai.onnx")


def draws(node: onnx.NodeProto) -> bool:
    """Say whether a node draws random numbers of a distribution."""
    return node.domain in _STANDARD and node.op_type in DRAWING


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """Return the element types of all values that ONNX's inference finds, also of those in branches and loops."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model)
    except Exception:  # noqa: BLE001 - it documents no base class, and a file may be too large for it
        inferred = model
    types: dict[str, int] = {}
    pending = [inferred.graph]
    while pending:
        graph = pending.pop()
        types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
        for info in (*graph.input, *graph.output, *graph.value_info):
            types[info.name] = info.type.tensor_type.elem_type
        pending += [inner for node in graph.node for inner in graphs_within(node)]
    return types


def spell_out(model: onnx.ModelProto) -> frozenset[str]:
    """Replace Bernoulli, and Dropout in training mode, in all graphs; return the names of what dropout draws."""
    types, training, dropped = element_types(model), drops_out(model), set[str]()
    pending = [model.graph]
    while pending:
        graph = pending.pop()
        rest: list[onnx.NodeProto] = []
        for node in graph.node:
            pending += graphs_within(node)
            if node.domain not in _STANDARD or node.op_type not in ("Bernoulli", "Dropout"):
                rest.append(node)
                continue
            drawn, element = f"{node.output[0]}/drawn", types.get(node.input[0], 0) or onnx.TensorProto.FLOAT
            if node.op_type == "Bernoulli":
                rest += _bernoulli(node, drawn, element)
            elif node.output[0] in training:
                rest += _dropout(node, drawn, element)
                dropped.add(drawn)
            else:
                rest.append(node)
        del graph.node[:]
        graph.node.extend(rest)
    return frozenset(dropped)


def _bernoulli(node: onnx.NodeProto, drawn: str, element: int) -> list[onnx.NodeProto]:
    asked = next((int(attribute.i) for attribute in node.attribute if attribute.name == "dtype"), element)
    (mean,), (output,) = node.input, node.output
    return [
        helper.make_node("RandomUniformLike", [mean], [drawn], name=drawn),
        helper.make_node("Less", [drawn, mean], [f"{drawn}/below"], name=f"{drawn}/below"),
        helper.make_node("Cast", [f"{drawn}/below"], [output], to=asked, name=f"{drawn}/cast"),
    ]


def _dropout(node: onnx.NodeProto, drawn: str, element: int) -> list[onnx.NodeProto]:
    """Return nodes that give zero for a share of the values and enlarge the others, if the mode is training."""
    data, ratio, training = node.input[0], node.input[1], node.input[2]

    def number(name: str, value: float) -> onnx.NodeProto:
        return helper.make_node("Constant", [], [name], name=name, value=helper.make_tensor(name, element, [], [value]))

    def made(operation: str, name: str, *inputs: str) -> onnx.NodeProto:
        return helper.make_node(operation, inputs, [f"{drawn}/{name}"], name=f"{drawn}/{name}")

    share = number(f"{drawn}/ratio", 0.5)
    if ratio:
        share = helper.make_node("Cast", [ratio], [f"{drawn}/ratio"], to=element, name=f"{drawn}/ratio")
    nodes = [
        share, number(f"{drawn}/one", 1.0), number(f"{drawn}/zero", 0.0),
        helper.make_node("RandomUniformLike", [data], [drawn], name=drawn),
        made("Less", "below", drawn, f"{drawn}/ratio"),
        made("Sub", "kept", f"{drawn}/one", f"{drawn}/ratio"),
        made("Div", "larger", data, f"{drawn}/kept"),
        made("Where", "sparse", f"{drawn}/below", f"{drawn}/zero", f"{drawn}/larger"),
        helper.make_node("Where", [training, f"{drawn}/sparse", data], [node.output[0]], name=f"{drawn}/result"),
    ]  # fmt: skip
    if len(node.output) > 1 and node.output[1]:
        nodes.append(made("And", "dropped", f"{drawn}/below", training))
        nodes.append(helper.make_node("Not", [f"{drawn}/dropped"], [node.output[1]], name=f"{drawn}/mask"))
    return nodes
