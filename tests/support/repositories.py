"""Help tests of repositories."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from ganserve.v1 import gan_service_pb2
from ganserve_server.engine.sessions import EngineConfig
from ganserve_server.models.repository import Repository
from ganserve_server.queue.options import BatchConfig

if TYPE_CHECKING:
    from collections.abc import Callable


ENGINE = EngineConfig(provider="CPUExecutionProvider", threads=1)


BATCH = BatchConfig(max_batch_size=8, max_queued_samples=1000, workers=1)


READY, FAILED, UNLOADED = (
    gan_service_pb2.MODEL_STATE_READY,
    gan_service_pb2.MODEL_STATE_FAILED,
    gan_service_pb2.MODEL_STATE_UNLOADED,
)


def states(repository: Repository) -> dict[str, dict[int, int]]:
    return {model.name: {v.version: v.state for v in model.versions} for model in repository.summaries()}


def wait_for(condition: Callable[[], object], what: str, *, patience_s: float = 60) -> None:
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, f"timed out waiting for {what}"
        time.sleep(0.01)


def break_package(folder: Path) -> None:
    (folder / "generator.onnx").write_bytes(b"broken")
