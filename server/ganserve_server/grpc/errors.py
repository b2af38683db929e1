"""Maps the core's errors to gRPC status codes with google.rpc details."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from ganserve_server.core.errors import (
    DeadlineExpiredError,
    EngineError,
    FailedPreconditionError,
    InvalidRequestError,
    NotFoundError,
    QueueFullError,
    RequestError,
    UnavailableError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from google.protobuf.message import Message

DETAILS_KEY = "grpc-status-details-bin"
REQUEST_ID_KEY = "x-request-id"

_CODES = {
    InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    NotFoundError: grpc.StatusCode.NOT_FOUND,
    FailedPreconditionError: grpc.StatusCode.FAILED_PRECONDITION,
    UnsupportedError: grpc.StatusCode.UNIMPLEMENTED,
    QueueFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineExpiredError: grpc.StatusCode.DEADLINE_EXCEEDED,
    UnavailableError: grpc.StatusCode.UNAVAILABLE,
    EngineError: grpc.StatusCode.INTERNAL,
}
# A status travels in HTTP/2 headers, which clients limit to 8 KiB by default, details and message together.
_MAX_MESSAGE_CHARACTERS = 1500
_MAX_VIOLATIONS = 16


def status_code(error: RequestError) -> grpc.StatusCode:
    """Returns the status code of an error."""
    return _CODES[type(error)]


def status_message(error: Exception) -> str:
    """Returns the error's message, short enough for a header."""
    text = str(error)
    return text if len(text) <= _MAX_MESSAGE_CHARACTERS else f"{text[:_MAX_MESSAGE_CHARACTERS]}…"


def status_details(error: RequestError) -> tuple[tuple[str, bytes], ...]:
    """Returns the trailing metadata that carries the error's google.rpc details, if it has any."""
    detail: Message
    if isinstance(error, InvalidRequestError):
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=violation.field, description=violation.description)
            for violation in error.violations[:_MAX_VIOLATIONS]
        ]
        detail = error_details_pb2.BadRequest(field_violations=violations)
    elif isinstance(error, QueueFullError):
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        detail = error_details_pb2.RetryInfo(retry_delay=delay)
    else:
        return ()
    packed = any_pb2.Any()
    packed.Pack(detail)
    code: int = status_code(error).value[0]
    status = status_pb2.Status(code=code, message=status_message(error), details=[packed])
    return ((DETAILS_KEY, status.SerializeToString()),)
