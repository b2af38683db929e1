from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def run(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `small_run`, which evaluation may write into."""
    return shutil.copytree(small_run, tmp_path_factory.mktemp("runs") / "digits")
