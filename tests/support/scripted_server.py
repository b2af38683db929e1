"""Run a scripted gRPC server, for answers that a healthy ganserve server never gives."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import any_pb2
from google.rpc import status_pb2

from ganserve.v1 import gan_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message


@dataclass(frozen=True)
class Status:
    code: grpc.StatusCode
    message: str = ""
    details: tuple[Message, ...] = ()
    """google.rpc details."""
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass
class Script:
    """The answers, one per call (a message, a Status, or a list of them for a stream), and the received requests."""

    answers: list[Any] = field(default_factory=list)
    requests: list[Any] = field(default_factory=list)
    metadata: list[dict[str, Any]] = field(default_factory=list)
    address: str = ""
    peers: set[str] = field(default_factory=set)
    """The clients' ends of the connections."""
    seconds_left: list[float] = field(default_factory=list)
    """The time that each call has."""

    def next(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        self.peers.add(context.peer())
        self.seconds_left.append(context.time_remaining() or 0.0)
        return self.answers.pop(0)


def give(answer: Any, context: grpc.ServicerContext) -> Any:
    if not isinstance(answer, Status):
        return answer
    metadata: tuple[tuple[str, str | bytes], ...] = answer.metadata
    if answer.details:
        packed = []
        for detail in answer.details:
            packed.append(any_pb2.Any())
            packed[-1].Pack(detail)
        status = status_pb2.Status(code=answer.code.value[0], message=answer.message, details=packed)
        metadata += (("grpc-status-details-bin", status.SerializeToString()),)
    context.set_trailing_metadata(metadata)
    return context.abort(answer.code, answer.message)


class _Servicer(gan_service_pb2_grpc.GanServiceServicer):
    def __init__(self, script: Script) -> None:
        self.script = script

    # The names are those of the RPCs.
    def Sample(self, request: Any, context: Any) -> Any:  # noqa: N802
        return give(self.script.next(request, context), context)

    Score = ListModels = GetModel = Sample

    def StreamSamples(self, request: Any, context: Any) -> Any:  # noqa: N802
        for answer in self.script.next(request, context):
            yield give(answer, context)

    def StreamScores(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
        raise NotImplementedError


@contextlib.contextmanager
def scripted_server() -> Iterator[Script]:
    """Run a server on a free port that answers by `script`."""
    script = Script()
    server = grpc.server(ThreadPoolExecutor(4))
    gan_service_pb2_grpc.add_GanServiceServicer_to_server(_Servicer(script), server)
    script.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield script
    finally:
        server.stop(None).wait()
