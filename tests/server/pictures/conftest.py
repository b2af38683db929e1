from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from in_core import core
from picture_models import MODELS
from tiny_packages import build_tiny_package

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ganserve_server.service import GanService


@pytest.fixture(scope="module")
def gan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GanService]:
    folder = tmp_path_factory.mktemp("models")
    for name, model in MODELS.items():
        build_tiny_package(folder, name, model=model)
    with core(folder) as gan:
        yield gan
