"""Send parts of gRPC requests over a plain socket."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_DATA, _HEADERS, _RST_STREAM, _SETTINGS = 0, 1, 3, 4
_END_HEADERS = 4


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body


def _header(name: bytes, value: bytes) -> bytes:
    """Return a header literally, without the table (RFC 7541, section 6.2.2)."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def half_request(path: str, *, declared: int, sent: int, stream: int) -> bytes:
    """Return the frames of a call whose message declares more bytes than are sent."""
    headers = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": path.encode(),
        b":authority": b"test",
        b"te": b"trailers",
        b"content-type": b"application/grpc",
    }
    head = _frame(_HEADERS, _END_HEADERS, stream, b"".join(_header(*pair) for pair in headers.items()))
    message = b"\0" + declared.to_bytes(4, "big") + bytes(sent)
    data = [_frame(_DATA, 0, stream, message[at : at + 2**14]) for at in range(0, len(message), 2**14)]
    return head + b"".join(data)


def begin_connection(connection: socket.socket) -> None:
    """Send what every client sends first."""
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, b""))


def refused_streams(connection: socket.socket, count: int) -> set[int]:
    """Read frames until the server has refused this many streams, and return their numbers."""
    refused: set[int] = set()
    with connection.makefile("rb") as frames:
        while len(refused) < count:
            head = frames.read(9)
            frames.read(int.from_bytes(head[:3], "big"))
            if head[3] == _RST_STREAM:
                refused.add(int.from_bytes(head[5:], "big"))
    return refused


@contextlib.contextmanager
def half_requests(address: str, path: str, *, count: int, declared: int, sent: int) -> Iterator[socket.socket]:
    """Begin calls on one connection, which stays open until the block ends."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        begin_connection(connection)
        for index in range(count):
            connection.sendall(half_request(path, declared=declared, sent=sent, stream=2 * index + 1))
        yield connection
