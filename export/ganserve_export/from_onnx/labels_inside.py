"""Find one-hot labels inside the latents of a foreign generator. N = batch, Z = latent, K = labels."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper

from ganserve_export.errors import ExportError
from ganserve_export.from_onnx.batching import Arrays
from ganserve_export.from_onnx.foreign_graph import ForeignGraph, TensorInfo
from ganserve_export.from_onnx.generator_inputs import GeneratorInputs
from ganserve_export.from_onnx.last_operation import MOVING
from ganserve_export.from_onnx.onnx_options import OnnxOptions
from ganserve_export.package.batch_independence import BATCH

SLICES, NAMES, EFFECTS = "which the graph takes apart", "by the input's name", "which change samples the most"
_LABEL = re.compile(r"label|class|one_?hot|cond|(?<![a-z])y(?![a-z])", re.IGNORECASE)
_NOISE = re.compile(r"noise|latent|random|(?<![a-z])z(?![a-z])", re.IGNORECASE)
_STRONGER = 1.25
"""Least effect of each label's value, in those of the strongest other value."""
_MUCH_STRONGER = 3.0
_FEWEST, _MOST_LATENTS, _MOST_OF_LARGE = 3, 256, 128


def labels_have_no_input(graph: ForeignGraph, options: OnnxOptions) -> bool:
    """Say whether there are labels, and all inputs have a role without them."""
    if not options.label_names or options.labels_at is not None or options.labels_input is not None:
        return False
    names = [tensor.name for tensor in graph.inputs if tensor.is_float]
    alone = options.latents or (names[0] if len(names) == 1 else None)
    try:
        plain = GeneratorInputs(graph, replace(options, label_names=(), latents=alone))
    except ExportError:
        return False
    count = len(options.label_names)
    whole = any(tensor.size == count for tensor in plain.latents)
    return count > 1 and not whole and plain.values.prior.dim > count


def find_place(graph: ForeignGraph, options: OnnxOptions, output: str) -> tuple[int, str] | None:
    """Return the place of the first label in the latents, and how it was found; None: nothing shows it."""
    count = len(options.label_names)
    names = [tensor.name for tensor in graph.inputs if tensor.is_float]
    plain = GeneratorInputs(graph, replace(options, label_names=(), latents=options.latents or names[0]))
    width = plain.values.prior.dim
    if len(plain.latents) == 1:
        places = {start for start, stop in _pieces(graph.model, plain.latents[0]) if stop - start == count}
        if len(places) == 1:
            return places.pop(), SLICES
        label, noise = (word.search(plain.latents[0].name) for word in (_LABEL, _NOISE))
        if label and noise:
            return (0 if label.start() < noise.start() else width - count), NAMES
    at = strongest(_effects(graph, plain, output), count)
    return None if at is None else (at, EFFECTS)


def suspected(graph: ForeignGraph, plain: GeneratorInputs, output: str) -> tuple[int, int] | None:
    """Return place and number of values at an end of the latents that change samples far more than the others.

    None: there are none, or the network is too large to look.
    """
    most = _MOST_LATENTS if graph.tries >= BATCH else _MOST_OF_LARGE
    if plain.takes_labels or plain.values.prior.dim > most or graph.rows < BATCH:
        return None
    effects = _effects(graph, plain, output)
    width = len(effects)
    ordered = np.sort(effects)[::-1]
    steps = ordered[: width // 2] / np.maximum(ordered[1 : width // 2 + 1], 1e-12)
    count = int(np.argmax(steps)) + 1 if len(steps) else 0
    if count < _FEWEST or steps[count - 1] < _MUCH_STRONGER:
        return None
    at = strongest(effects, count)
    return (at, count) if at in (0, width - count) else None


def strongest(effects: npt.NDArray[np.float64], count: int) -> int | None:
    """Return the place of the `count` strongest effects, if they lie side by side and stand out from the others."""
    if not 1 < count < len(effects):
        return None
    order = np.argsort(-effects)
    top = np.sort(order[:count])
    if top[-1] - top[0] != count - 1 or effects[top].min() < _STRONGER * effects[order[count]]:
        return None
    return int(top[0])


def _effects(graph: ForeignGraph, plain: GeneratorInputs, output: str) -> npt.NDArray[np.float64]:
    """Return how much samples change if one value of the latents is 1 in place of 0, [Z].

    A network that learned with labels of 0 and 1 depends on these values far more than on one of many normal ones.
    """

    def some(count: int) -> Arrays:
        return plain.encode(plain.values.draw(count, torch.Generator().manual_seed(0)), None)

    graph.learn_batching(some, output)
    width = plain.values.prior.dim
    effects = np.zeros(width)
    bases = 2 if graph.tries >= BATCH else 1  # of large samples
    for base in plain.values.draw(bases, torch.Generator().manual_seed(1)):
        for start in range(0, width, max(graph.rows, 1)):
            at = torch.arange(start, min(start + max(graph.rows, 1), width))
            results = []
            for value in (0.0, 1.0):
                latents = base.repeat(len(at), 1)
                latents[torch.arange(len(at)), at] = value
                (raw,) = graph.run(plain.encode(latents, None), [output])
                results.append(raw.astype(np.float64).reshape(len(at), -1))
            effects[at.numpy()] += np.abs(results[1] - results[0]).mean(axis=1)
    return effects


def _pieces(model: onnx.ModelProto, latents: TensorInfo) -> list[tuple[int, int]]:
    """Return the starts and stops of the pieces that a graph's Slice and Split nodes take of its latents."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    same, pieces = {latents.name}, []
    width = latents.size or 0
    for node in model.graph.node:
        if node.op_type == "Constant":
            found = (numpy_helper.to_array(item.t) for item in node.attribute if item.name == "value")
            constants.update((node.output[0], values) for values in found)
        if not node.input or node.input[0] not in same:
            continue
        attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        given = [constants.get(name) for name in node.input[1:]]
        if node.op_type in MOVING:
            same.add(node.output[0])
        elif node.op_type == "Slice":
            bounds = given if len(node.input) > 1 else [attributes.get(name) for name in ("starts", "ends", "axes")]
            known = [list(np.ravel(item)) for item in bounds[:3] if item is not None]
            if len(known) == 3 and known[2] in ([1], [-1]):
                pieces.append(slice(int(known[0][0]), int(known[1][0])).indices(width)[:2])
        elif node.op_type == "Split" and attributes.get("axis", 0) in (1, -1):
            sizes = given[0] if given else attributes.get("split")
            if sizes is not None:
                ends = np.cumsum(np.ravel(sizes)).tolist()
                pieces += list(zip([0, *ends], ends, strict=False))
    return pieces
