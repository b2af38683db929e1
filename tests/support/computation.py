"""Define a batcher's computation that tests can hold, fail and inspect."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from ganserve_server.queue.batcher import Batcher
from ganserve_server.queue.options import BatchConfig, QueueOptions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ganserve_server.queue.lanes import Slice


Call = list[tuple[str, int, int]]


class Computation:
    """Return each sample's index in work named "a"; can be held, and records its calls."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.failing: set[str] = set()
        self.threads: list[str] = []
        self.workers: list[int] = []
        self.takes_s = 0.0
        self.started = threading.Semaphore(0)
        self._gate = threading.Event()
        self._gate.set()

    def __call__(self, slices: Sequence[Slice[str]], worker: int) -> tuple[np.ndarray]:
        self.calls.append([(part.work, part.start, part.count) for part in slices])
        self.threads.append(threading.current_thread().name)
        self.workers.append(worker)
        self.started.release()
        self._gate.wait()
        time.sleep(self.takes_s)
        if failing := self.failing & {part.work for part in slices}:
            raise RuntimeError(f"cannot compute {failing}")
        return (np.concatenate([np.arange(part.start, part.start + part.count) for part in slices]),)

    def hold(self) -> None:
        self._gate.clear()

    def let_go(self) -> None:
        self._gate.set()


def run(
    scenario: Callable[[Batcher[str], Computation], Awaitable[None]],
    *,
    workers: int = 1,
    max_batch_size: int = 8,
    max_queued_samples: int = 1000,
    queue_delay_s: float = 0.0,
    inline_samples: int = 0,
    lone_samples: int = 0,
) -> Computation:
    computation = Computation()
    config = BatchConfig(
        max_batch_size=max_batch_size,
        max_queued_samples=max_queued_samples,
        workers=workers,
        queue_delay_s=queue_delay_s,
    )
    batcher = Batcher("test", computation, config, inline_samples=inline_samples, lone_samples=lone_samples)

    async def main() -> None:
        await asyncio.wait_for(scenario(batcher, computation), 120)

    try:
        asyncio.run(main())
    finally:
        computation.let_go()
        batcher.close()
    return computation


def values(parts: list[tuple[np.ndarray, ...]]) -> list[int]:
    return np.concatenate([part[0] for part in parts]).tolist()


async def started(computation: Computation) -> None:
    """Wait until one more call has started."""
    assert await asyncio.to_thread(computation.started.acquire, timeout=60)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a state that other threads bring about."""
    while not condition():  # noqa: ASYNC110 - there is no event
        await asyncio.sleep(0.001)


async def submitted(batcher: Batcher[str], work: str, count: int, **options: object) -> asyncio.Task:
    """Submit a request and wait until it is in the queue."""
    task = asyncio.ensure_future(batcher.submit(work, count, QueueOptions(**options)))
    await asyncio.sleep(0)
    return task


async def behind_a_held_call(batcher: Batcher[str], computation: Computation) -> asyncio.Task:
    """Keep the only worker busy, so that later requests wait."""
    computation.hold()
    first = await submitted(batcher, "first", 1)
    await started(computation)
    return first
