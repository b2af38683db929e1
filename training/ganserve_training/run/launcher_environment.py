"""Read from the environment which processes train together. This module imports nothing heavy."""

import os
from functools import partial

SUPERVISOR = "GANSERVE_TRAIN_SUPERVISOR"
"""Environment variable: the pid of the `ganserve train --processes` that started this process."""
LOST_PEER_STATUS = 75
"""Exit status of a supervised process that ended only because another one had."""


def is_launched() -> bool:
    """Return whether torchrun or `ganserve train --processes` started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def _read(variable: str, alone: int) -> int:
    return int(os.environ.get(variable, alone)) if is_launched() else alone


rank = partial(_read, "RANK", 0)
"""This process's place among all processes, from 0."""
world = partial(_read, "WORLD_SIZE", 1)
"""The number of processes that train together."""
local_world = partial(_read, "LOCAL_WORLD_SIZE", 1)
"""The number of them on this machine."""
local_rank = partial(_read, "LOCAL_RANK", 0)
"""This process's place among those on this machine, from 0."""


def is_first() -> bool:
    """Return whether this process writes files and messages: the only one, or the first of several."""
    return rank() == 0


def is_supervised() -> bool:
    """Return whether `ganserve train --processes` started this process and reports how it ends."""
    return SUPERVISOR in os.environ


def is_orphaned() -> bool:
    """Return whether the supervisor has ended, so that this process must stop by itself."""
    return is_supervised() and os.getppid() != int(os.environ[SUPERVISOR])
