"""The errors of the service, without a transport: each adapter maps them to its own (gRPC: `grpc.errors`)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class GanserveServerError(Exception):
    """Base class of every error that this package raises on purpose."""


class StartupError(GanserveServerError):
    """The server cannot start as it was asked to."""


class ProviderError(StartupError):
    """The execution provider that was asked for cannot be had on this machine."""


class PackageError(GanserveServerError):
    """A model package is broken; the message says where and why."""


class RequestError(GanserveServerError):
    """Base class of what a request can be answered with instead of a result."""


@dataclasses.dataclass(frozen=True, slots=True)
class FieldViolation:
    """What is wrong with one field of a request."""

    field: str
    """Path of the field, such as "request.count"."""
    description: str
    """The value, what was expected, and what to do."""


class InvalidRequestError(RequestError):
    """The request itself is wrong, whatever the state of the server."""

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(f"{violation.field}: {violation.description}" for violation in self.violations))


class NotFoundError(RequestError):
    """No such model or version; the message lists those that exist."""


class FailedPreconditionError(RequestError):
    """The model cannot do that: a label for an unconditional model, a score from a model without a critic."""


class UnsupportedError(RequestError):
    """This version of the server does not do that yet."""


class QueueFullError(RequestError):
    """Too many samples wait already."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class MemoryFullError(RequestError):
    """The device has no memory left for this call; the server lives on."""


class DeadlineExpiredError(RequestError):
    """The request's deadline passed before its work was started, so the rest of it was dropped."""


class UnavailableError(RequestError):
    """The server is loading or draining; another replica, or this one later, can answer."""


class EngineError(RequestError):
    """The execution of a graph failed; not the caller's fault."""
