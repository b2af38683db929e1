"""Make the shards of a job in this process: several at once, and the parts of each concurrently."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ganserve_server.bulk.store import INDEX_FILE, Store
from ganserve_server.queue.ordered_stream import ReadAhead, in_order

if TYPE_CHECKING:
    from pathlib import Path

_PartT = TypeVar("_PartT")
_ResultT = TypeVar("_ResultT")
_SHARDS_AT_ONCE = 2  # one is written or uploaded while the other is computed
_AHEAD = ReadAhead(requests=8, payload_bytes=48 * 2**20)


class _End:
    """No more parts."""


_END = _End()


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of a job that becomes one file or folder."""

    name: str
    samples: int
    """Number of samples, as far as it is known."""
    content: Any
    """Facts that the job needs to make it."""
    folder: bool = False
    """True for a folder of files."""

    @property
    def mark(self) -> str:
        """The name whose presence says that the shard is finished."""
        return f"{self.name}/{INDEX_FILE}" if self.folder else self.name


class Worker(Protocol):
    """Makes shards with a loaded model."""

    async def fill(self, shard: Shard, path: Path, tell: Callable[[int], None]) -> None:
        """Write a shard to `path`, and report each further number of finished samples."""

    def close(self) -> None:
        """Free the model."""


def unfinished(store: Store, shards: Iterable[Shard]) -> list[Shard]:
    """Return the shards that are still to be made."""
    there = store.names()
    return [shard for shard in shards if shard.mark not in there]


async def make_shards(worker: Worker, store: Store, shards: Sequence[Shard], tell: Callable[[int], None]) -> None:
    """Make shards, and report each further number of finished samples."""
    waiting = iter(shards)

    async def work() -> None:
        for shard in waiting:
            with store.scratch(shard.name) as path:
                await worker.fill(shard, path, tell)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(_SHARDS_AT_ONCE, len(shards))):
                group.create_task(work())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


@contextlib.contextmanager
def own_thread() -> Iterator[Callable[..., asyncio.Future[Any]]]:
    """Yield a function that calls another in a thread, one call after the other; at the end, wait for running calls.

    So a cancelled job does not write on after its files are removed.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="ganserve-shard") as thread:
        yield functools.partial(asyncio.get_running_loop().run_in_executor, thread)


async def side_by_side(
    parts: Iterable[_PartT], work: Callable[[_PartT], Awaitable[_ResultT]], size: Callable[[_PartT], int]
) -> AsyncGenerator[_ResultT]:
    """Yield the results of parts in order while computing the next ones; `size` estimates the bytes of a result.

    The parts may come from files, which a thread reads. Close it also after an error: Python closes what is left open
    inside at the same time, and complains.
    """
    waiting = iter(parts)

    async def each() -> AsyncIterator[_PartT]:
        while True:
            part = await asyncio.to_thread(next, waiting, _END)
            if isinstance(part, _End):
                return
            yield part

    async def begin(part: _PartT) -> tuple[Any, int]:
        return work(part), size(part)

    results = in_order(each(), begin, _AHEAD)
    try:
        async for result in results:
            yield result
    finally:
        await results.aclose()
