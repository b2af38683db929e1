"""The waiting requests of one graph, and which of their samples the next call takes.

Requests of one priority wait in two lanes. A request that fits into one call waits in the short lane, first come first
served, so that it is not cut without need. A longer one, or one that is a part of a stream, waits in the bulk lane,
whose members take turns. Where both lanes have work, a quarter of the room goes to the bulk lane and the rest to the
short one: a short request passes any number of samples of bulk work, and bulk work never stands still.

Higher priorities go first. Where they leave nothing, a sixteenth of the room goes to the lower ones all the same.

Nothing here locks; `core.batcher` does.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import enum
import time
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = tuple[NDArray[np.generic], ...]

WorkT = TypeVar("WorkT")

_BULK_SHARE = 1 / 4
_LOWER_SHARE = 1 / 16


class Priority(enum.IntEnum):
    """Who goes first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


@dataclasses.dataclass(slots=True)  # made for every request: freezing it would cost
class Slice(Generic[WorkT]):
    """The part of one request that goes into one call."""

    work: WorkT
    start: int
    """First sample, counted within the request."""
    count: int


class Ticket(Generic[WorkT]):
    """One request's place in the queue, and what is done of it so far. Made on the event loop that waits for it."""

    __slots__ = (
        "arrived",
        "closed",
        "count",
        "deadline",
        "done",
        "future",
        "loop",
        "parts",
        "short_of",
        "taken",
        "work",
    )

    def __init__(self, work: WorkT, count: int, deadline: float | None) -> None:
        self.work = work
        self.count = count
        self.deadline = deadline
        self.arrived = time.monotonic()
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[list[Arrays]] = self.loop.create_future()
        self.taken = 0
        self.done = 0
        self.closed = False
        self.parts: dict[int, Arrays] = {}
        self.short_of: _Pair[WorkT] | None = None  # whose short lane it waits in


@dataclasses.dataclass(slots=True)
class Batch(Generic[WorkT]):
    """What one call takes."""

    slices: list[tuple[Ticket[WorkT], Slice[WorkT]]]
    expired: list[Ticket[WorkT]]
    """Tickets whose deadline has passed; they are yet to be closed."""


class Lanes(Generic[WorkT]):
    """The lanes of all priorities."""

    def __init__(self) -> None:
        self.queued = 0
        """Samples that wait: of tickets that are not closed, in no call yet."""
        self._pairs: tuple[_Pair[WorkT], ...] = tuple(_Pair() for _ in Priority)

    def __bool__(self) -> bool:
        return any(self._pairs)

    def add(self, ticket: Ticket[WorkT], *, bulk: bool, priority: Priority = Priority.NORMAL) -> None:
        """Put a ticket at the end of a lane."""
        self.queued += ticket.count
        pair = self._pairs[priority]
        if bulk:
            pair.bulk.append(ticket)
        else:
            ticket.short_of = pair
            pair.short_queued += ticket.count
            pair.short.append(ticket)

    def close(self, ticket: Ticket[WorkT]) -> None:
        """Frees a ticket's place; its lane drops it on the way."""
        if not ticket.closed:
            ticket.closed = True
            self._leave(ticket, ticket.count - ticket.taken)

    def ahead(self, *, bulk: bool, priority: Priority) -> int:
        """Return the samples that a request would wait for: a short one passes bulk work and lower priorities."""
        return self.queued if bulk else sum(pair.short_queued for pair in self._pairs[: priority + 1])

    def _leave(self, ticket: Ticket[WorkT], count: int) -> None:
        self.queued -= count
        if ticket.short_of is not None:
            ticket.short_of.short_queued -= count

    def clear(self) -> list[Ticket[WorkT]]:
        """Empty the lanes and returns the tickets that waited; they are yet to be closed."""
        return [ticket for pair in self._pairs for ticket in pair.clear() if not ticket.closed]

    def take(self, room: int, now: float) -> Batch[WorkT]:
        """Take samples for one call.

        Args:
            room: Most samples.
            now: The time on the clock of the deadlines.
        """
        batch: Batch[WorkT] = Batch([], [])
        _take_first([pair for pair in self._pairs if pair.short or pair.bulk], batch, room, now)
        for ticket, part in batch.slices:
            self._leave(ticket, part.count)
        return batch


class _Pair(Generic[WorkT]):
    """The short and the bulk lane of one priority."""

    def __init__(self) -> None:
        self.short: collections.deque[Ticket[WorkT]] = collections.deque()
        self.bulk: collections.deque[Ticket[WorkT]] = collections.deque()
        self.short_queued = 0
        """Samples that wait in the short lane."""
        # Shares of calls too small to have a whole sample for the bulk lane, or for the priorities below.
        self._credits = {_BULK_SHARE: 0.0, _LOWER_SHARE: 0.0}

    def __bool__(self) -> bool:
        return bool(self.short or self.bulk)

    def clear(self) -> list[Ticket[WorkT]]:
        waiting = [*self.short, *self.bulk]
        self.short.clear()
        self.bulk.clear()
        return waiting

    def reserve(self, share: float, room: int) -> int:
        """Return the samples that others may have of this call, by their share of the room over all calls."""
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


def _take_first(pairs: list[_Pair[WorkT]], batch: Batch[WorkT], room: int, now: float) -> int:
    """Move up to `room` samples into the batch, of the first pair before those after it; returns the room left."""
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
    """Move up to `room` samples from a lane into the batch and returns how much room is left.

    Args:
        lane: The lane.
        batch: The call.
        room: Most samples.
        now: The time on the clock of the deadlines.
        again_first: Whether a ticket that room ran out for stays the first of its lane, or has had its turn.
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
