"""Load and edit tiny packages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganserve.v1 import model_spec_pb2
from ganserve_server.engine.sessions import EngineConfig
from ganserve_server.models.graph_files import check_graph_files
from ganserve_server.models.model import Model
from ganserve_server.models.package_files import read_package
from ganserve_server.queue.options import BatchConfig
from tiny_packages import (
    read_manifest,
    write_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


ENGINE = EngineConfig(provider="CPUExecutionProvider", threads=1)


BATCH = BatchConfig(max_batch_size=4, max_queued_samples=100, workers=1)


def load(folder: Path) -> None:
    package = read_package(folder)
    check_graph_files(package)
    Model(package, ENGINE, BATCH).close()


def edited(change: Callable[[model_spec_pb2.ModelSpec], object]) -> Callable[[Path], None]:
    """Write a package with a changed manifest."""

    def edit(folder: Path) -> None:
        spec = read_manifest(folder)
        change(spec)
        write_manifest(folder, spec, digests=False)

    return edit
