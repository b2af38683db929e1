"""Generate hostile requests for every RPC of a server from the protocol's descriptors.

Each field of each message is missing, plausible or nasty; whole messages are garbage, truncated or extended. The seed
determines everything. tests/server/api/test_hostile.py and benchmarks/serving/bad_input.py use it.
"""

from __future__ import annotations

import collections
import math
import random
import socket
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from tritonclient.grpc import service_pb2

from ganserve.v1 import admin_service_pb2, gan_service_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor, MethodDescriptor
    from google.protobuf.message import Message

MODELS = ("tiny", "tiny-unconditional", "tiny-rgb", "tiny-vector", "tiny-codes", "tiny-uncritical", "tiny.critic", "")
_TEXTS = (
    *MODELS,
    "0",
    "1",
    "3",
    "latents",
    "labels",
    "samples",
    "seeds",
    "c0",
    "UINT8",
    "FP32",
    "INT64",
    "UINT64",
    "BYTES",
    "../tiny",
    "/etc/passwd",
    "tiny/1",
    "\0",
    "\ud7ff\U0010ffff",
    "ярлык",
    "标签",
    "\u202e\u0301",
    "a" * 5000,
    "%s%n{}",
    "'; drop table models; --",
    "\r\nx-injected: 1",
    "-1",
    "1e309",
    "NaN",
    " ",
    "tiny ",
)
_INTEGERS = (
    0,
    1,
    2,
    3,
    7,
    64,
    100,
    1000,
    2**16,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**48,
    2**53,
    2**63 - 1,
    2**64 - 1,
    -1,
    -(2**31),
    -(2**63),
)
_REALS = (0.0, -0.0, 0.5, 1.0, -1.0, 1e-45, 1e300, -1e300, math.inf, -math.inf, math.nan)
_BITS = {
    "INT32": (31, True),
    "SINT32": (31, True),
    "SFIXED32": (31, True),
    "UINT32": (32, False),
    "FIXED32": (32, False),
    "INT64": (63, True),
    "SINT64": (63, True),
    "SFIXED64": (63, True),
    "UINT64": (64, False),
    "FIXED64": (64, False),
}
_KINDS = {value: name[5:] for name, value in vars(FieldDescriptor).items() if name.startswith("TYPE_")}
_MOST_DEPTH = 5

METHODS: dict[str, MethodDescriptor] = {
    f"/{service.full_name}/{method.name}": method
    for file in (gan_service_pb2, admin_service_pb2, health_pb2, reflection_pb2, service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
"""Every RPC of the server."""
# Without Watch, which never ends. Load and unload rarely, so that other requests find models.
_UNENDING = {"/grpc.health.v1.Health/Watch"}
_RARE = {path for path in METHODS if "AdminService" in path or "RepositoryModel" in path}


class Hostile:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def request(self) -> tuple[str, MethodDescriptor, list[bytes]]:
        """Return an RPC and its serialised messages: one, or a few for a request stream."""
        path = self.random.choice(tuple(METHODS))
        if path in _RARE and self.random.random() < 0.97:
            path = "/ganserve.v1.GanService/Sample"
        method = METHODS[path]
        count = self.random.randint(0, 4) if method.client_streaming else 1
        return path, method, [self._bytes(method.input_type) for _ in range(count)]

    def _bytes(self, kind: Descriptor) -> bytes:
        chance = self.random.random()
        if chance < 0.05:
            return self.random.randbytes(self.random.choice((0, 1, 2, 10, 1000)))
        message = self.sensible(kind) if chance < 0.5 else None
        data = (message or self.message(kind)).SerializeToString()
        if chance < 0.1:  # flip bits, truncate or double the message
            data = bytearray(data)
            for _ in range(self.random.randint(1, 4)):
                if data:
                    data[self.random.randrange(len(data))] = self.random.randrange(256)
            data = bytes(data[: self.random.randint(0, len(data))] if self.random.random() < 0.5 else data * 2)
        return data

    def message(self, kind: Descriptor, depth: int = 0) -> Message:
        """Return a message in which any field may have any value of its type."""
        message = GetMessageClass(kind)()
        for field in kind.fields:
            if self.random.random() < (0.5 if depth < 2 else 0.35):
                self._set(message, field, depth)
        return message

    def sensible(self, kind: Descriptor) -> Message | None:
        """Return one of the most important messages, valid except for a field or two."""
        choice = self.random.choice
        count = self.random.randint(1, 5)
        sample = gan_service_pb2.SampleRequest(model=choice(MODELS), count=count)
        if choice((True, False)):
            sample.label_indices.append(choice((0, 1, 2)))
        score = gan_service_pb2.ScoreRequest(model=choice(MODELS), label_indices=[0] * choice((0, 1, count)))
        score.samples.tensor.data_type = choice((1, 1, 2, 0))
        shape = choice(((count, 8, 8, 1), (count, 4, 4, 1), (count, 16, 12, 3), (count, 2), (0,), (count, 0), ()))
        score.samples.tensor.shape.extend(shape)
        size = math.prod(shape) * (4 if score.samples.tensor.data_type == 2 else 1)
        score.samples.tensor.data = self.random.randbytes(max(0, size + choice((0, 0, 0, 1, -1))))
        messages: dict[str, Message] = {
            "ganserve.v1.SampleRequest": sample,
            "ganserve.v1.StreamSamplesRequest": gan_service_pb2.StreamSamplesRequest(
                request=sample, chunk_size=choice((0, 1, 3))
            ),
            "ganserve.v1.ScoreRequest": score,
            "ganserve.v1.StreamScoresRequest": gan_service_pb2.StreamScoresRequest(request=score),
        }
        message = messages.get(kind.full_name)
        if message is not None and self.random.random() < 0.8:
            inner = getattr(message, "request", message)
            self._set(inner, choice(inner.DESCRIPTOR.fields), 0)
        return message

    def _set(self, message: Message, field: FieldDescriptor, depth: int) -> None:
        try:
            if _is_map(field):
                self._set_map(getattr(message, field.name), field, depth)
            elif field.is_repeated:
                values = getattr(message, field.name)
                for _ in range(self.random.choice((0, 1, 1, 2, 3, 100))):
                    if field.message_type is not None:
                        if depth < _MOST_DEPTH:
                            values.append(self.message(field.message_type, depth + 1))
                    else:
                        values.append(self._value(field))
            elif field.message_type is not None:
                if depth < _MOST_DEPTH:
                    getattr(message, field.name).CopyFrom(self.message(field.message_type, depth + 1))
            else:
                setattr(message, field.name, self._value(field))
        except (ValueError, TypeError, UnicodeEncodeError):
            return  # protobuf's own library cannot send it

    def _set_map(self, values: Any, field: FieldDescriptor, depth: int) -> None:
        key, value = field.message_type.fields_by_name["key"], field.message_type.fields_by_name["value"]
        for _ in range(self.random.choice((1, 2, 20))):
            if value.message_type is not None:
                values[self._value(key)].CopyFrom(self.message(value.message_type, depth + 1))
            else:
                values[self._value(key)] = self._value(value)

    def _value(self, field: FieldDescriptor) -> Any:
        kind = _KINDS[field.type]
        if kind in _BITS:
            bits, signed = _BITS[kind]
            value = self.random.choice(_INTEGERS)
            return max(-(2**bits), min(2**bits - 1, value)) if signed else abs(value) % 2**bits
        if kind in ("FLOAT", "DOUBLE"):
            return self.random.choice(_REALS)
        if kind == "BOOL":
            return self.random.random() < 0.5
        if kind == "ENUM":
            return self.random.choice((0, 1, 2, 3, 4, 5, 6, 99, 2**31 - 1, -1))
        if kind == "BYTES":
            return self.random.randbytes(self.random.choice((0, 1, 4, 16, 64, 256, 5000)))
        return self.random.choice(_TEXTS)


class Caller:
    """Send hostile requests over one channel, and count the answers by method and status."""

    def __init__(self, channel: grpc.Channel, source: Hostile, timeout_s: float = 30.0) -> None:
        self.answers: collections.Counter[tuple[str, str]] = collections.Counter()
        self.unexpected: list[str] = []
        """Requests that got INTERNAL, UNKNOWN, or no answer."""
        self._channel = channel
        self._source = source
        self._timeout_s = timeout_s
        self._calls: dict[str, Any] = {}

    def send(self) -> tuple[str, str]:
        """Send one request, and read at most a few answers of a stream; return the method's path and the status."""
        path, method, messages = self._source.request()
        call = self._calls.get(path) or self._calls.setdefault(path, self._multicallable(path, method))
        timeout = 0.05 if path in _UNENDING else self._timeout_s
        try:
            answer = call(iter(messages) if method.client_streaming else messages[0], timeout=timeout)
            if method.server_streaming:
                for number, _ in enumerate(answer):
                    if number >= 2:
                        answer.cancel()
                        break
            status = "OK"
        except grpc.RpcError as error:
            status = error.code().name
            bad = status in {"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DATA_LOSS", "ABORTED"}
            if bad and not (status == "UNAVAILABLE" and "not ready" in error.details()):
                self.unexpected.append(f"{path} {status}: {error.details()} for {messages!r:.2000}")
            if status == "DEADLINE_EXCEEDED" and path not in _UNENDING and not _timed(messages):
                self.unexpected.append(f"{path} had no answer within {timeout} s for {messages!r:.2000}")
        self.answers[path, status] += 1
        return path, status

    def _multicallable(self, path: str, method: MethodDescriptor) -> Any:
        kind = {
            (False, False): self._channel.unary_unary,
            (False, True): self._channel.unary_stream,
            (True, False): self._channel.stream_unary,
            (True, True): self._channel.stream_stream,
        }[method.client_streaming, method.server_streaming]
        return kind(path, request_serializer=None, response_deserializer=None)


def _timed(messages: list[bytes]) -> bool:
    """Return whether a request has a timeout (Triton's parameter)."""
    return any(b"timeout" in message for message in messages)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def garbage(address: str, source: Hostile, count: int) -> None:
    """Open connections that do not speak gRPC, or stop speaking it."""
    host, _, port = address.rpartition(":")
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    frames = _frames(source)
    for index in range(count):
        data = source.random.choice(
            (
                source.random.randbytes(source.random.choice((1, 50, 5000))),
                b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + source.random.randbytes(200),  # a TLS greeting
                preface + source.random.randbytes(300),
                preface + next(frames) + next(frames),
                preface[: index % len(preface)],
            )
        )
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.settimeout(0.05)
            try:
                connection.sendall(data)
                connection.recv(4096)
            except (TimeoutError, ConnectionError):
                continue


def _frames(source: Hostile) -> Iterator[bytes]:
    """Return HTTP/2 frames of every type with random flags, streams and lengths."""
    while True:
        body = source.random.randbytes(source.random.choice((0, 4, 6, 8, 40)))
        length = source.random.choice((len(body), len(body), 0, 2**24 - 1))
        stream = source.random.choice((0, 1, 3, 2**31 - 1))
        head = bytes([source.random.randrange(12), source.random.randrange(256)])
        yield length.to_bytes(3, "big") + head + stream.to_bytes(4, "big") + body
