"""Hold the waiting requests of one graph, and choose the samples of the next call.

Callers take turns: each that has waiting requests gets an equal share of the call, and what it leaves goes to the next
ones.

Within a caller's requests, each priority has two lanes. A request that fits into one call waits in the short lane, in
order of arrival, and is not split without need. A longer request, or a part of a stream, waits in the bulk lane, whose
requests take turns. If both lanes have work, a quarter of the caller's share goes to the bulk lane and the rest to the
short lane: short requests overtake bulk work, but never stop it.

Higher priorities go first, but lower ones always get at least a sixteenth of the caller's share.

The caller, `batcher`, holds its lock.
"""

from __future__ import annotations

import asyncio
import collections
import enum
import time
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ganserve_server.tracing.spans import GraphSpans

Arrays = tuple[NDArray[np.generic], ...]

WorkT = TypeVar("WorkT")

_BULK_SHARE = 1 / 4
_LOWER_SHARE = 1 / 16


class Priority(enum.IntEnum):
    """The priority of a request; the lowest number goes first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


@dataclass(slots=True)  # not frozen: made for every request, and freezing takes time
class Slice(Generic[WorkT]):
    """The part of a request in one call."""

    work: WorkT
    start: int
    """Index of the first sample within the request."""
    count: int


@dataclass(slots=True, eq=False)  # not frozen: made for every request, and freezing takes time
class Ticket(Generic[WorkT]):
    """A request's place in the queue, and its results so far. Made on the event loop that waits for it."""

    work: WorkT
    count: int
    deadline: float | None
    arrived: float = field(default_factory=time.monotonic)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    future: asyncio.Future[list[Arrays]] = field(init=False)
    taken: int = 0
    done: int = 0
    closed: bool = False
    parts: dict[int, Arrays] = field(default_factory=dict)
    lanes: _CallerLanes[WorkT] | None = None
    """Its caller's lanes."""
    short_of: _PriorityLanes[WorkT] | None = None
    """The lanes in whose short lane it waits, if any."""
    spans: GraphSpans | None = None
    """Its spans, if its call is traced."""

    def __post_init__(self) -> None:
        self.future = self.loop.create_future()


@dataclass(slots=True)
class Batch(Generic[WorkT]):
    """The slices of one call."""

    slices: list[tuple[Ticket[WorkT], Slice[WorkT]]]
    expired: list[Ticket[WorkT]]
    """Tickets whose deadline has passed; the caller closes them."""


class Lanes(Generic[WorkT]):
    """The lanes of all callers."""

    def __init__(self) -> None:
        self.queued = 0
        """Samples that wait for a call; tickets that are closed do not count."""
        # In the order of their turns. A caller stays while its lanes have tickets.
        self._callers: dict[str, _CallerLanes[WorkT]] = {}

    def __bool__(self) -> bool:
        return bool(self._callers)

    def add(self, ticket: Ticket[WorkT], *, bulk: bool, priority: Priority = Priority.NORMAL, caller: str = "") -> None:
        """Put a ticket at the end of a lane."""
        lanes = self._callers.get(caller)
        if lanes is None:
            lanes = self._callers[caller] = _CallerLanes()
        self.queued += ticket.count
        lanes.add(ticket, bulk=bulk, priority=priority)

    def close(self, ticket: Ticket[WorkT]) -> None:
        """Free a ticket's place; its lane drops it later."""
        if not ticket.closed:
            ticket.closed = True
            self._leave(ticket, ticket.count - ticket.taken)

    def ahead(self, *, bulk: bool, priority: Priority, caller: str = "") -> int:
        """Return the caller's samples ahead of a new request; a short one overtakes bulk work and lower priorities."""
        lanes = self._callers.get(caller)
        return 0 if lanes is None else lanes.ahead(bulk=bulk, priority=priority)

    def _leave(self, ticket: Ticket[WorkT], count: int) -> None:
        self.queued -= count
        assert ticket.lanes is not None, "`add` has set its lanes"
        ticket.lanes.queued -= count
        if ticket.short_of is not None:
            ticket.short_of.short_queued -= count

    def clear(self) -> list[Ticket[WorkT]]:
        """Empty the lanes and return the waiting tickets; the caller closes them."""
        waiting = [ticket for lanes in self._callers.values() for ticket in lanes.clear() if not ticket.closed]
        self._callers.clear()
        return waiting

    def take(self, room: int, now: float) -> Batch[WorkT]:
        """Take up to `room` samples for one call; `now` is `time.monotonic()`."""
        batch: Batch[WorkT] = Batch([], [])
        if len(self._callers) == 1:
            ((key, lanes),) = self._callers.items()
            lanes.take(batch, room, now)
            if not lanes:
                del self._callers[key]
        else:
            self._take_turns(batch, room, now)
        for ticket, part in batch.slices:
            self._leave(ticket, part.count)
        return batch

    def _take_turns(self, batch: Batch[WorkT], room: int, now: float) -> None:
        """Give each caller an equal share of the room, and what it leaves to the next ones."""
        while room and self._callers:
            share = max(1, room // len(self._callers))
            for key in list(self._callers):
                lanes = self._callers.pop(key)
                room -= share - lanes.take(batch, share, now)
                if lanes:
                    self._callers[key] = lanes  # behind the others
                share = min(share, room)
                if not share:
                    break


class _CallerLanes(Generic[WorkT]):
    """The lanes of one caller, a pair for each priority."""

    __slots__ = ("_pairs", "queued")

    def __init__(self) -> None:
        self.queued = 0
        """Samples that wait for a call."""
        self._pairs: tuple[_PriorityLanes[WorkT], ...] = tuple(_PriorityLanes() for _ in Priority)

    def __bool__(self) -> bool:
        return any(self._pairs)

    def add(self, ticket: Ticket[WorkT], *, bulk: bool, priority: Priority) -> None:
        self.queued += ticket.count
        ticket.lanes = self
        pair = self._pairs[priority]
        if bulk:
            pair.bulk.append(ticket)
        else:
            ticket.short_of = pair
            pair.short_queued += ticket.count
            pair.short.append(ticket)

    def ahead(self, *, bulk: bool, priority: Priority) -> int:
        return self.queued if bulk else sum(pair.short_queued for pair in self._pairs[: priority + 1])

    def clear(self) -> list[Ticket[WorkT]]:
        return [ticket for pair in self._pairs for ticket in pair.clear()]

    def take(self, batch: Batch[WorkT], room: int, now: float) -> int:
        """Move up to `room` samples into the batch and return the room left."""
        return _take_first([pair for pair in self._pairs if pair.short or pair.bulk], batch, room, now)


class _PriorityLanes(Generic[WorkT]):
    """The short and the bulk lane of one priority."""

    def __init__(self) -> None:
        self.short: collections.deque[Ticket[WorkT]] = collections.deque()
        self.bulk: collections.deque[Ticket[WorkT]] = collections.deque()
        self.short_queued = 0
        """Samples that wait in the short lane."""
        # Fractions of a sample that small calls still owe to the bulk lane and to lower priorities.
        self._credits = {_BULK_SHARE: 0.0, _LOWER_SHARE: 0.0}

    def __bool__(self) -> bool:
        return bool(self.short or self.bulk)

    def clear(self) -> list[Ticket[WorkT]]:
        waiting = [*self.short, *self.bulk]
        self.short.clear()
        self.bulk.clear()
        return waiting

    def reserve(self, share: float, room: int) -> int:
        """Return the samples of this call to leave to others, so that they get their share over all calls."""
        self._credits[share] += share * room
        reserved = int(self._credits[share])
        self._credits[share] -= reserved
        return reserved

    def take(self, batch: Batch[WorkT], room: int, now: float) -> int:
        if not self.bulk:
            return _take(self.short, batch, room, now, again_first=True)
        reserved = self.reserve(_BULK_SHARE, room) if self.short else 0
        room = _take(self.short, batch, room - reserved, now, again_first=True) + reserved
        room = _take(self.bulk, batch, room, now, again_first=False)
        return _take(self.short, batch, room, now, again_first=True)


def _take_first(pairs: list[_PriorityLanes[WorkT]], batch: Batch[WorkT], room: int, now: float) -> int:
    """Move up to `room` samples into the batch, highest priority first, and return the room left."""
    if len(pairs) <= 1:
        return pairs[0].take(batch, room, now) if pairs else room
    first = pairs[0]
    reserved = first.reserve(_LOWER_SHARE, room)
    room = first.take(batch, room - reserved, now) + reserved
    room = _take_first(pairs[1:], batch, room, now)
    return first.take(batch, room, now)


def _take(
    lane: collections.deque[Ticket[WorkT]], batch: Batch[WorkT], room: int, now: float, *, again_first: bool
) -> int:
    """Move up to `room` samples from a lane into the batch and return the room left.

    With `again_first`, an unfinished ticket stays first in its lane; otherwise it moves to the end.
    """
    while room and lane:
        ticket = lane.popleft()
        if ticket.closed:
            continue
        if ticket.deadline is not None and ticket.deadline <= now:
            batch.expired.append(ticket)
            continue
        count = min(room, ticket.count - ticket.taken)
        batch.slices.append((ticket, Slice(ticket.work, ticket.taken, count)))
        ticket.taken += count
        room -= count
        if ticket.taken < ticket.count:
            if again_first:
                lane.appendleft(ticket)
            else:
                lane.append(ticket)
    return room
