"""Run the service's core in the test's process, without a transport."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ganserve_server.engine.sessions import EngineConfig
from ganserve_server.models.repository import Repository
from ganserve_server.queue.options import BatchConfig
from ganserve_server.service import GanService

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ganserve_server.requests.limits import Limits


@contextlib.contextmanager
def core(
    models: Path,
    *,
    limits: Limits | None = None,
    max_batch_size: int = 16,
    max_small_batch_size: int = 0,
    max_queued_samples: int = 65536,
    workers: int = 2,
    engine: EngineConfig | None = None,
) -> Iterator[GanService]:
    """Serve the models in a folder with small batches, so that requests are split and joined."""
    batch = BatchConfig(
        max_batch_size=max_batch_size,
        max_small_batch_size=max_small_batch_size,
        max_queued_samples=max_queued_samples,
        workers=workers,
    )
    repository = Repository(models, engine or EngineConfig(provider="CPUExecutionProvider", threads=1), batch)
    repository.load()
    try:
        yield GanService(repository, limits)
    finally:
        repository.close()
