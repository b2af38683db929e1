"""Count what callers use of their quotas over several processes, in memory that these share (Linux).

The memory is a table of slots, each of a caller: the level of its two rates, and for each process its calls and waiting
samples. A process changes a slot under its lock, which the kernel gives free if the process ends; the supervisor then
clears what the process had counted.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import mmap
import os
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ganserve_server.identity.usage import changed, refilled

_SLOTS = 8192
_TRIES = 64
_FULL_S = 2.0  # after which a rate without debt is full again, and its slot can be another caller's
_TABLE_LOCK = _SLOTS
_HEAD = np.dtype([("key", "<u8"), ("per_s", "<f8", 2), ("level", "<f8", 2), ("at", "<f8", 2)])
_COUNTS = 2
_POLL_S = 0.05


def make_usage_file(processes: int) -> int:
    """Return the descriptor of an empty table for a number of processes, which they inherit."""
    descriptor = os.memfd_create("ganserve-quotas", 0)
    os.ftruncate(descriptor, _size(processes))
    return descriptor


def _size(processes: int) -> int:
    return _SLOTS * (_HEAD.itemsize + 8 * _COUNTS * processes)


class SharedUsage:
    """The table, as one process sees it. Used on one event loop."""

    def __init__(self, descriptor: int, process: int) -> None:
        """Use the table of a descriptor as the process of a number."""
        size = os.fstat(descriptor).st_size
        self._descriptor = descriptor
        self.process = process
        processes = (size // _SLOTS - _HEAD.itemsize) // (8 * _COUNTS)
        memory = mmap.mmap(descriptor, size)
        head = np.frombuffer(memory, _HEAD, _SLOTS)
        self.keys: NDArray[np.uint64] = head["key"]
        self.per_s: NDArray[np.float64] = head["per_s"]
        self.levels: NDArray[np.float64] = head["level"]
        self.at: NDArray[np.float64] = head["at"]
        counts = np.frombuffer(memory, np.int64, offset=_SLOTS * _HEAD.itemsize)
        self.counts: NDArray[np.int64] = counts.reshape(_SLOTS, _COUNTS, processes)

    def forget(self, process: int) -> None:
        """Clear what a process that has ended had counted."""
        self.counts[:, :, process] = 0

    def of(self, name: str) -> CallerUsage:
        """Return the use of a caller."""
        key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") or 1
        return CallerUsage(self, key)

    def slot_of(self, key: int) -> int:
        """Return the slot of a caller: its own, a free one, or one of a caller that is idle.

        If there is none, callers share a slot, and each gets less.
        """
        with self.locked(_TABLE_LOCK):
            idle = None
            for index in range(_TRIES):
                slot = (key + index) % _SLOTS
                if (there := int(self.keys[slot])) in (key, 0):
                    idle = None if there else slot
                    break
                if idle is None and self._is_idle(slot):
                    idle = slot
            else:
                slot = key % _SLOTS if idle is None else idle
            if idle is not None:
                with self.locked(idle):
                    self.keys[idle], self.per_s[idle], slot = key, 0.0, idle
        return slot

    def _is_idle(self, slot: int) -> bool:
        if self.counts[slot].any():
            return False
        now = time.monotonic()
        return all(
            now - at > _FULL_S and level + (now - at) * per_s >= 0
            for level, per_s, at in zip(self.levels[slot], self.per_s[slot], self.at[slot], strict=True)
        )

    @contextlib.contextmanager
    def locked(self, slot: int) -> Iterator[None]:
        """Let no other process change a slot, or with `_TABLE_LOCK` take one, until the block ends."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, slot)
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, slot)


class CallerUsage:
    """The use of one caller over all processes; see `usage.Usage`."""

    poll_s: float | None = _POLL_S

    def __init__(self, table: SharedUsage, key: int) -> None:
        self._table = table
        self._key = key
        self._slot = table.slot_of(key)
        self._per_s = [0.0, 0.0]

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Let no other process change it until the block ends."""
        table = self._table
        while True:
            with table.locked(self._slot):
                if int(table.keys[self._slot]) == self._key:
                    yield
                    return
            # It was idle, so that its slot is another caller's now.
            self._slot = table.slot_of(self._key)
            with table.locked(self._slot):
                self._key = int(table.keys[self._slot])
                for rate, per_s in enumerate(self._per_s):
                    self.set_rate(rate, per_s)

    def own(self, count: int) -> int:
        """Return a count of this process."""
        return int(self._table.counts[self._slot, count, self._table.process])

    def total(self, count: int) -> int:
        """Return a count over all processes."""
        return int(self._table.counts[self._slot, count].sum())

    def add(self, count: int, number: int) -> None:
        """Add to a count of this process."""
        self._table.counts[self._slot, count, self._table.process] += number

    def set_rate(self, rate: int, per_s: float) -> None:
        """Set a rate; see `usage.changed`."""
        table, place = self._table, (self._slot, rate)
        self._per_s[rate] = per_s
        before = float(table.levels[place]), float(table.per_s[place]), float(table.at[place])
        if table.per_s[place] != per_s:
            table.levels[place], table.at[place] = changed(*before, per_s)
            table.per_s[place] = per_s

    def wait_s(self, rate: int, needed: float) -> float:
        """Return the seconds until a rate has this much, 0 if it does."""
        table, place = self._table, (self._slot, rate)
        per_s = float(table.per_s[place])
        level, table.at[place] = refilled(float(table.levels[place]), per_s, float(table.at[place]))
        table.levels[place] = level
        return max(0.0, (needed - level) / per_s)

    def take(self, rate: int, number: float) -> None:
        """Use up a part of a rate."""
        self._table.levels[self._slot, rate] -= number
