"""Write the fields of a protobuf message by hand (https://protobuf.dev/programming-guides/encoding).

protobuf copies a tensor into its message, and that into the serialised one, with the GIL held.
"""

from collections.abc import Sequence

Part = bytes | memoryview
_LENGTH = 2  # the wire type of fields with a length


def field(number: int, parts: Sequence[Part]) -> list[Part]:
    """Return a field with a length: text, bytes, packed numbers, or the parts of a nested message."""
    return [varint(number << 3 | _LENGTH) + varint(sum(map(len, parts))), *parts]


def varint(value: int) -> bytes:
    """Return a number of at least 0."""
    digits = bytearray()
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)
