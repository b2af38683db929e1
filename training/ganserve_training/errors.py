"""Errors of training. Every message says what was wrong, what was expected and what to do."""


class TrainingError(Exception):
    """Base class of everything that `ganserve_training` raises on purpose."""


class ConfigError(TrainingError):
    """A configuration value is out of range, or two values contradict each other.

    Not a ValueError: argument parsers catch those and change their text.
    """


class ConfigChangedError(ConfigError):
    """A run was trained with another configuration than the one given to resume it."""


class DataError(TrainingError):
    """Data are missing, unreadable, or not what the run was started with."""


class MissingDataError(ConfigError, DataError):
    """The place that an option gives for data does not exist, or is a file in place of a folder."""


class CheckpointError(TrainingError):
    """No checkpoint can be read where one is needed."""


class CheckpointFormatError(TrainingError):
    """A checkpoint is whole, but another version of ganserve wrote it in a format that this one can't read."""


class UntrustedRunError(ConfigError):
    """A run's configuration names code to run that is not known to be the user's own."""


class WriteError(TrainingError):
    """A file of a run can't be written: the disk is full, say, or the folder is read-only."""


class RunLockedError(TrainingError):
    """Another process is training in the same run folder."""


class DivergedError(TrainingError):
    """A loss or a weight became NaN or infinite."""


class LostProcessError(TrainingError):
    """Another of the processes that train together ended, or can't be reached."""


class NetworkFailedError(TrainingError):
    """A network of the user's own raised an error after training, export or evaluation had begun."""


class StoppedError(TrainingError):
    """Training was asked to stop by `signal_number`, such as SIGTERM; a checkpoint of `step` was written first."""

    def __init__(self, signal_number: int, step: int, message: str) -> None:
        super().__init__(message)
        self.signal_number = signal_number
        self.step = step


class UnfinishedNetworkError(TrainingError):
    """A network cannot be exported yet, for example because it is still growing."""
