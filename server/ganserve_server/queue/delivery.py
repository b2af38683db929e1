"""Hand the results of a worker's call to the event loops that wait for them."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from ganserve_server.errors import RequestError
from ganserve_server.queue.lanes import Ticket, WorkT

_log = logging.getLogger(__name__)


def call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *arguments: object) -> None:
    """Run a callback on an event loop from another thread; a loop that has closed waits for nothing."""
    try:
        loop.call_soon_threadsafe(callback, *arguments)
    except RuntimeError:
        _log.debug("dropped a result: its event loop is closed")


def resolve(tickets: Sequence[Ticket[WorkT]]) -> None:
    """Give finished requests their results; runs on their event loop."""
    for ticket in tickets:
        if not ticket.future.done():
            parts = ticket.parts
            ticket.future.set_result([*parts.values()] if len(parts) == 1 else [parts[at] for at in sorted(parts)])


def reject(ticket: Ticket[WorkT], error: RequestError) -> None:
    """Give a failed request its error; runs on its event loop."""
    if not ticket.future.done():
        ticket.future.set_exception(error)
