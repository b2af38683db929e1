"""Answer the requests of a stream in order while working on several of them."""

import asyncio
import collections
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadAhead:
    """Limits for reading a stream ahead of the response that is due."""

    requests: int = 64
    """Most requests at once: enough to fill a call with requests of one sample."""
    payload_bytes: int = 16 * 2**20
    """Reading pauses while the requests in work hold this many bytes."""


async def in_order(
    requests: AsyncIterator[RequestT],
    begin: Callable[[RequestT], Awaitable[tuple[Coroutine[Any, Any, ResponseT], int]]],
    ahead: ReadAhead,
) -> AsyncGenerator[ResponseT, None]:
    """Yield the response of each request, in the order of the requests. Closing the generator cancels all work.

    `begin` returns the work on a request, and about how many bytes it holds until its response is sent. An error of
    `requests` is raised after the responses to the requests before it.
    """
    pending: collections.deque[tuple[asyncio.Task[ResponseT], int]] = collections.deque()
    held_bytes = 0
    failure: Exception | None = None
    reading: asyncio.Task[RequestT] | None = _next(requests)
    try:
        while reading is not None or pending:
            wanted: set[asyncio.Task[Any]] = {pending[0][0]} if pending else set()
            room = len(pending) < ahead.requests and held_bytes < ahead.payload_bytes
            if reading is not None and (room or not pending):
                wanted.add(reading)
            await asyncio.wait(wanted, return_when=asyncio.FIRST_COMPLETED)
            if reading in wanted and reading.done():
                try:
                    request = reading.result()
                except StopAsyncIteration:
                    reading = None
                except Exception as error:  # noqa: BLE001 - raised below, after earlier responses
                    reading, failure = None, error
                else:
                    work, size = await begin(request)
                    pending.append((asyncio.create_task(work), size))
                    held_bytes += size
                    reading = _next(requests)
            while pending and pending[0][0].done():
                task, size = pending.popleft()
                held_bytes -= size
                yield task.result()
        if failure is not None:
            raise failure
    finally:
        tasks: list[asyncio.Task[Any]] = [task for task, _ in pending]
        if reading is not None:
            tasks.append(reading)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _next(requests: AsyncIterator[RequestT]) -> asyncio.Task[RequestT]:
    async def read() -> RequestT:
        return await anext(requests)

    return asyncio.create_task(read())
