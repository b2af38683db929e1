"""Find the role of each input and output of a foreign graph. N = batch, Z = latent, K = labels, H, W, C = image.

A name decides, if the user gives one or the graph uses a package's own name. Otherwise types and shapes decide, if they
leave one choice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ganserve_export.errors import ExportError
from ganserve_export.from_onnx.foreign_graph import ForeignGraph, TensorInfo

LayoutName = Literal["nchw", "nhwc", "vector"]
Layouts = frozenset[LayoutName]
"""The layouts that a declared shape allows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelInput:
    """An input for labels."""

    tensor: TensorInfo
    form: Literal["index", "one-hot"]
    """index: one integer per sample; one-hot: K values per sample, 1 for the label and 0 for the others."""


def find_latents(graph: ForeignGraph, name: str | None, label_count: int, labels_name: str | None) -> TensorInfo:
    """Return the input for latents: named, called "latents", or the only float input that is not for one-hot labels."""
    floats = _named(graph, graph.inputs, name, "latents", "--latents")
    if not floats:
        floats = [item for item in graph.inputs if item.is_float and item.name != labels_name]
        if len(floats) > 1 and label_count and not any(item.is_integer for item in graph.inputs):
            others = [item for item in floats if not _may_be_one_hot(item, label_count)]
            floats = others if len(others) == 1 else floats
    tensor = _only(graph, floats, graph.inputs, "latents", "--latents")
    _check_batch(graph, tensor)
    if not tensor.is_float or tensor.size is None or sum(extent != 1 for extent in tensor.shape[1:]) > 1:
        raise graph.error(
            f"takes latents as {tensor}; expected floats [N, Z] with a fixed Z, or [N, Z, 1, 1]. "
            "Export it with its mapping from such latents inside"
        )
    return tensor


def find_labels(
    graph: ForeignGraph, name: str | None, taken: TensorInfo, label_count: int, *, required: bool, flag: str
) -> LabelInput | None:
    """Return the input for labels beside the input `taken`, or None if there is none and none is required.

    Raises:
        ExportError: The graph takes labels but the model has none, a required input is missing, or the graph has
            further inputs.
    """
    others = [item for item in graph.inputs if item.name != taken.name]
    if not label_count:
        if others or name is not None:
            raise graph.error(
                f"takes {_list(others) or name} beside {taken}: if these are labels, name them with "
                "--labels; other inputs cannot be served: make them constants of the graph"
            )
        return None
    candidates = _named(graph, graph.inputs, name, "labels", flag)
    if not candidates:
        candidates = [item for item in others if item.is_integer]
        candidates = candidates or [item for item in others if _may_be_one_hot(item, label_count)]
        if not candidates:
            if required or others:
                raise graph.error(
                    f"has no input for {label_count} labels (integers [N] or [N, 1], or one-hot "
                    f"[N, {label_count}]) beside {taken}: it takes {_list(others) or 'nothing else'}. "
                    + ("Leave --labels out, or list as many labels as it takes" if required else "Export it without")
                )
            return None
    tensor = _only(graph, candidates, others, "labels", flag)
    surplus = [item for item in others if item.name != tensor.name]
    if surplus:
        raise graph.error(
            f"takes {_list(surplus)} beside {taken} and {tensor}: other inputs, such as noise, cannot "
            "be served: make them constants of the graph, or part of the latents"
        )
    _check_batch(graph, tensor)
    if tensor.is_integer and tensor.size == 1:
        return LabelInput(tensor=tensor, form="index")
    if (tensor.is_integer or tensor.is_float) and tensor.size == label_count and label_count > 1:
        return LabelInput(tensor=tensor, form="one-hot")
    raise graph.error(
        f"takes labels as {tensor}; expected integers [N] or [N, 1], or one-hot [N, {label_count}] "
        f"for the {label_count} labels of --labels"
    )


def find_samples_input(
    graph: ForeignGraph, name: str | None, sample_shape: tuple[int, ...]
) -> tuple[TensorInfo, Layouts]:
    """Return the critic's input for samples [H, W, C] or [D], and its possible layouts."""
    fitting = _named(graph, graph.inputs, name, "samples", "--critic-samples") or [
        item for item in graph.inputs if _layouts(item, sample_shape)
    ]
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


def _layouts(tensor: TensorInfo, sample_shape: tuple[int, ...]) -> Layouts:
    if len(sample_shape) == 1:
        return frozenset({"vector"} if tensor.is_float and _fits(tensor, sample_shape) else ())
    *side_lengths, channels = sample_shape
    shapes: dict[LayoutName, tuple[int, ...]] = {"nchw": (channels, *side_lengths), "nhwc": sample_shape}
    is_image = tensor.is_float or tensor.element == "uint8"
    return frozenset(name for name, shape in shapes.items() if is_image and _fits(tensor, shape))


def _fits(tensor: TensorInfo, shape: tuple[int, ...]) -> bool:
    """Say whether a declared shape allows [N, *shape]; an open axis allows any extent."""
    return len(tensor.shape) == 1 + len(shape) and all(
        not isinstance(extent, int) or extent == wanted for extent, wanted in zip(tensor.shape[1:], shape, strict=True)
    )


def _may_be_one_hot(tensor: TensorInfo, label_count: int) -> bool:
    return label_count > 1 and tensor.size == label_count and (tensor.is_float or tensor.is_integer)


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
    hint = " (or name the labels with --labels, if one is for labels)" if flag == "--latents" else ""
    raise graph.error(
        f"has {len(candidates)} {kind}s that could be its {role}: {_list(candidates)}. Say which: {flag} NAME{hint}"
    )


def _check_batch(graph: ForeignGraph, tensor: TensorInfo) -> None:
    if not tensor.shape:
        raise graph.error(f"declares no shape with a batch axis for {tensor.name} ({tensor.element})")
    if isinstance(tensor.shape[0], int):
        raise graph.error(
            f"is fixed to batches of {tensor.shape[0]} ({tensor}): export it again with a dynamic first axis of every "
            "input (torch.onnx.export: dynamic_shapes, in older versions dynamic_axes; tf2onnx: None in the signature)"
        )


def _list(tensors: Sequence[TensorInfo]) -> str:
    return ", ".join(map(str, tensors))
