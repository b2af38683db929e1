"""Map errors to gRPC status codes with google.rpc details."""

import functools
import logging

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from ganserve_server import errors
from ganserve_server.monitoring.call_tracking import REQUEST_ID_KEY

DETAILS_KEY = "grpc-status-details-bin"
_log = logging.getLogger(__name__)

_CODES = {
    errors.InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
    errors.QuotaError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.FailedPreconditionError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.UnsupportedError: grpc.StatusCode.UNIMPLEMENTED,
    errors.QueueFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.MemoryFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlineExpiredError: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.UnavailableError: grpc.StatusCode.UNAVAILABLE,
    errors.EngineError: grpc.StatusCode.INTERNAL,
}
# A status travels in HTTP/2 headers, and clients accept 8 KiB of them by default. Percent-encoding can triple the size
# of the message, base64 adds a third to the details, and the details repeat the message.
_MAX_MESSAGE_BYTES = 800
_MAX_DETAILS_BYTES = 2800


def client_status(
    error: Exception, method: str, request_id: str
) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str | bytes], ...]]:
    """Return the status, message and trailing metadata of a failed call.

    Errors that are not the request's fault are logged, and the client gets the request id to find them.
    """
    details: tuple[tuple[str, str | bytes], ...] = ()
    if isinstance(error, errors.RequestError) and not isinstance(error, errors.EngineError):
        code, message, details = status_code(error), status_message(error), status_details(error)
    else:
        _log.error("%s failed; request id %s", method, request_id, exc_info=error)
        code = grpc.StatusCode.INTERNAL
        message = f"the server failed; its log has the reason at request id {request_id}"
    return code, message, (*details, (REQUEST_ID_KEY, request_id))


def status_code(error: errors.RequestError) -> grpc.StatusCode:
    """Return the status code of an error."""
    return _CODES[type(error)]


def status_message(error: Exception) -> str:
    """Return the error's message, cut to fit into a header."""
    return _cut(str(error), _MAX_MESSAGE_BYTES)


def status_details(error: errors.RequestError) -> tuple[tuple[str, bytes], ...]:
    """Return the trailing metadata with the error's google.rpc details, if it has any."""
    if isinstance(error, errors.InvalidRequestError):
        share = _MAX_DETAILS_BYTES // max(1, len(error.violations))
        violations = [
            error_details_pb2.BadRequest.FieldViolation(
                field=violation.field, description=_cut(violation.description, share - len(violation.field))
            )
            for violation in error.violations
        ]
        detail = error_details_pb2.BadRequest(field_violations=violations)
        return ((DETAILS_KEY, _packed(status_code(error), status_message(error), detail)),)
    if isinstance(error, errors.QuotaError):
        violation = error_details_pb2.QuotaFailure.Violation(subject=f"caller:{error.caller}", description=error.quota)
        failure = error_details_pb2.QuotaFailure(violations=[violation])
        retry = error_details_pb2.RetryInfo(retry_delay=_duration(error.retry_after_s))
        return ((DETAILS_KEY, _packed(status_code(error), status_message(error), failure, retry)),)
    if isinstance(error, errors.QueueFullError):
        return ((DETAILS_KEY, _retry_details(status_message(error), error.retry_after_s)),)
    return ()


@functools.lru_cache(maxsize=256)  # in overload, many refusals are equal
def _retry_details(message: str, retry_after_s: float) -> bytes:
    retry = error_details_pb2.RetryInfo(retry_delay=_duration(retry_after_s))
    return _packed(_CODES[errors.QueueFullError], message, retry)


def _duration(seconds: float) -> duration_pb2.Duration:
    duration = duration_pb2.Duration()
    duration.FromNanoseconds(int(seconds * 1e9))
    return duration


def _packed(code: grpc.StatusCode, message: str, *details: Message) -> bytes:
    packed = [any_pb2.Any() for _ in details]
    for holder, detail in zip(packed, details, strict=True):
        holder.Pack(detail)
    number: int = code.value[0]
    status: bytes = status_pb2.Status(code=number, message=message, details=packed).SerializeToString()
    return status


def _cut(text: str, most_bytes: int) -> str:
    encoded = text.encode(errors="backslashreplace")  # names of files may hold bytes that are no text
    if len(encoded) <= most_bytes:
        return encoded.decode()
    return encoded[: max(0, most_bytes - 3)].decode(errors="ignore") + "…"
