"""Read a few facts from an ONNX file: its format, external weights, opset, precision of the weights.

If a session is made from a file's bytes, onnxruntime (1.31) looks for external weights in the working directory, which
is outside the package and not covered by digests. Reading these few fields does not need the package onnx.
"""

import contextlib
from collections.abc import Iterator
from typing import Literal

Precision = Literal["float32", "float16", "bfloat16"]

# For each message of onnx.proto, the fields that can contain tensors, and their messages.
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
_OPSET_IMPORT, _GRAPH = 8, 7  # of a model
_DOMAIN, _VERSION = 1, 2  # of an opset import
_INITIALIZER = 5  # of a graph
_DIMS, _DATA_TYPE, _EXTERNAL_DATA = 1, 2, 13  # of a tensor
_PRECISIONS: dict[int, Precision] = {1: "float32", 10: "float16", 16: "bfloat16"}  # tensors' data types
# Wire types of protobuf. Groups begin and end with a mark; their content follows as fields.
_VARINT, _FIXED64, _BYTES, _GROUP_START, _GROUP_END, _FIXED32 = range(6)
_FIXED_LENGTHS = {_FIXED64: 8, _FIXED32: 4, _GROUP_START: 0, _GROUP_END: 0}
_MOST_VARINT_BYTES = 10
_ORT_IDENTIFIER = slice(4, 8), b"ORTM"  # of onnxruntime's own format, a flatbuffer, whose content we cannot check
_MOST_VALUES = 2**63  # of one tensor


def is_onnx(content: bytes) -> bool:
    """Return True if a file can be an ONNX model; False for onnxruntime's own format, which it would load, too."""
    place, identifier = _ORT_IDENTIFIER
    if content[place] == identifier:
        return False
    try:
        return all(True for _ in _fields(content, 0, len(content)))
    except ValueError:
        return False


def has_weights_elsewhere(content: bytes) -> bool:
    """Return True if an ONNX file keeps a tensor in another file; False if it cannot be parsed."""
    waiting = [("Model", 0, len(content))]
    with contextlib.suppress(ValueError):
        while waiting:
            kind, start, end = waiting.pop()
            for field, at, past in _messages(content, start, end):
                if kind == "Tensor" and field == _EXTERNAL_DATA:
                    return True
                if (inner := _INSIDE[kind].get(field)) is not None:
                    waiting.append((inner, at, past))
    return False


def opset_of(content: bytes) -> int | None:
    """Return the version of ONNX's operators that a file uses; None if it gives none or cannot be parsed."""
    with contextlib.suppress(ValueError):
        for field, at, past in _messages(content, 0, len(content)):
            if field != _OPSET_IMPORT:
                continue
            domain, version = b"", 0
            for number, value, start, end in _fields(content, at, past):
                if number == _DOMAIN:
                    domain = content[start:end]
                elif number == _VERSION:
                    version = value
            if domain in (b"", b"ai.onnx"):
                return version
    return None


def precision_of(content: bytes) -> Precision | None:
    """Return the precision of most of a file's weights; None if it has none or cannot be parsed."""
    sizes: dict[Precision, int] = {}
    try:
        for field, at, past in _messages(content, 0, len(content)):
            if field != _GRAPH:
                continue
            for inner, start, end in _messages(content, at, past):
                if inner == _INITIALIZER:
                    data_type, size = _tensor(content, start, end)
                    if data_type in _PRECISIONS:
                        precision = _PRECISIONS[data_type]
                        sizes[precision] = sizes.get(precision, 0) + size
    except ValueError:
        return None
    return max(sizes, key=sizes.__getitem__, default=None)


def _tensor(content: bytes, at: int, end: int) -> tuple[int, int]:
    """Return a tensor's data type and number of values."""
    data_type, dims = 0, []
    for field, value, start, past in _fields(content, at, end):
        if field == _DATA_TYPE:
            data_type = value
        elif field == _DIMS and start == past:
            dims.append(value)
        elif field == _DIMS:  # packed
            while start < past:
                value, start = _varint(content, start, past)
                dims.append(value)
    size = 1
    for extent in dims:
        size *= extent
        if size > _MOST_VALUES:  # else the product of 60,000 extents would take seconds
            raise ValueError(size)
    return data_type, size


def _messages(content: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the number of each length-delimited field, and the start and end of its content."""
    for field, value, start, past in _fields(content, at, end):
        if value < 0:
            yield field, start, past


def _fields(content: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield each field's number, its value (-1 unless it is a varint), and the start and end of its content.

    A varint has no content. Numbers of fixed length and the marks of groups are skipped. Malformed content raises
    ValueError.
    """
    while at < end:
        tag, at = _varint(content, at, end)
        number, wire_type = (tag & 0xFFFFFFFF) >> 3, tag & 7  # as protobuf's parsers do
        if wire_type == _VARINT:
            value, at = _varint(content, at, end)
            yield number, value, at, at
            continue
        if wire_type == _BYTES:
            length, at = _varint(content, at, end)
        elif wire_type in _FIXED_LENGTHS:
            length = _FIXED_LENGTHS[wire_type]
        else:
            raise ValueError(wire_type)
        if at + length > end:
            raise ValueError(length)
        if wire_type == _BYTES:
            yield number, -1, at, at + length
        at += length


def _varint(content: bytes, at: int, end: int) -> tuple[int, int]:
    """Return a number and the position after it."""
    value = 0
    for index in range(_MOST_VARINT_BYTES):
        if at + index >= end:
            break
        byte = content[at + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise ValueError(value)
