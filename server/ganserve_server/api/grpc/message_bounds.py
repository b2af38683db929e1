"""Bound the fields of a message on the wire, before protobuf allocates anything for them.

Protobuf parses without releasing the GIL and takes about 100 ns and 100 bytes for a nested message or a string, which
has two bytes on the wire: unbounded, a message of 16 MiB would stop the server for a second and take a gigabyte. So
messages are first walked here, with the tables of their descriptors, and refused at the first field beyond a bound.
Fields that the protocol gains later are bounded by the defaults.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor

from ganserve_server.errors import InvalidRequestError, invalid_field

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

MOST_FIELDS = 100_000
"""Most fields of one message, those of nested messages included. Packed numbers are one field."""
MOST_ENTRIES = 1024
"""Most entries of a repeated field or map that `BOUNDS` does not name."""
MOST_INTEGERS = 2**22
"""Most packed integers of fields without a bound of their own, in one message: each takes a byte or more on the wire,
and up to eight in memory."""
MOST_TEXT_BYTES = 2**14
"""Most bytes of a string."""
BOUNDS: dict[str, int | None] = {
    "ganserve.v1.SampleRequest.label_indices": 2**20,
    "ganserve.v1.SampleRequest.label_names": 2**16,
    "ganserve.v1.ScoreRequest.label_indices": 2**20,
    "ganserve.v1.ScoreRequest.label_names": 2**16,
    "ganserve.v1.EncodedImages.files": 2**16,
    "ganserve.v1.Tensor.shape": 64,
    "inference.ModelInferRequest.inputs": 64,
    "inference.ModelInferRequest.outputs": 64,
    "inference.ModelInferRequest.raw_input_contents": 64,
    "inference.ModelInferRequest.InferInputTensor.shape": 64,
    # A tensor's numbers, packed: the message's size and MOST_INTEGERS bound them.
    **{
        f"inference.InferTensorContents.{kind}_contents": None
        for kind in ("bool", "int", "int64", "uint", "uint64", "fp32", "fp64")
    },
}
"""Most entries of repeated fields by their full names."""

# A walk of this many fields takes about 20 microseconds, and parsing them less, so that it may run on the event loop.
_QUICK_FIELDS, _QUICK_PACKED_BYTES = 64, 2**12
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MOST_DEPTH = 32
_ITEM_BYTES = {
    FieldDescriptor.TYPE_BOOL: 1,  # at least, and one in memory
    FieldDescriptor.TYPE_DOUBLE: 8,
    FieldDescriptor.TYPE_FIXED64: 8,
    FieldDescriptor.TYPE_SFIXED64: 8,
    FieldDescriptor.TYPE_FLOAT: 4,
    FieldDescriptor.TYPE_FIXED32: 4,
    FieldDescriptor.TYPE_SFIXED32: 4,
}
_MOST_VARINT_BYTES, _PART_BYTES = 10, 2**16
_CONTINUED = bytes(range(128, 256))  # all bytes of a varint but its last


class LargeMessageError(Exception):
    """The message has too many fields to walk them on the event loop."""


class MalformedMessageError(Exception):
    """The bytes are not a message."""


@dataclass(frozen=True, slots=True)
class _Field:
    """A field whose value has a length on the wire: text, bytes, a nested message, packed numbers."""

    name: str
    most: int | None
    """Most entries of a repeated field; None: any number."""
    repeated: bool
    text: bool
    packed_bytes: int | None
    """Bytes of one packed number, 0 if they vary; None for other fields."""
    message: Descriptor | None


@functools.cache
def _fields(descriptor: Descriptor) -> dict[int, _Field]:
    """Return the fields with a length, by number."""
    fields = {}
    for field in descriptor.fields:
        wordy = field.type in {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}
        message = field.message_type
        if not (wordy or message is not None or field.is_repeated):
            continue
        fields[field.number] = _Field(
            name=field.name,
            most=BOUNDS.get(field.full_name, MOST_ENTRIES),
            repeated=field.is_repeated,
            text=field.type == FieldDescriptor.TYPE_STRING,
            packed_bytes=None if wordy or message is not None else _ITEM_BYTES.get(field.type, 0),
            message=message,
        )
    return fields


def check_bounds(data: bytes, descriptor: Descriptor) -> None:
    """Check a serialised message; takes at most about 30 ms.

    Raises:
        InvalidRequestError: A field has too many entries or too much text, or there are too many fields.
        MalformedMessageError: The bytes are not a message.
    """
    try:
        _Walk(data, MOST_FIELDS, quick=False).message(0, len(data), descriptor, (), 0)
    except IndexError:
        raise MalformedMessageError from None


def check_bounds_quickly(data: bytes, descriptor: Descriptor) -> None:
    """Check a serialised message that has few fields, as `check_bounds` does; raise LargeMessageError for another."""
    try:
        _Walk(data, _QUICK_FIELDS, quick=True).message(0, len(data), descriptor, (), 0)
    except IndexError:
        raise MalformedMessageError from None


class _Walk:
    """One walk over the fields of a message."""

    __slots__ = ("_data", "_integers_left", "_left", "_quick")

    def __init__(self, data: bytes, fields: int, *, quick: bool) -> None:
        self._data = data
        self._left = fields
        self._integers_left = MOST_INTEGERS
        self._quick = quick

    def message(self, at: int, end: int, descriptor: Descriptor, path: tuple[str, ...], depth: int) -> None:
        """Walk the fields of one message; reading past the data raises IndexError."""
        data, fields = self._data, _fields(descriptor)
        entries: dict[int, int] = {}
        left = self._left
        while at < end:
            left -= 1
            if left < 0:
                self._refuse_many()
            tag = data[at]
            at += 1
            if tag >= 0x80:
                tag, at = self._varint(tag, at, 5)
            kind = tag & 7
            if kind == _LENGTH:
                length = data[at]
                at += 1
                if length >= 0x80:
                    length, at = self._varint(length, at, 5)
                stop = at + length
                if stop > end:
                    raise MalformedMessageError
                field = fields.get(tag >> 3)
                if field is not None:
                    if field.repeated:
                        self._count(field, entries, tag, at, stop, path)
                    if field.text and length > MOST_TEXT_BYTES:
                        raise invalid_field(
                            _path(path, field), f"is {length} bytes long; expected at most {MOST_TEXT_BYTES}"
                        )
                    if field.message is not None and length:
                        if depth == _MOST_DEPTH:
                            raise MalformedMessageError
                        self._left = left
                        self.message(at, stop, field.message, (*path, field.name), depth + 1)
                        left = self._left
                at = stop
            elif kind == _VARINT:
                if data[at] >= 0x80:
                    _, at = self._varint(data[at], at + 1, 10)
                else:
                    at += 1
            elif kind == _FIXED32:
                at += 4
            elif kind == _FIXED64:
                at += 8
            else:  # groups, which this protocol has none of
                raise MalformedMessageError
        if at != end:
            raise MalformedMessageError
        self._left = left

    def _count(
        self, field: _Field, entries: dict[int, int], tag: int, at: int, stop: int, path: tuple[str, ...]
    ) -> None:
        """Count the entries of a repeated field."""
        count = 1
        if field.packed_bytes is not None:
            if self._quick and stop - at > _QUICK_PACKED_BYTES:
                raise LargeMessageError
            if field.most is None:
                if not field.packed_bytes:
                    self._count_integers(field, at, stop, path)
                return
            if field.packed_bytes:
                count = (stop - at) // field.packed_bytes
            else:
                count = _varints(self._data, at, stop, field.most - entries.get(tag, 0))
        entries[tag] = count = entries.get(tag, 0) + count
        if field.most is not None and count > field.most:
            raise invalid_field(
                _path(path, field), f"has more than {field.most} entries; expected at most {field.most}"
            )

    def _count_integers(self, field: _Field, at: int, stop: int, path: tuple[str, ...]) -> None:
        self._integers_left -= _varints(self._data, at, stop, self._integers_left)
        if self._integers_left < 0:
            problem = f"makes more than {MOST_INTEGERS} integers in the message; send larger tensors in raw form"
            raise invalid_field(_path(path, field), problem)

    def _varint(self, first: int, at: int, most_bytes: int) -> tuple[int, int]:
        """Return a number whose first byte is given, and the index after it."""
        data, value, shift = self._data, first & 0x7F, 7
        while shift < 7 * most_bytes:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
        raise MalformedMessageError

    def _refuse_many(self) -> None:
        if self._quick:
            raise LargeMessageError
        raise _too_many_fields()


def _varints(data: bytes, at: int, stop: int, most: int) -> int:
    """Count packed numbers of 1 to 10 bytes, or find out that there are more than `most`.

    The GIL is held meanwhile.
    """
    if stop - at > _MOST_VARINT_BYTES * most:
        return most + 1
    count = 0
    while at < stop and count <= most:
        count += len(data[at : min(at + _PART_BYTES, stop)].translate(None, _CONTINUED))
        at += _PART_BYTES
    return count


def _too_many_fields() -> InvalidRequestError:
    return invalid_field("request", f"has more than {MOST_FIELDS} fields; expected fewer: send several requests")


def _path(path: tuple[str, ...], field: Any) -> str:
    return ".".join((*path, field.name))
