"""Reap the children that other processes left to this one, as process 1 of a container must."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable

_EVERY_S = 5.0


async def reap_orphans(own: Callable[[], set[int]]) -> None:
    """Reap orphans until cancelled, if this is process 1; others wait for the processes `own`, its own children."""
    while os.getpid() == 1:
        await asyncio.sleep(_EVERY_S)
        reap(own())


def reap(own: set[int]) -> int:
    """Reap the children that have ended and are not its own, and return how many."""
    count = 0
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if ended.si_pid in own:
                break  # whoever waits for it comes first
            os.waitpid(ended.si_pid, os.WNOHANG)
            count += 1
    return count
