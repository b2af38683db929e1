"""Generate requests whose fields grow, from the protocol's descriptors, and count the steps of a server's event loop.

Every repeated field, map, string and bytes field of every message that an RPC takes is found by walking the
descriptors, so that fields which the protocol gains are tested too.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from hostile import METHODS
from in_process import in_process_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import FrameType

    from google.protobuf.descriptor import Descriptor

    from ganserve_server.requests.limits import Limits

# Watch never ends.
RPCS = sorted(METHODS.keys() - {"/grpc.health.v1.Health/Watch"})
_MOST_DEPTH = 5
_TEXT_A_STEP = 64  # bytes that a method of a text handles in the time of a line
# Values with which the checks go as far as possible.
_TEXTS = {
    "model": "tiny",
    "model_name": "tiny",
    "label_names": "zero",
    "name": "samples",
    "datatype": "FP32",
}


@dataclass(frozen=True)
class Growing:
    """A field of an RPC's requests that can hold many entries or bytes."""

    rpc: str
    path: tuple[FieldDescriptor, ...]

    def __str__(self) -> str:
        return f"{self.rpc.rpartition('.')[2]}:{'.'.join(field.name for field in self.path)}"

    @property
    def is_map(self) -> bool:
        """True if its entries have keys."""
        return _is_map(self.path[-1])

    def request(self, size: int, *, fitting: bool) -> bytes:
        """Return a request with so many entries or bytes; with `fitting`, other fields have values that fit."""
        kinds = [METHODS[self.rpc].input_type]
        for field in self.path[:-1]:
            kind = field.message_type
            kinds.append(kind.fields_by_name["value"].message_type if _is_map(field) else kind)
        data = _grown(kinds[-1], self.path[-1], size)
        for field in reversed(self.path[:-1]):
            inner = _fitting(field.message_type, size) + data if fitting and not _is_map(field) else data
            if _is_map(field):
                inner = b"\x0a\x0bcontrols.c0" + _prefixed(2, inner)
            data = _prefixed(field.number, inner)
        return _fitting(kinds[0], size) + data if fitting else data


def growing_fields(rpc: str) -> list[Growing]:
    """Return the fields of an RPC's requests that can grow."""
    return [Growing(rpc, path) for path in _paths(METHODS[rpc].input_type, ())]


def _paths(descriptor: Descriptor, above: tuple[FieldDescriptor, ...]) -> Iterator[tuple[FieldDescriptor, ...]]:
    if len(above) == _MOST_DEPTH:
        return
    for field in descriptor.fields:
        path = (*above, field)
        wordy = field.type in {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}
        if field.is_repeated or wordy:
            yield path
        if field.message_type is not None:
            if not _is_map(field):
                yield from _paths(field.message_type, path)
            elif (value := field.message_type.fields_by_name["value"]).message_type is not None:
                yield from _paths(value.message_type, path)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _fitting(kind: Descriptor, size: int) -> bytes:
    """Return the fields without which the server refuses a request before it checks the others."""
    message = GetMessageClass(kind)()
    for field in kind.fields:
        if field.is_repeated or field.containing_oneof is not None:
            continue
        if field.name in _TEXTS and field.type == FieldDescriptor.TYPE_STRING:
            setattr(message, field.name, _TEXTS[field.name])
        elif field.name == "count":
            setattr(message, field.name, size)
    return message.SerializeToString()


def _grown(kind: Descriptor, field: FieldDescriptor, size: int) -> bytes:
    """Return a message with so many entries or bytes in one field."""
    message: Any = GetMessageClass(kind)()
    values = getattr(message, field.name)
    if _is_map(field):
        value = field.message_type.fields_by_name["value"]
        for number in range(size):
            if value.message_type is not None:
                values[f"controls.{number}"].SetInParent()
            else:
                values[f"controls.{number}"] = _one(value)
    elif field.message_type is not None:
        return _prefixed(field.number, _fitting(field.message_type, 1)) * size
    elif field.is_repeated and field.is_packed:
        values.extend([_one(field)] * size)
    elif field.is_repeated:
        values.append(_one(field))
        return bytes(message.SerializeToString()) * size
    else:
        setattr(message, field.name, b"a" * size if field.type == FieldDescriptor.TYPE_BYTES else "a" * size)
    return message.SerializeToString()


def _prefixed(number: int, data: bytes) -> bytes:
    """Return a field with a length, as it is on the wire."""
    return bytes([*_varint(number << 3 | 2), *_varint(len(data))]) + data


def _varint(value: int) -> list[int]:
    digits = []
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return [*digits, value]


def _one(field: FieldDescriptor) -> Any:
    if field.type == FieldDescriptor.TYPE_STRING:
        return _TEXTS.get(field.name, "a")
    if field.type == FieldDescriptor.TYPE_BYTES:
        return b"a"
    return 0


class CountedServer:
    """A server on a thread of its own, which counts the steps of its event loop."""

    def __init__(self, models: Path, limits: Limits | None = None) -> None:
        self.steps = 0
        """Lines of Python that the event loop ran, and entries of the lists whose methods it called."""
        self.longest = 0
        """Most steps between two turns of the event loop."""
        self._models, self._limits = models, limits
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="counted-server", daemon=True)

    @contextlib.contextmanager
    def running(self) -> Iterator[CountedServer]:
        """Run the server until the block ends."""
        self._thread.start()
        assert self._ready.wait(60), "the server did not start"
        try:
            with grpc.insecure_channel(self._address, options=[("grpc.max_send_message_length", -1)]) as self._channel:
                yield self
        finally:
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join(30)

    def call(self, rpc: str, request: bytes) -> tuple[str, int]:
        """Send a request and return its status and the most steps for which it held the loop.

        A stream may take as many steps as it has answers, but other calls get their turn between them.
        """
        method = METHODS[rpc]
        kinds = (
            (self._channel.unary_unary, self._channel.unary_stream),
            (self._channel.stream_unary, self._channel.stream_stream),
        )
        kind: Any = kinds[method.client_streaming][method.server_streaming]
        self.longest = 0
        try:
            answer = kind(rpc)(iter([request]) if method.client_streaming else request, timeout=60)
            if method.server_streaming:
                for _ in answer:  # one answer is enough: a stream may have a million samples
                    answer.cancel()
                    break
            status = "OK"
        except grpc.RpcError as error:
            status = error.code().name
        return status, self.longest

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        async with in_process_server(self._models, limits=self._limits) as server:
            self._address = server.address
            self._loop.call_soon(self._count)
            self._ready.set()
            await self._ended.wait()
            sys.settrace(None)
            sys.setprofile(None)
            asyncio.Handle._run = self._run_handle  # type: ignore[attr-defined]

    def _count(self) -> None:
        run: Any = asyncio.Handle._run  # type: ignore[attr-defined]
        self._run_handle = run

        def counted(handle: Any) -> None:
            before = self.steps
            run(handle)
            if handle._loop is self._loop:
                self.longest = max(self.longest, self.steps - before)

        asyncio.Handle._run = counted  # type: ignore[attr-defined]
        sys.settrace(self._trace)
        sys.setprofile(self._profile)

    def _trace(self, _frame: FrameType, event: str, _argument: object) -> Any:
        if event == "line":
            self.steps += 1
        return self._trace

    def _profile(self, _frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call":
            self.steps += 1
            owner = getattr(argument, "__self__", None)
            if isinstance(owner, (list, tuple, dict, set)):
                self.steps += len(owner)
            elif isinstance(owner, (str, bytes)):
                self.steps += len(owner) // _TEXT_A_STEP
