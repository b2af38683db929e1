"""Finds out which input and output of a foreign graph is what. N = batch, Z = latent, K = labels, H, W, C = image.

By names where they are given or are the package's own, else by types and shapes where these leave one choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ganserve_export.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ganserve_export.from_onnx.onnx_files import Port, Source


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelPort:
    """An input for labels."""

    port: Port
    form: Literal["index", "one-hot"]
    """index: one integer a sample; one-hot: K values a sample, of which the label's is 1."""


def find_latents(source: Source, name: str | None, label_count: int, labels_name: str | None) -> Port:
    """The input for latents: named, called "latents", or the only one of floats that isn't for one-hot labels."""
    port = _by_name(source, source.inputs, name, "latents", "--latents")
    if port is None:
        floats = [item for item in source.inputs if item.is_float and item.name != labels_name]
        if len(floats) > 1 and label_count and not any(item.is_integer for item in source.inputs):
            others = [item for item in floats if not _may_be_one_hot(item, label_count)]
            floats = others if len(others) == 1 else floats
        hint = "" if label_count else " (and what the labels are with --labels, if one is for labels)"
        port = _only(source, floats, source.inputs, "latents", "--latents", hint=hint)
    _check_batch(source, port)
    if not port.is_float or port.size is None or sum(extent != 1 for extent in port.shape[1:]) > 1:
        raise ExportError(
            f"the {source.name} takes latents as {port}; expected floats [N, Z] with a fixed Z, or [N, Z, 1, 1]. "
            "Export it with its mapping from such latents inside"
        )
    return port


def find_labels(
    source: Source, name: str | None, taken: Port, label_count: int, *, required: bool, flag: str
) -> LabelPort | None:
    """The input for labels beside the one that is taken; None: there is none, and none is required.

    Raises:
        ExportError: There is one although the model has no labels, there is none where one is required, or there are
            other inputs, too.
    """
    others = [item for item in source.inputs if item.name != taken.name]
    if not label_count:
        if others or name is not None:
            raise ExportError(
                f"the {source.name} takes {_list(others) or name} beside {taken}: if these are labels, name them with "
                "--labels; other inputs cannot be served: make them constants of the graph"
            )
        return None
    port = _by_name(source, source.inputs, name, "labels", flag)
    if port is None:
        candidates = [item for item in others if item.is_integer] or [
            item for item in others if _may_be_one_hot(item, label_count)
        ]
        if not candidates:
            if required or others:
                raise ExportError(
                    f"the {source.name} has no input for {label_count} labels (integers [N] or [N, 1], or one-hot "
                    f"[N, {label_count}]) beside {taken}: it takes {_list(others) or 'nothing else'}. "
                    + ("Leave --labels out, or list as many labels as it takes" if required else "Export it without")
                )
            return None
        port = _only(source, candidates, others, "labels", flag)
    surplus = [item for item in others if item.name != port.name]
    if surplus:
        raise ExportError(
            f"the {source.name} takes {_list(surplus)} beside {taken} and {port}: other inputs, such as noise, cannot "
            "be served: make them constants of the graph, or part of the latents"
        )
    _check_batch(source, port)
    if port.is_integer and port.size == 1:
        return LabelPort(port=port, form="index")
    if (port.is_integer or port.is_float) and port.size == label_count and label_count > 1:
        return LabelPort(port=port, form="one-hot")
    raise ExportError(
        f"the {source.name} takes labels as {port}; expected integers [N] or [N, 1], or one-hot [N, {label_count}] for "
        f"the {label_count} labels of --labels"
    )


def find_samples_input(source: Source, name: str | None, sample_shape: tuple[int, ...]) -> tuple[Port, Layout]:
    """The critic's input for samples [H, W, C] or [D], and its layout: named, called "samples", or the only one."""
    port = _by_name(source, source.inputs, name, "samples", "--critic-samples")
    if port is None:
        fitting = [item for item in source.inputs if _layouts(item, sample_shape)]
        port = _only(source, fitting, source.inputs, f"samples of shape {list(sample_shape)}", "--critic-samples")
    _check_batch(source, port)
    layouts = _layouts(port, sample_shape)
    if not layouts:
        expected = "[N, C, H, W] or [N, H, W, C]" if len(sample_shape) == 3 else "floats [N, D]"
        raise ExportError(
            f"the {source.name} takes samples as {port}; expected {expected} for the generator's samples of shape "
            f"{list(sample_shape)}"
        )
    return port, layouts


Layout = frozenset[Literal["nchw", "nhwc", "vector"]]
"""The layouts that a declared shape allows."""


def find_output(source: Source, name: str | None, own_name: str, flag: str, suited: Sequence[Port]) -> Port:
    """An output: named, called as in packages, the only one, or the only suited one."""
    port = _by_name(source, source.outputs, name, own_name, flag)
    if port is not None:
        return port
    if len(source.outputs) == 1:
        return source.outputs[0]
    return _only(source, suited, source.outputs, own_name, flag, kind="output")


def _layouts(port: Port, sample_shape: tuple[int, ...]) -> Layout:
    found: set[Literal["nchw", "nhwc", "vector"]] = set()
    if len(sample_shape) == 1:
        if port.is_float and _fits(port, sample_shape):
            found.add("vector")
    elif port.is_float or port.element == "uint8":
        height, width, channels = sample_shape
        if _fits(port, (channels, height, width)):
            found.add("nchw")
        if _fits(port, (height, width, channels)):
            found.add("nhwc")
    return frozenset(found)


def _fits(port: Port, shape: tuple[int, ...]) -> bool:
    """Whether a declared shape allows [N, *shape]; open extents allow anything."""
    return len(port.shape) == 1 + len(shape) and all(
        not isinstance(extent, int) or extent == wanted for extent, wanted in zip(port.shape[1:], shape, strict=True)
    )


def _may_be_one_hot(port: Port, label_count: int) -> bool:
    return label_count > 1 and port.size == label_count and (port.is_float or port.is_integer)


def _by_name(source: Source, ports: Sequence[Port], name: str | None, own_name: str, flag: str) -> Port | None:
    found = [port for port in ports if port.name == (name or own_name)]
    if name is not None and not found:
        raise ExportError(f"{flag}: the {source.name} has no {name!r}; it has {_list(ports)}")
    return found[0] if found else None


def _only(
    source: Source,
    candidates: Sequence[Port],
    ports: Sequence[Port],
    what: str,
    flag: str,
    *,
    kind: str = "input",
    hint: str = "",
) -> Port:
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise ExportError(f"the {source.name} has no {kind} that could be its {what}: it has {_list(ports) or 'none'}")
    raise ExportError(
        f"the {source.name} has {len(candidates)} {kind}s that could be its {what}: {_list(candidates)}. Say which: "
        f"{flag} NAME{hint}"
    )


def _check_batch(source: Source, port: Port) -> None:
    if not port.shape:
        raise ExportError(f"the {source.name} declares no shape with a batch axis for {port.name} ({port.element})")
    if isinstance(port.shape[0], int):
        raise ExportError(
            f"the {source.name} is fixed to batches of {port.shape[0]} ({port}): export it again with a dynamic first "
            "axis of every input (torch.onnx.export: dynamic_shapes, or dynamic_axes of older versions; tf2onnx: None "
            "in the signature)"
        )


def _list(ports: Sequence[Port]) -> str:
    return ", ".join(map(str, ports))
