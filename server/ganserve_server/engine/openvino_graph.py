"""Rewrite transposed convolutions into the form that OpenVINO runs faster.

A transposed convolution of stride S computes S * S interleaved images, its phases, each of them by the taps of its
kernel that reach that phase. So it equals S * S small convolutions followed by DepthToSpace, with the same products.
OpenVINO computes that faster, in bfloat16 by a tenth to a quarter; onnxruntime slower (`benchmarks/serving`). So export
does not write it, and packages stay as they are.

N = batch, I = input channels, O = output channels, H, W = size of the input, K = size of the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_server.engine.openvino_library import openvino

_AXES = 2


@dataclass(frozen=True, slots=True)
class _Phase:
    """The part of a kernel along one axis that makes every S-th value of the output."""

    taps: list[int]
    """Indices into the kernel, in the order of the input's values."""
    before: int
    """Zeros before the input."""
    after: int


def split_transposed_convolutions(model: openvino.Model) -> int:
    """Replace the transposed convolutions of images that can be split, and return how many."""
    replaced = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() == "ConvolutionBackpropData" and (phases := _phases(node)) is not None:
            _replace(node, phases)
            replaced += 1
    if replaced:
        model.validate_nodes_and_infer_types()
    return replaced


def _phases(node: openvino.Node) -> list[list[_Phase]] | None:
    """Return the phases along both axes; None if the form does not fit."""
    attributes: dict[str, Any] = node.get_attributes()
    shape = node.input_value(1).get_partial_shape()
    if node.get_input_size() != 2 or shape.is_dynamic or len(shape) != 2 + _AXES or _constant(node, 1) is None:
        return None
    strides = list(attributes["strides"])
    if strides[0] != strides[1] or strides[0] < 2 or set(attributes["dilations"]) != {1}:
        return None
    phases = []
    for axis in range(_AXES):
        kernel, stride = shape[2 + axis].get_length(), strides[axis]
        before, after = attributes["pads_begin"][axis], attributes["pads_end"][axis]
        if kernel - before - after + attributes["output_padding"][axis] != stride:  # the output has size S * H
            return None
        phases.append([_phase(kernel, stride, before, start) for start in range(stride)])
    if any(not one.taps or one.before < 0 or one.after < 0 for axis_phases in phases for one in axis_phases):
        return None
    return phases


def _phase(kernel: int, stride: int, before: int, start: int) -> _Phase:
    """Return the taps that reach the output's values start, start + S and so on.

    Value j of the input adds its product with tap k to value S * j - before + k of the output.
    """
    taps = [tap for tap in reversed(range(kernel)) if (start + before - tap) % stride == 0]
    offsets = [(start + before - tap) // stride for tap in taps]
    return _Phase(taps, -min(offsets, default=0), max(offsets, default=0))


def _replace(node: openvino.Node, phases: list[list[_Phase]]) -> None:
    weights = _constant(node, 1)
    assert weights is not None, "`_phases` has checked it"
    last, followers = _followers(node)
    parts = []
    for rows in phases[0]:
        for columns in phases[1]:
            kernel = weights[:, :, rows.taps][:, :, :, columns.taps]  # [I, O, K, K]
            part = openvino.opset8.convolution(
                node.input_value(0),
                openvino.opset8.constant(np.ascontiguousarray(kernel.swapaxes(0, 1))),
                strides=[1, 1],
                pads_begin=[rows.before, columns.before],
                pads_end=[rows.after, columns.after],
                dilations=[1, 1],
            )
            for follower in followers:
                part = _applied(follower, part)
            parts.append(part)
    joined = openvino.opset8.depth_to_space(openvino.opset8.concat(parts, axis=1), "blocks_first", len(phases[0]))
    joined.set_friendly_name(last.get_friendly_name())
    for target in list(last.output(0).get_target_inputs()):
        target.replace_source_output(joined.output(0))


def _followers(node: openvino.Node) -> tuple[openvino.Node, list[openvino.Node]]:
    """Return the last of the bias and activation behind a node, and all of them.

    Directly behind a convolution, OpenVINO computes them together with it.
    """
    last, found = node, []
    while len(targets := last.output(0).get_target_inputs()) == 1:
        (target,) = targets
        follower = target.get_node()
        if follower.get_type_name() not in ("Add", "Relu", "PRelu") or target.get_index() != 0:
            break
        if follower.get_input_size() == 2 and not _fits_channels(follower):
            break
        found.append(follower)
        last = follower
    return last, found


def _fits_channels(follower: openvino.Node) -> bool:
    """Return True if the second input is a constant with one value, or one for each channel."""
    values = _constant(follower, 1)
    if values is None:
        return False
    shape = values.shape
    is_slope = follower.get_type_name() == "PRelu" and len(shape) == 1
    return values.size == 1 or is_slope or (len(shape) == 2 + _AXES and shape[0] == shape[2] == shape[3] == 1)


def _applied(follower: openvino.Node, value: openvino.Node) -> openvino.Node:
    kind = follower.get_type_name()
    if kind == "Relu":
        return openvino.opset8.relu(value)
    operand = follower.input_value(1)
    return openvino.opset8.add(value, operand) if kind == "Add" else openvino.opset8.prelu(value, operand)


def _constant(node: openvino.Node, index: int) -> NDArray[np.float32] | None:
    """Return an input that is a constant of float32, or one converted to it; None for others."""
    source = node.input_value(index).get_node()
    if source.get_type_name() == "Convert" and node.input_value(index).get_element_type().get_type_name() == "f32":
        source = source.input_value(0).get_node()
    if source.get_type_name() != "Constant":
        return None
    values: NDArray[np.float32] = source.get_data().astype(np.float32)
    return values
