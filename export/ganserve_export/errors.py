"""What can go wrong in an export."""

from __future__ import annotations


class ExportError(Exception):
    """An export that cannot be done; the message says why and what to do. Nothing was published."""


class VerificationError(ExportError):
    """A graph that does not compute what its network computes. Nothing was published."""
