"""Hold the memory of requests and answers within a number of bytes. Used on one event loop.

A caller may hold half of what others leave, so that there is always room for another caller; a caller with one running
call, all that is free.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path

from ganserve_server.control_groups import usable_memory
from ganserve_server.errors import QueueFullError
from ganserve_server.queue.callers import Caller

# Below this, reading the process's size would cost more than it saves.
_LARGE_BYTES = 2**20
_TRIM_EVERY_S = 1.0
# A quarter of the rest is for what is not counted: Python's objects, gRPC's buffers, model calls, gaps in the heap.
_LEAST_BYTES = 32 * 2**20
_RETRY_S = 1.0
_STATM = Path("/proc/self/statm")


class MemoryBudget:
    """The memory that all calls share."""

    def __init__(self, process_limit: int, size: int = 0) -> None:
        """Share what a process that may use `process_limit` bytes does not use yet, or `size` bytes.

        A large reservation is refused, too, if the process would exceed its limit.
        """
        self.size = size
        self.held_bytes = 0
        """Reserved by all calls."""
        self.refused = 0
        """Refused reservations."""
        self._process_limit = process_limit
        self._trimmed = 0.0
        if not size:
            self.fit()

    def fit(self) -> None:
        """Set the size by what the process uses now, when no request runs."""
        _trim()
        used = _resident_bytes() if sys.platform == "linux" else 0
        self.size = max((self._process_limit - used) * 3 // 4, _LEAST_BYTES)

    def reserve(self, caller: Caller, size: int) -> None:
        """Reserve bytes for a caller; raise QueueFullError if it has too many, or none are free."""
        free, held = self.size - self.held_bytes, caller.held_bytes
        if size > free or (caller.calls > 1 and held + size > (free + held) // 2):
            self._refuse(caller, size)
        if size >= _LARGE_BYTES and sys.platform == "linux" and self._resident() + size > self._process_limit:
            self._refuse(caller, size)
        self.held_bytes += size
        caller.held_bytes += size

    def _refuse(self, caller: Caller, size: int) -> None:
        self.refused += 1
        raise QueueFullError(
            f"the server has no memory for this request now: it needs {size} bytes, the caller's calls hold "
            f"{caller.held_bytes}, all calls {self.held_bytes} of {self.size}: wait for answers, ask for less, or use "
            "a stream",
            retry_after_s=_RETRY_S,
        )

    def _resident(self) -> int:
        """Return the process's memory, without what the C library keeps for later."""
        resident = _resident_bytes()
        now = time.monotonic()
        if resident > 0.8 * self._process_limit and now - self._trimmed > _TRIM_EVERY_S:
            self._trimmed = now
            _trim()
            resident = _resident_bytes()
        return resident


class Account:
    """The memory that one call holds."""

    __slots__ = ("_budget", "_held", "caller", "request_bytes")

    def __init__(self, budget: MemoryBudget | None = None, caller: Caller | None = None) -> None:
        """Hold memory of a budget for a caller; without a budget, any amount."""
        self._budget = budget
        self._held = 0
        self.caller = caller
        """Identity that sent the call, if known."""
        self.request_bytes = 0
        """Size of the call's request, or of its stream's last one, on the wire."""

    @property
    def caller_key(self) -> str:
        """The caller, for queues; empty if unknown."""
        return "" if self.caller is None else self.caller.key

    def hold(self, size: int) -> None:
        """Hold more bytes until the call has ended; raise QueueFullError if there is no room for them."""
        if self._budget is not None and self.caller is not None:
            self._budget.reserve(self.caller, size)
            self._held += size

    def close(self) -> None:
        """Return all bytes."""
        if self._held and self._budget is not None and self.caller is not None:
            self._budget.held_bytes -= self._held
            self.caller.held_bytes -= self._held
            self._held = 0


def memory_limit_bytes() -> int:
    """Return the memory that this process may use where no setting says it: nine tenths of what the system allows.

    The rest is for what the budget does not count, such as the loading of a version beside a full load.
    """
    return usable_memory() * 9 // 10


def _trim() -> None:
    """Return what the C library keeps for later to the system."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):  # glibc
        libc.malloc_trim(0)


def _resident_bytes() -> int:
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
