"""Errors of an export."""

from ganserve_training.errors import ConfigError, TrainingError


class ExportError(Exception):
    """An export is impossible; the message says why and what to do. Nothing was published."""


class BadUsageError(ExportError):
    """An option of the command or of the run's configuration can't be used here."""


class VerificationError(ExportError):
    """A graph does not compute what its network computes. Nothing was published."""


def export_error(error: TrainingError) -> ExportError:
    """Return an error of training as one of an export, with the same meaning for the exit code."""
    return (BadUsageError if isinstance(error, ConfigError) else ExportError)(str(error))
