"""Turn nodes that draw random numbers into inputs, also in branches, loops and functions. N = batch, T = iterations.

A trial run shows the shape of what each node draws. In a loop it draws T times, so its input has an axis for T.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnx.inliner
import onnxruntime as ort
from onnx import helper

from ganserve_export.errors import ExportError
from ganserve_export.from_onnx.graph_renaming import graphs_within
from ganserve_export.from_onnx.noise import NoiseInput
from ganserve_export.from_onnx.operators_and_opsets import RANDOM, all_nodes
from ganserve_export.from_onnx.random_operators import draws, element_types, spell_out
from ganserve_export.from_onnx.runtime_errors import one_line

_LOOPS = {"Loop", "Scan"}
_TRIES = 4  # with other inputs, because a branch may depend on them
_REMEDY = "export it with the noise as part of its latents, or constant (StyleGAN: noise_mode const)"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Drawn:
    """Values that a node draws."""

    shape: list[int | str]
    """That of the input in its place: the batch, T of each loop, the rest."""
    own_shape: list[int] | None
    """Shape of what the node draws, with T of each loop before it, if that has no batch axis; else None."""
    axis: int
    """The axis of T."""


def expose_noise(model: onnx.ModelProto, name: str) -> tuple[NoiseInput, ...]:
    """Turn the nodes of a model that draw random numbers into inputs; return these.

    Raises:
        ExportError: The shape of what a node draws cannot be learned by running the graph.
    """
    if not any(node.op_type in RANDOM | {"Dropout"} for node in all_nodes(model)):
        return ()
    if any(node.op_type in RANDOM | {"Dropout"} for function in model.functions for node in function.node):
        model.CopyFrom(onnx.inliner.inline_local_functions(model))
    dropped = spell_out(model)
    drawing = list(_drawing(model.graph))
    if not drawing:
        return ()
    exposed = _Exposed(model, [*_shapes(model, drawing, name)], dropped)
    exposed.replace(model.graph, {})
    model.graph.node.reverse()
    model.graph.node.extend(reversed(exposed.before))
    model.graph.node.reverse()
    return tuple(exposed.found)


class _Exposed:
    """The replacement of each node that draws, in the order of `_drawing`."""

    def __init__(self, model: onnx.ModelProto, drawn: list[_Drawn], dropped: frozenset[str]) -> None:
        self.found: list[NoiseInput] = []
        self.before: list[onnx.NodeProto] = []
        """Nodes for the start of the main graph."""
        self._model, self._dropped = model, dropped
        self._types = element_types(model)
        self._names: list[str] = []
        self._drawn = drawn
        for node, _ in _drawing(model.graph):
            self._add_input(node, drawn[len(self._names)])

    def _add_input(self, node: onnx.NodeProto, drawn: _Drawn) -> None:
        given = f"noise/{node.output[0]}"
        if any(item.name == given for item in self._model.graph.input):
            given = f"{given}/{len(self._names)}"
        self._model.graph.input.append(helper.make_tensor_value_info(given, onnx.TensorProto.FLOAT, drawn.shape))
        distribution: Literal["normal", "uniform"] = "normal" if "Normal" in node.op_type else "uniform"
        is_dropout = node.output[0] in self._dropped
        self.found.append(NoiseInput(name=given, distribution=distribution, is_dropout=is_dropout))
        if drawn.own_shape is not None:
            shape = helper.make_tensor(
                f"{given}/shape", onnx.TensorProto.INT64, [len(drawn.own_shape)], drawn.own_shape
            )
            self._model.graph.initializer.append(shape)
            self.before.append(helper.make_node("Reshape", [given, shape.name], [f"{given}/own"], name=f"{given}/own"))
            given = f"{given}/own"
        self._names.append(given)

    def replace(self, graph: onnx.GraphProto, values: dict[int, str], start: int = 0) -> int:
        """Replace the nodes of a graph that draw, from the place `start` on; return the place after the last one.

        `values` names the replacement of each in this graph, if it is not the input itself.
        """
        rest: list[onnx.NodeProto] = []
        for node in graph.node:
            if draws(node):
                rest += self._scaled(node, values.get(start, self._names[start]), start)
                start += 1
                continue
            for inner in graphs_within(node):
                places = range(start, start + sum(1 for _ in _drawing(inner)))
                own = self._slices(node, inner, places, values) if node.op_type in _LOOPS else values
                start = self.replace(inner, own, start)
            rest.append(node)
        del graph.node[:]
        graph.node.extend(rest)
        return start

    def _slices(
        self, node: onnx.NodeProto, body: onnx.GraphProto, places: range, values: dict[int, str]
    ) -> dict[int, str]:
        """Give the body of a loop what each iteration draws."""
        heads, own = [], {}
        for at in places:
            whole = values.get(at, self._names[at])
            own[at] = f"{whole}/each"
            if node.op_type == "Loop":
                inputs = [whole, body.input[0].name]
                head = helper.make_node("Gather", inputs, [own[at]], name=own[at], axis=self._drawn[at].axis)
                heads.append(head)
            else:
                _add_scan_input(node, body, whole, own[at], self._drawn[at].axis)
        nodes = [*heads, *body.node]
        del body.node[:]
        body.node.extend(nodes)
        return own

    def _scaled(self, node: onnx.NodeProto, value: str, at: int) -> list[onnx.NodeProto]:
        """Return nodes that give noise the mean, the spread and the element type of what a random node draws."""
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        if "Normal" in node.op_type:
            offset, scale = float(attributes.get("mean", 0.0)), float(attributes.get("scale", 1.0))
        else:
            offset = float(attributes.get("low", 0.0))
            scale = float(attributes.get("high", 1.0)) - offset
        mark = self._names[at]
        factor, shift = f"{mark}/scale", f"{mark}/mean"
        for constant, number in ((factor, scale), (shift, offset)):
            self._model.graph.initializer.append(helper.make_tensor(constant, onnx.TensorProto.FLOAT, [], [number]))
        element = _element(node, self._types)
        return [
            helper.make_node("Mul", [value, factor], [f"{mark}/scaled"], name=f"{mark}/Mul"),
            helper.make_node("Add", [f"{mark}/scaled", shift], [f"{mark}/shifted"], name=f"{mark}/Add"),
            helper.make_node("Cast", [f"{mark}/shifted"], [node.output[0]], to=element, name=f"{mark}/Cast"),
        ]


def _drawing(graph: onnx.GraphProto, loops: int = 0) -> Iterator[tuple[onnx.NodeProto, int]]:
    """Yield each node that draws, and the number of loops around it."""
    for node in graph.node:
        if draws(node):
            yield node, loops
        for inner in graphs_within(node):
            yield from _drawing(inner, loops + (node.op_type in _LOOPS))


def _element(node: onnx.NodeProto, types: dict[str, int]) -> int:
    given = next((int(attribute.i) for attribute in node.attribute if attribute.name == "dtype"), 0)
    like = types.get(node.input[0], 0) if node.input else 0
    return given or like or onnx.TensorProto.FLOAT


def _add_scan_input(scan: onnx.NodeProto, body: onnx.GraphProto, whole: str, each: str, axis: int) -> None:
    attributes = {attribute.name: attribute for attribute in scan.attribute}
    count = attributes["num_scan_inputs"]
    for name, value in (("scan_input_axes", axis), ("scan_input_directions", 0)):
        if name not in attributes:
            scan.attribute.append(helper.make_attribute(name, [0] * count.i))
            attributes[name] = scan.attribute[-1]
        attributes[name].ints.append(value)
    count.i += 1
    scan.input.append(whole)
    body.input.append(helper.make_tensor_value_info(each, onnx.TensorProto.FLOAT, None))


def _shapes(model: onnx.ModelProto, drawing: list[tuple[onnx.NodeProto, int]], name: str) -> Iterator[_Drawn]:
    """Run a copy of the model whose outputs are what the nodes draw; yield the shape of each."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    shown = _Lift(element_types(model)).lift(probe.graph)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.ValueInfoProto(name=value) for value, _ in shown)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(
            probe.SerializeToString(), options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
        inputs = session.get_inputs()
        fixed = next((item.shape[0] for item in inputs if item.shape and isinstance(item.shape[0], int)), 0)
        sizes = (fixed,) if fixed else (2, 3)
        runs = [
            [value.shape for value in session.run(None, {item.name: _some(item, size, seed) for item in inputs})]
            for seed in range(_TRIES)
            for size in sizes
        ]
    except Exception as error:  # onnxruntime's exceptions share no public base class
        raise ExportError(
            f"the {name} draws random numbers of a shape that no trial run shows ({one_line(error)}): {_REMEDY}"
        ) from error
    for at, (node, loops) in enumerate(drawing):
        tries = [[run[at] for run in runs[start : start + len(sizes)]] for start in range(0, len(runs), len(sizes))]
        whole = [shapes for shapes in tries if all(0 not in shape for shape in shapes)]
        if not whole and not loops:  # a branch that no trial took
            whole = [[tuple(attribute.ints)] * len(sizes) for attribute in node.attribute if attribute.name == "shape"]
        found = _drawn(whole[0], sizes, loops) if whole and all(shapes == whole[0] for shapes in whole) else None
        if found is None:
            raise ExportError(
                f"the {name} draws random numbers ({node.op_type}, {node.output[0]}) in a branch or loop that trial "
                f"runs skip, or another number of times in each: {_REMEDY}"
            )
        yield found


def _drawn(shapes: list[tuple[int, ...]], sizes: tuple[int, ...], loops: int) -> _Drawn | None:
    """Return the form of an input for what has these shapes in batches of these sizes; None if it has no form."""
    times, rests = [shape[:loops] for shape in shapes], [shape[loops:] for shape in shapes]
    first: int | str = sizes[0] if len(sizes) == 1 else "batch"
    varies = len(sizes) > 1 or sizes[0] > 1
    if loops == 1 and varies and [each[0] for each in times] == list(sizes) and rests[0] == rests[-1]:
        return _Drawn(shape=[first, *rests[0]], own_shape=None, axis=0)  # a loop over the samples
    if times[0] != times[-1] or rests[0][1:] != rests[-1][1:]:
        return None
    rest = rests[0]
    follows = [each[:1] == (size,) for each, size in zip(rests, sizes, strict=True)]
    # Noise of one picture for the whole batch becomes noise for each sample: adding it works alike.
    if all(follows) or rest[:1] == (1,):
        return _Drawn(shape=[first, *times[0], *rest[1:]], own_shape=None, axis=1)
    return _Drawn(shape=[1, *times[0], *rest], own_shape=[*times[0], *rest], axis=0)


class _Lift:
    """Show what nodes in branches and loops draw as outputs of the graphs around them."""

    def __init__(self, types: dict[str, int]) -> None:
        self._types, self._count = types, 0

    def lift(self, graph: onnx.GraphProto) -> list[tuple[str, int]]:
        """Return what all nodes within a graph draw: names of values of that graph, and element types."""
        shown = []
        for node in graph.node:
            if draws(node):
                shown.append((node.output[0], _element(node, self._types)))
                continue
            inner = graphs_within(node)
            for own in inner:
                for value, element in self.lift(own):
                    for each in inner:
                        self._emit(each, value if each is own else None, element)
                    self._count += 1
                    node.output.append(f"noise/shown{self._count}")
                    shown.append((node.output[-1], element))
        return shown

    def _emit(self, graph: onnx.GraphProto, value: str | None, element: int) -> None:
        """Make a value an output of a branch or body; None: nothing, as the other branch draws it."""
        self._count += 1
        name = f"noise/inside{self._count}"
        if value is not None:
            graph.node.append(helper.make_node("Identity", [value], [name], name=name))
        else:
            nothing = helper.make_tensor(name, element, [0], [])
            graph.node.append(helper.make_node("Constant", [], [name], name=name, value=nothing))
        graph.output.append(helper.make_tensor_value_info(name, element, None))


def _some(item: Any, batch: int, seed: int) -> npt.NDArray[Any]:
    """Return zeros of the declared shape, with this extent on open axes; normal numbers where `seed` is not 0."""
    shape = [extent if isinstance(extent, int) else batch for extent in item.shape]
    names = {
        "tensor(float)": "float32",
        "tensor(double)": "float64",
        "tensor(float16)": "float16",
        "tensor(bool)": "bool",
    }
    element = np.dtype(names.get(item.type, item.type.removeprefix("tensor(").rstrip(")")))
    if seed and element.kind == "f":
        return np.random.default_rng(seed).standard_normal(shape).astype(element)
    return np.zeros(shape, element)
