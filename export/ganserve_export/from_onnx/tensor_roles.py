"""Find the role of each input and output of a foreign graph. N = batch, Z = latent, K = labels, H, W, C = image.

A name decides, if the user gives one or the graph uses a package's own name. Otherwise types and shapes decide, if they
leave one choice.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from onnx import numpy_helper

from ganserve_export.errors import ExportError
from ganserve_export.from_onnx.foreign_graph import ForeignGraph, TensorInfo
from ganserve_export.from_onnx.questions import UnclearError

LayoutName = Literal["nchw", "nhwc", "vector", "flat"]
_OTHER_INPUTS = (
    "other inputs are --truncation-input NAME, --control NAME=LOW..HIGH, --constant NAME=VALUE, --noise-input NAME, or "
    "more of --latents NAME,NAME"
)
_LABEL_WORD = re.compile(r"label|class|one_?hot|(^|_)y$", re.IGNORECASE)
_LATENT_NAME = re.compile(r"(z|latent|noise|random)s?($|[_.\d])", re.IGNORECASE)
_VIDEO_AXES = 5
_KEEPING_LABELS = {"Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand"}
Layouts = frozenset[LayoutName]
"""The layouts that a declared shape allows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelInput:
    """An input for labels."""

    tensor: TensorInfo
    form: Literal["index", "one-hot", "planes"]
    """index: one integer per sample; one-hot: K values per sample, 1 for the label and 0 for the others; planes: these
    values as constant channels of an image, [N, K, H, W] or [N, H, W, K]."""

    def plane_shape(self, label_count: int) -> tuple[int, ...]:
        """Return the shape of one sample's K values, which planes repeat: [K, 1, 1] or [1, 1, K]."""
        first = self.tensor.extents[0] == label_count
        return (label_count, 1, 1) if first else (1, 1, label_count)


def find_latents(
    graph: ForeignGraph,
    name: str | None,
    label_count: int,
    labels_name: str | None,
    taken: Sequence[str],
    *,
    labels_known: bool,
) -> tuple[TensorInfo, ...]:
    """Return the inputs for latents: named, called "latents", or the only float input without another role.

    `taken` are the names of inputs that have another role; `labels_known` says that labels have a place.
    """
    if name is not None and "," in name and all(item.name != name for item in graph.inputs):
        joined = tuple(_named(graph, graph.inputs, each.strip(), "", "--latents")[0] for each in name.split(","))
        for tensor in joined:
            _check_latents(graph, tensor, named=True)
        return joined
    free = [item for item in graph.inputs if item.name not in taken]
    floats = _named(graph, graph.inputs, name, "latents", "--latents")
    if not floats:
        floats = [item for item in free if item.is_float and item.name != labels_name]
        # A single value, such as a strength, is asked about as a further input.
        floats = [item for item in floats if item.size != 1] or floats
        if len(floats) > 1 and label_count and not any(item.is_integer for item in free):
            others = [item for item in floats if not _may_be_one_hot(item, label_count)]
            floats = others if len(others) == 1 else floats
            if not others or len(others) == len(floats):
                _check_label_count(graph, floats, label_count)
        if len(floats) > 1:
            # Images and sequences cannot be latents, so they leave the choice to the others.
            flat = [item for item in floats if not _is_spatial(item)]
            floats = flat if len(flat) == 1 else floats
            if len(flat) == len(floats) > 1 and all(item.size and _LATENT_NAME.match(item.name) for item in floats):
                return tuple(floats)
    tensor = _only(graph, floats, graph.inputs, "latents", "--latents")
    _check_latents(graph, tensor, named=name is not None)
    if name is None and not labels_known and _LABEL_WORD.search(tensor.name):
        raise UnclearError(
            f"the {graph.name} takes {tensor}, by its name a label: name the labels with --labels, or say that these "
            f"are random latents with --latents {tensor.name}"
        )
    return (tensor,)


def _check_label_count(graph: ForeignGraph, floats: Sequence[TensorInfo], label_count: int) -> None:
    """Refuse a number of labels that the input called labels contradicts."""
    for tensor in floats:
        if tensor.size and _LABEL_WORD.search(tensor.name) and not _is_spatial(tensor):
            raise UnclearError(
                f"the {graph.name} takes {tensor}, by its name {tensor.size} labels, and --labels names {label_count}: "
                f"name all {tensor.size}, in the order of their indices"
            )


def _is_spatial(tensor: TensorInfo) -> bool:
    return sum(extent != 1 for extent in tensor.shape[1:]) > 1


def _check_latents(graph: ForeignGraph, tensor: TensorInfo, *, named: bool) -> None:
    _check_batch(graph, tensor)
    if tensor.is_float and len(tensor.shape) == 4 and _is_picture(tensor) and not named:
        raise graph.error(
            f"takes images ({tensor}), so it translates images: such networks cannot be served yet, only ones that "
            "make samples from random latents. If these are latents, say so with --latents NAME"
        )
    spatial = _is_spatial(tensor) and not named
    if not tensor.is_float or tensor.size is None or spatial:
        fix = "Export it with its mapping from such latents inside"
        if spatial:
            fix = "Networks that translate maps, spectrograms or sequences cannot be served yet"
        if spatial and tensor.size is not None:
            fix += f"; if all its values are random latents, add --latents {tensor.name}"
        raise graph.error(f"takes latents as {tensor}; expected floats [N, Z] with a fixed Z, or [N, Z, 1, 1]. {fix}")


def _is_picture(tensor: TensorInfo) -> bool:
    """Say whether an input of four axes has two long ones beside one of at most four, or open ones."""
    extents = tensor.shape[1:]
    sides = [extent for extent in extents if not isinstance(extent, int) or extent > 4]
    return len(sides) >= 2 and any(isinstance(extent, int) and extent <= 4 for extent in extents)


def find_labels(
    graph: ForeignGraph, name: str | None, taken: Sequence[TensorInfo], label_count: int, *, required: bool, flag: str
) -> LabelInput | None:
    """Return the input for labels beside the inputs `taken`, or None if there is none and none is required.

    Raises:
        ExportError: The graph takes labels but the model has none, a required input is missing, or the graph has
            further inputs.
    """
    beside = _list([item for item in taken if all(item.name != noise.name for noise in graph.noise)])
    others = [item for item in graph.inputs if all(item.name != other.name for other in taken)]
    if not label_count:
        if others or name is not None:
            rows = label_rows(graph, others[0].name) if others else None
            how_many = f" ({rows} of them, by the graph)" if rows else ""
            raise UnclearError(
                f"the {graph.name} takes {_list(others) or name} beside {beside}: if these are labels, name them with "
                f"--labels{how_many}; {_OTHER_INPUTS}"
            )
        return None
    candidates = _named(graph, graph.inputs, name, "labels", flag)
    if not candidates:
        candidates = [item for item in others if item.is_integer]
        candidates = candidates or [item for item in others if _may_be_one_hot(item, label_count)]
        candidates = candidates or [item for item in others if _may_be_planes(item, label_count)]
        if not candidates:
            if required or others:
                raise graph.error(
                    f"has no input for {label_count} labels (integers [N] or [N, 1], or one-hot "
                    f"[N, {label_count}]) beside {beside}: it takes {_list(others) or 'nothing else'}. "
                    + ("Leave --labels out, or list as many labels as it takes" if required else "Export it without")
                )
            return None
    tensor = _only(graph, candidates, others, "labels", flag)
    surplus = [item for item in others if item.name != tensor.name]
    if surplus:
        raise graph.error(f"takes {_list(surplus)} beside {beside} and {tensor}: {_OTHER_INPUTS}")
    _check_batch(graph, tensor)
    if tensor.is_integer and tensor.size == 1:
        rows = label_rows(graph, tensor.name)
        if rows is not None and rows != label_count:
            raise graph.error(
                f"has a table of {rows} labels for {tensor}, and "
                f"--labels names {label_count}: name all {rows}, in the order of their indices"
            )
        return LabelInput(tensor=tensor, form="index")
    if (tensor.is_integer or tensor.is_float) and tensor.size == label_count and label_count > 1:
        return LabelInput(tensor=tensor, form="one-hot")
    if _may_be_planes(tensor, label_count):
        return LabelInput(tensor=tensor, form="planes")
    raise graph.error(
        f"takes labels as {tensor}; expected integers [N] or [N, 1], or one-hot [N, {label_count}] or "
        f"[N, {label_count}, H, W], for the {label_count} labels of --labels"
    )


def find_samples_input(
    graph: ForeignGraph, name: str | None, sample_shape: tuple[int, ...]
) -> tuple[TensorInfo, Layouts]:
    """Return the critic's input for samples [H, W, C] or [D], and its possible layouts."""
    fitting = _named(graph, graph.inputs, name, "samples", "--critic-samples") or [
        item for item in graph.inputs if _layouts(item, sample_shape)
    ]
    videos = [item for item in graph.inputs if len(item.shape) == _VIDEO_AXES]
    if videos and not fitting:
        raise graph.error(
            f"takes videos ({videos[0]}), and the package has images {list(sample_shape)}: videos cannot be scored "
            "yet. Package the generator alone"
        )
    tensor = _only(graph, fitting, graph.inputs, f"samples of shape {list(sample_shape)}", "--critic-samples")
    _check_batch(graph, tensor)
    layouts = _layouts(tensor, sample_shape)
    if not layouts:
        expected = "[N, C, H, W] or [N, H, W, C]" if len(sample_shape) == 3 else "floats [N, D]"
        raise graph.error(
            f"takes samples as {tensor}; expected {expected} for the generator's samples of shape {list(sample_shape)}"
        )
    return tensor, layouts


def find_output(
    graph: ForeignGraph, name: str | None, own_name: str, flag: str, suited: Sequence[TensorInfo]
) -> TensorInfo:
    """Return an output: named, called as in packages, the only one, or the only suitable one."""
    found = _named(graph, graph.outputs, name, own_name, flag)
    return _only(graph, found or (suited if len(graph.outputs) > 1 else graph.outputs), graph.outputs, own_name, flag)


def of_full_size(pictures: Sequence[TensorInfo]) -> list[TensorInfo]:
    """Return the largest of outputs that are one picture at several sizes (MSG-GAN); all of them if they are not."""
    sides = [(tensor.extents[1:3] if tensor.extents[:1] < (5,) else tensor.extents[:2]) for tensor in pictures]
    fixed = all(len(tensor.shape) == 4 and tensor.size is not None for tensor in pictures)
    if not fixed or len(pictures) < 2 or len(set(sides)) < len(sides):
        return list(pictures)
    height, width = largest = max(sides)
    channels = {(tensor.size or 0) // (rows * columns) for tensor, (rows, columns) in zip(pictures, sides, strict=True)}
    if len(channels) > 1 or any(height % rows or height * columns != width * rows for rows, columns in sides):
        return list(pictures)
    return [pictures[sides.index(largest)]]


def label_rows(graph: ForeignGraph, name: str) -> int | None:
    """Return how many labels a graph knows, by the table or one-hot node that an input of indices leads to."""
    weights = {tensor.name: tensor for tensor in graph.model.graph.initializer}
    reached, found = {name}, set()
    for node in graph.model.graph.node:
        if not reached & set(node.input):
            continue
        if node.op_type == "Gather" and node.input[1] in reached:
            table = weights.get(node.input[0])
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
            if table is not None and len(table.dims) == 2 and axis == 0:
                found.add(int(table.dims[0]))
        elif node.op_type == "OneHot" and node.input[0] in reached and node.input[1] in weights:
            found.add(int(numpy_helper.to_array(weights[node.input[1]]).reshape(-1)[0]))
        elif node.op_type in _KEEPING_LABELS and node.input[0] in reached:
            reached.update(node.output)
    return min(found) if found else None


def find_named_output(graph: ForeignGraph, name: str | None, own_name: str, flag: str) -> str | None:
    """Return the name of the output that is named, called as in packages, or the only one; None: it is another."""
    found = _named(graph, graph.outputs, name, own_name, flag)
    if found or len(graph.outputs) == 1:
        return (found or graph.outputs)[0].name
    return None


def _layouts(tensor: TensorInfo, sample_shape: tuple[int, ...]) -> Layouts:
    if len(sample_shape) == 1:
        return frozenset({"vector"} if tensor.is_float and _fits(tensor, sample_shape) else ())
    *side_lengths, channels = sample_shape
    shapes: dict[LayoutName, tuple[int, ...]] = {"nchw": (channels, *side_lengths), "nhwc": sample_shape}
    is_image = tensor.is_float or tensor.element == "uint8"
    if tensor.is_float and _fits(tensor, (math.prod(sample_shape),)):
        return frozenset({"flat"})  # the values of an image in one row
    return frozenset(name for name, shape in shapes.items() if is_image and _fits(tensor, shape))


def _fits(tensor: TensorInfo, shape: tuple[int, ...]) -> bool:
    """Say whether a declared shape allows [N, *shape]; an open axis allows any extent."""
    return len(tensor.shape) == 1 + len(shape) and all(
        not isinstance(extent, int) or extent == wanted for extent, wanted in zip(tensor.shape[1:], shape, strict=True)
    )


def _may_be_one_hot(tensor: TensorInfo, label_count: int) -> bool:
    return label_count > 1 and tensor.size == label_count and (tensor.is_float or tensor.is_integer)


def _may_be_planes(tensor: TensorInfo, label_count: int) -> bool:
    is_image = tensor.is_float and len(tensor.shape) == 4 and tensor.size is not None
    return is_image and label_count > 1 and label_count in (tensor.extents[0], tensor.extents[-1])


def _named(
    graph: ForeignGraph, tensors: Sequence[TensorInfo], name: str | None, own_name: str, flag: str
) -> list[TensorInfo]:
    """Return the tensor with the user's name, or with the name that packages use, if the graph has one."""
    found = [tensor for tensor in tensors if tensor.name == (name or own_name)]
    if name is not None and not found:
        raise ExportError(f"{flag} {name}: the {graph.name} has no such tensor. It has {_list(tensors)}")
    return found


def _only(
    graph: ForeignGraph, candidates: Sequence[TensorInfo], tensors: Sequence[TensorInfo], role: str, flag: str
) -> TensorInfo:
    """Return the only candidate for a role among the graph's inputs or outputs."""
    if len(candidates) == 1:
        return candidates[0]
    kind = "output" if tensors is graph.outputs else "input"
    if not candidates:
        raise graph.error(f"has no {kind} that could be its {role}: it has {_list(tensors) or 'none'}")
    hint = ", or NAME,NAME to join several (name labels with --labels, if one is for labels)"
    hint = hint if flag == "--latents" else ""
    raise UnclearError(
        f"the {graph.name} has {len(candidates)} {kind}s that could be its {role}: {_list(candidates)}. Say which: "
        f"{flag} NAME{hint}"
    )


def _check_batch(graph: ForeignGraph, tensor: TensorInfo) -> None:
    if not tensor.shape:
        raise graph.error(
            f"declares no shape with a batch axis for {tensor.name} ({tensor.element}). Declare it, [N, …]"
        )


def _list(tensors: Sequence[TensorInfo]) -> str:
    return ", ".join(map(str, tensors))
