"""Errors of an export."""


class ExportError(Exception):
    """An export is impossible; the message says why and what to do. Nothing was published."""


class VerificationError(ExportError):
    """A graph does not compute what its network computes. Nothing was published."""
