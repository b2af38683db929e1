"""The errors that the SDK raises: one tree, one class for each thing that a caller would do differently.

This module imports nothing heavy: the translation from gRPC's errors is in `_failures.py`.
"""
# ruff: noqa: N818 - named for what happened, as an except clause reads it; the base carries the word Error.

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """What is wrong with one field of a request."""

    field: str
    """The argument: `n`, `label`, `images`, …"""
    description: str
    """What is wrong, what was expected."""


class GanserveError(Exception):
    """The base of every error that ganserve's SDK raises.

    Where a gRPC call failed, `__cause__` is gRPC's own error.
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
        """What went wrong and what to do, for people."""
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
        """Add to the message what helps in the case at hand."""
        self.message = f"{self.message}; {advice}"


class InvalidRequest(GanserveError):
    """An argument is wrong; `violations` names each one. Found by the client before sending, or by the server."""

    @classmethod
    def of(cls, argument: str, description: str) -> InvalidRequest:
        """The error for one argument, found before anything was sent."""
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
    """A request or an answer is larger than one message may be: stream, or ask for less."""


class DeadlineExceeded(GanserveError):
    """The answer did not come in time (`timeout_s`)."""


class ServerUnavailable(GanserveError):
    """The server cannot be reached, or is starting or stopping."""


class AccessDenied(GanserveError):
    """The server wants credentials, or these may not do that."""


class RequestCancelled(GanserveError):
    """The request was cancelled before it was done, for example by closing the client."""


class ServerError(GanserveError):
    """The server failed, or answered what makes no sense."""


class ClientClosed(GanserveError):
    """The client was used after `close()`."""


class MissingExtra(GanserveError, ImportError):
    """A package that this needs is not installed; the message has the command that installs it."""

    @classmethod
    def of(cls, extra: str, package: str, purpose: str) -> MissingExtra:
        """The error for an optional dependency.

        Args:
            extra: The extra of ganserve that brings it.
            package: What is missing.
            purpose: What needs it.
        """
        return cls(f"{purpose} needs {package}, which is not installed: pip install 'ganserve[{extra}]'")
