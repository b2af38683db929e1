"""Finds weights that an ONNX file keeps in other files.

A session made of a file's bytes lets onnxruntime (1.31) look for such weights in the process's working directory, which
is outside the package, and no digest covers them. Reading the few fields that say so needs none of the package onnx.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Messages of onnx.proto by the number of the field that has them, as far as tensors can lie in them.
_INSIDE: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "TrainingInfo", 25: "Function"},
    "TrainingInfo": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}
_EXTERNAL_DATA = 13  # of a tensor
# Wire types of protobuf; the two of groups are marks, whose content follows as fields.
_VARINT, _FIXED64, _BYTES, _GROUP_START, _GROUP_END, _FIXED32 = range(6)
_FIXED_LENGTHS = {_FIXED64: 8, _FIXED32: 4, _GROUP_START: 0, _GROUP_END: 0}
_MOST_VARINT_BYTES = 10


def has_weights_elsewhere(content: bytes) -> bool:
    """Tells whether a tensor of an ONNX file is kept in another file; False for what nobody can parse."""
    waiting = [("Model", 0, len(content))]
    try:
        while waiting:
            kind, start, end = waiting.pop()
            for field, at, past in _messages(content, start, end):
                if kind == "Tensor" and field == _EXTERNAL_DATA:
                    return True
                if (inner := _INSIDE[kind].get(field)) is not None:
                    waiting.append((inner, at, past))
    except ValueError:
        return False
    return False


def _messages(content: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yields the number of each field that has a length, and where its content begins and ends.

    Raises:
        ValueError: The content is malformed.
    """
    while at < end:
        tag, at = _varint(content, at, end)
        wire_type, length = tag & 7, 0
        if wire_type in (_VARINT, _BYTES):
            value, at = _varint(content, at, end)
            length = value if wire_type == _BYTES else 0
        elif wire_type in _FIXED_LENGTHS:
            length = _FIXED_LENGTHS[wire_type]
        else:
            raise ValueError(wire_type)
        if at + length > end:
            raise ValueError(length)
        if wire_type == _BYTES:
            yield (tag & 0xFFFFFFFF) >> 3, at, at + length  # parsers keep 32 bits of a tag
        at += length


def _varint(content: bytes, at: int, end: int) -> tuple[int, int]:
    """Returns a number and where it ends."""
    value = 0
    for index in range(_MOST_VARINT_BYTES):
        if at + index >= end:
            break
        byte = content[at + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise ValueError(value)
