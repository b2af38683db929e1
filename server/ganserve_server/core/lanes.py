"""The waiting requests of one graph, and which of their samples the next call takes.

Requests wait in two lanes. A request that fits into one call waits in the short lane, first come first served, so that
it is not cut without need. A longer one, or one that is a part of a stream, waits in the bulk lane, whose members take
turns. Where both lanes have work, a quarter of the room goes to the bulk lane and the rest to the short one: a short
request passes any number of samples of bulk work, and bulk work never stands still.

Nothing here locks; `core.batcher` does.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = tuple[NDArray[np.generic], ...]

WorkT = TypeVar("WorkT")

_BULK_SHARE = 0.25


@dataclasses.dataclass(frozen=True, slots=True)
class Slice(Generic[WorkT]):
    """The part of one request that goes into one call."""

    work: WorkT
    start: int
    """First sample, counted within the request."""
    count: int


class Ticket(Generic[WorkT]):
    """One request's place in the queue, and what is done of it so far. Made on the event loop that waits for it."""

    __slots__ = ("closed", "count", "deadline", "done", "future", "loop", "parts", "taken", "work")

    def __init__(self, work: WorkT, count: int, deadline: float | None) -> None:
        self.work = work
        self.count = count
        self.deadline = deadline
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[list[Arrays]] = self.loop.create_future()
        self.taken = 0
        self.done = 0
        self.closed = False
        self.parts: dict[int, Arrays] = {}


class Lanes(Generic[WorkT]):
    """The two lanes."""

    def __init__(self) -> None:
        self.queued = 0
        """Samples that wait: of tickets that are not closed, in no call yet."""
        self._short: collections.deque[Ticket[WorkT]] = collections.deque()
        self._bulk: collections.deque[Ticket[WorkT]] = collections.deque()
        self._bulk_credit = 0.0

    def __bool__(self) -> bool:
        return bool(self._short or self._bulk)

    def add(self, ticket: Ticket[WorkT], *, bulk: bool) -> None:
        """Puts a ticket at the end of a lane."""
        self.queued += ticket.count
        (self._bulk if bulk else self._short).append(ticket)

    def close(self, ticket: Ticket[WorkT]) -> None:
        """Frees a ticket's place; its lane drops it on the way."""
        if not ticket.closed:
            ticket.closed = True
            self.queued -= ticket.count - ticket.taken

    def clear(self) -> list[Ticket[WorkT]]:
        """Empties the lanes and returns the tickets that waited; they are yet to be closed."""
        waiting = [ticket for ticket in (*self._short, *self._bulk) if not ticket.closed]
        self._short.clear()
        self._bulk.clear()
        return waiting

    def take(self, room: int, now: float) -> tuple[list[tuple[Ticket[WorkT], Slice[WorkT]]], list[Ticket[WorkT]]]:
        """Takes samples for one call.

        Args:
            room: Most samples.
            now: The time on the clock of the deadlines.

        Returns:
            The slices, each with its ticket, and the tickets whose deadline has passed, which are yet to be closed.
        """
        batch: list[tuple[Ticket[WorkT], Slice[WorkT]]] = []
        expired: list[Ticket[WorkT]] = []
        reserved = 0
        if self._short and self._bulk:
            self._bulk_credit += _BULK_SHARE * room
            reserved = int(self._bulk_credit)
            self._bulk_credit -= reserved
        room = self._take(self._short, batch, expired, room - reserved, now) + reserved
        room = self._take(self._bulk, batch, expired, room, now)
        self._take(self._short, batch, expired, room, now)
        return batch, expired

    def _take(
        self,
        lane: collections.deque[Ticket[WorkT]],
        batch: list[tuple[Ticket[WorkT], Slice[WorkT]]],
        expired: list[Ticket[WorkT]],
        room: int,
        now: float,
    ) -> int:
        """Moves up to `room` samples from a lane into the batch and returns how much room is left."""
        while room and lane:
            ticket = lane.popleft()
            if ticket.closed:
                continue
            if ticket.deadline is not None and ticket.deadline <= now:
                expired.append(ticket)
                continue
            count = min(room, ticket.count - ticket.taken)
            batch.append((ticket, Slice(ticket.work, ticket.taken, count)))
            ticket.taken += count
            self.queued -= count
            room -= count
            if ticket.taken < ticket.count:
                # Room is used up. A short request stays the first of its lane, a bulk one has had its turn.
                if lane is self._short:
                    lane.appendleft(ticket)
                else:
                    lane.append(ticket)
        return room
