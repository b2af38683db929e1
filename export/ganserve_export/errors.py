"""Errors of an export."""


class ExportError(Exception):
    """An export is impossible; the message says why and what to do. Nothing was published."""


class BadUsageError(ExportError):
    """An option of the command or of the run's configuration can't be used here."""


class VerificationError(ExportError):
    """A graph does not compute what its network computes. Nothing was published."""
