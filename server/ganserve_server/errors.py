"""The server's errors, independent of the transport. `api.grpc.error_status` maps them to gRPC status codes."""

from collections.abc import Sequence
from dataclasses import dataclass


class GanserveServerError(Exception):
    """Base class of all errors that this package raises on purpose."""


class StartupError(GanserveServerError):
    """The server cannot start with these settings."""


class ProviderError(StartupError):
    """The requested execution provider is not available on this machine."""


class BulkError(GanserveServerError):
    """A job of `ganserve generate` or `ganserve score-bulk` cannot start or continue; the message gives the fix."""


class JobError(BulkError):
    """The options of such a job fit neither each other nor the model, the files or the place."""


class PackageError(GanserveServerError):
    """A model package is broken; the message says where and why."""


class RequestError(GanserveServerError):
    """Base class of all errors that answer a request."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """The problem with one field of a request."""

    field: str
    """Path of the field, such as "request.count"."""
    description: str
    """The value, what was expected, and the fix."""


class InvalidRequestError(RequestError):
    """The request is invalid, whatever the state of the server."""

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(f"{violation.field}: {violation.description}" for violation in self.violations))


def invalid_field(field: str, description: str) -> InvalidRequestError:
    """Return the error for a request with one wrong field."""
    return InvalidRequestError([FieldViolation(field, description)])


class UnauthenticatedError(RequestError):
    """The server does not know who calls. The message is the same for all causes; `reason` is for the log."""

    def __init__(self, reason: str, message: str = "") -> None:
        self.reason = reason
        super().__init__(message or UNKNOWN_CALLER)


REASONS = (
    *("no_credentials", "malformed", "unknown_token", "expired", "revoked"),
    *("unknown_issuer", "unknown_key", "bad_jwt", "other_audience", "unsupported"),
    *("bad_certificate", "unknown_certificate"),
)
"""Reason why a caller is not known."""
UNKNOWN_CALLER = (
    "this server answers callers that it knows: send a token that is valid (authorization: Bearer TOKEN), or show the "
    "certificate of a client"
)


class PermissionDeniedError(RequestError):
    """The caller's roles do not allow the call."""


class NotFoundError(RequestError):
    """The model or version does not exist; the message lists those that do."""


class FailedPreconditionError(RequestError):
    """The model cannot do this, such as taking a label when it is unconditional, or scoring without a critic."""


class UnsupportedError(RequestError):
    """This version of the server cannot do this yet."""


class QueueFullError(RequestError):
    """Too many samples are waiting already."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class QuotaError(QueueFullError):
    """The caller has used up its quota."""

    def __init__(self, quota: str, caller: str, message: str, *, retry_after_s: float) -> None:
        self.quota, self.caller = quota, caller
        super().__init__(message, retry_after_s=retry_after_s)


class MemoryFullError(RequestError):
    """The device has no memory left for this call; the server keeps running."""


class DeadlineExpiredError(RequestError):
    """The deadline passed before the work was started, so the rest of it was dropped."""


class UnavailableError(RequestError):
    """The server is loading or draining; another replica, or this one later, can answer."""


class EngineError(RequestError):
    """A graph failed to run; this is not the caller's fault."""
