"""Write small ONNX graphs without the package onnx, which the extra `server` does not install.

ONNX files are protocol buffers. The numbers below are the fields' numbers in onnx.proto (IR version 10).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

OPSET = 20
FLOAT, UINT8, INT64 = 1, 2, 7
_IR_VERSION = 10
_TYPES = {"float32": FLOAT, "int64": INT64}
_VARINT, _LENGTH = 0, 2
_INT_ATTRIBUTE = 2


def node(operation: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: int) -> bytes:
    """Return a NodeProto."""
    parts = [_field(1, name) for name in inputs] + [_field(2, name) for name in outputs] + [_field(4, operation)]
    for name, value in attributes.items():
        parts.append(_field(5, _field(1, name) + _field(3, value) + _field(20, _INT_ATTRIBUTE)))
    return b"".join(parts)


def tensor_type(name: str, element: int, shape: Sequence[int | str]) -> bytes:
    """Return a ValueInfoProto; a str in its shape is a size that is known only at run time."""
    sizes = b"".join(_field(1, _field(2 if isinstance(size, str) else 1, size)) for size in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, element) + _field(2, sizes)))


def model(
    name: str,
    nodes: Sequence[bytes],
    inputs: Sequence[bytes],
    outputs: Sequence[bytes],
    constants: Mapping[str, NDArray[Any]],
) -> bytes:
    """Return a ModelProto: the file's content."""
    graph = b"".join(_field(1, each) for each in nodes) + _field(2, name)
    graph += b"".join(_field(5, _constant(key, value)) for key, value in constants.items())
    graph += b"".join(_field(11, each) for each in inputs) + b"".join(_field(12, each) for each in outputs)
    opset = _field(1, "") + _field(2, OPSET)
    return _field(1, _IR_VERSION) + _field(2, "ganserve.testing") + _field(7, graph) + _field(8, opset)


def _constant(name: str, value: NDArray[Any]) -> bytes:
    sizes = b"".join(_field(1, size) for size in value.shape)
    little = value.astype(value.dtype.newbyteorder("<"))
    return sizes + _field(2, _TYPES[value.dtype.name]) + _field(8, name) + _field(9, little.tobytes())


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(value)
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | _LENGTH) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Encode an int from 0 on, seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
