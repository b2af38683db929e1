"""Check and upgrade the operators of a foreign graph: randomness, unknown operators, old operator sets (opsets)."""

import itertools
from collections.abc import Iterator

import onnx
from onnx import helper, numpy_helper, version_converter

from ganserve_export.errors import ExportError
from ganserve_export.package.onnx_graphs import opset_of

MIN_OPSET = 11  # the nodes that `surgery` adds are written in this operator set
RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
STANDARD_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}


def all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Yield every node of a model, with those of branches, loops and local functions."""
    pending = list(itertools.chain(model.graph.node, *(function.node for function in model.functions)))
    while pending:
        node = pending.pop()
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                pending.extend(graph.node)


def refuse_randomness(model: onnx.ModelProto, name: str) -> None:
    """Raise ExportError if a graph draws random numbers."""
    drawn = sorted({node.op_type for node in all_nodes(model) if node.op_type in RANDOM})
    drawn += ["Dropout in training mode"] if drops_out(model) else []
    if drawn:
        raise ExportError(
            f"the {name} draws random numbers ({', '.join(drawn)}), so a seed would not always give the same sample: "
            "export it with the noise as part of its latents, or constant (StyleGAN: noise_mode const)"
        )


def unknown_operators(model: onnx.ModelProto) -> list[str]:
    """Return the operators that belong neither to ONNX nor to onnxruntime nor to the model's own functions."""
    known = STANDARD_DOMAINS | {function.domain for function in model.functions}
    return sorted({f"{node.domain}::{node.op_type}" for node in all_nodes(model) if node.domain not in known})


def upgraded(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Return a copy of a model with at least operator set 11; raise ExportError if ONNX's converter cannot make it."""
    opset = opset_of(model)
    if opset >= MIN_OPSET:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        return copy
    try:
        converted = version_converter.convert_version(model, MIN_OPSET)
    except Exception as error:  # the converter documents no base class for its errors
        raise ExportError(
            f"the {name} has ONNX's operator set {opset}, and ONNX's converter cannot raise it to {MIN_OPSET} "
            f"({' '.join(str(error).split())[:200]}): export it again with operator set {MIN_OPSET} or newer"
        ) from error
    for node in all_nodes(converted):
        # The converter leaves out how Resize worked in operator set 10 (and Upsample before it).
        if node.op_type == "Resize":
            node.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
            node.attribute.append(helper.make_attribute("nearest_mode", "floor"))
    return converted


def drops_out(model: onnx.ModelProto) -> frozenset[str]:
    """Return the outputs of each Dropout whose third input, training_mode, is not a constant False."""
    off = {tensor.name for tensor in model.graph.initializer if _is_false(tensor)}
    for node in all_nodes(model):
        if node.op_type == "Constant" and any(_is_false(attribute.t) for attribute in node.attribute):
            off.update(node.output)
    modes = [node for node in all_nodes(model) if node.op_type == "Dropout" and len(node.input) > 2]
    return frozenset(node.output[0] for node in modes if node.input[2] and node.input[2] not in off)


def _is_false(tensor: onnx.TensorProto) -> bool:
    return tensor.data_type == onnx.TensorProto.BOOL and not numpy_helper.to_array(tensor).any()
