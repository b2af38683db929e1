from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from in_core import core
from selection_rules import MODELS
from tiny_packages import (
    build_tiny_package,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ganserve_server.service import GanService


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name, model in MODELS.items():
        build_tiny_package(folder, name, model=model)
    return folder


@pytest.fixture(scope="module")
def gan(models: Path) -> Iterator[GanService]:
    with core(models) as gan:
        yield gan
