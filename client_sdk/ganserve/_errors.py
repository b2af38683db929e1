"""The errors that the SDK raises, one class for each reaction of a caller. `_calls.failures` translates gRPC's."""
# ruff: noqa: N818 - named for what happened; only the base class has the word Error in its name

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One wrong field of a request."""

    field: str
    """The argument: `n`, `label`, `images`, …"""
    description: str
    """The problem, and the expected value."""


class GanserveError(Exception):
    """The base of every error that ganserve's SDK raises.

    A traceback shows none of gRPC's frames; gRPC's status is in `code`, `details` and `request_id`.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        details: str = "",
        violations: Sequence[FieldViolation] = (),
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        """The problem, and its fix."""
        self.code = code
        """Name of the gRPC status, such as "INVALID_ARGUMENT"; None if nothing was sent."""
        self.details = details
        """The server's message as it came; empty if nothing was sent."""
        self.violations = tuple(violations)
        """The fields that were wrong."""
        self.request_id = request_id
        """Sent with the request as `x-request-id`, to find it in the server's log; None if nothing was sent."""

    def __str__(self) -> str:
        return self.message

    def add(self, advice: str) -> None:
        """Add advice to the message."""
        self.message = f"{self.message}; {advice}"


class InvalidRequest(GanserveError):
    """An argument is wrong; `violations` names each one. The client found it before sending, or the server did."""

    @classmethod
    def of(cls, argument: str, description: str) -> InvalidRequest:
        """Return the error for one argument."""
        return cls(f"{argument}: {description}", violations=(FieldViolation(argument, description),))


class ModelNotFound(GanserveError):
    """The server has no such model or version; the message lists what it has."""


class UnsupportedByModel(GanserveError):
    """The model cannot do that: a label for an unconditional model, a score from a model without a critic."""


class UnsupportedByServer(GanserveError):
    """The server's version does not do that."""


class ServerOverloaded(GanserveError):
    """The server's queue is full."""

    retry_after_s: float | None = None
    """Seconds after which the server asks to try again; None if it did not say."""


class MessageTooLarge(GanserveError):
    """A request or an answer exceeds the size of a message: stream, or request fewer samples.

    Requests of more than 16 MiB, or than the server has told, are not sent: the client asks for its limit first.
    """


class DeadlineExceeded(GanserveError):
    """The answer did not come in time (`timeout_s`)."""


class ServerUnavailable(GanserveError):
    """The server cannot be reached, or is starting or stopping."""


class AccessDenied(GanserveError):
    """The server wants credentials, or they don't permit the call."""


class RequestCancelled(GanserveError):
    """The request was cancelled before it was done, for example by closing the client."""


class ServerError(GanserveError):
    """The server failed, or its answer contradicts itself."""


class ClientClosed(GanserveError):
    """The client was used after `close()`."""


class MissingExtra(GanserveError, ImportError):
    """A package is not installed; the message has the command that installs it."""

    @classmethod
    def of(cls, extra: str, package: str, purpose: str) -> MissingExtra:
        """Return the error for a part of the SDK, `purpose`, that needs a package of one of ganserve's extras."""
        return cls(f"{purpose} needs {package}, which is not installed: pip install 'ganserve[{extra}]'")
