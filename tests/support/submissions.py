"""Record submissions to a batcher."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ganserve_server.queue.batcher import Batcher
    from ganserve_server.queue.options import QueueOptions


@contextlib.contextmanager
def recorded(batcher: Batcher[Any]) -> Iterator[list[dict[str, Any]]]:
    """Yield the count and the options of each submission."""
    calls: list[dict[str, Any]] = []
    submit = batcher.submit

    async def record(work: object, count: int, options: QueueOptions) -> Any:
        calls.append({"count": count} | asdict(options))
        return await submit(work, count, options)

    batcher.submit = record  # type: ignore[method-assign]
    try:
        yield calls
    finally:
        del batcher.submit
