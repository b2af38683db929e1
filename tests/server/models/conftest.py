from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ganserve_server.models.repository import Repository
from repositories import BATCH, ENGINE
from tiny_packages import build_tiny_package

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def models(tmp_path: Path) -> Path:
    build_tiny_package(tmp_path / "models", "tiny", version=1)
    return tmp_path / "models"


@pytest.fixture
def repository(models: Path) -> Iterator[Repository]:
    repository = Repository(models, ENGINE, BATCH, drain_timeout_s=20)
    repository.load()
    yield repository
    repository.close()
