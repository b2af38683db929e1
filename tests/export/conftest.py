from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from ganserve_export import Exported


@pytest.fixture(scope="session")
def run(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `small_run`, which evaluation may write into."""
    return shutil.copytree(small_run, tmp_path_factory.mktemp("runs") / "digits")


@pytest.fixture(scope="session")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The package `digits`, version 1, exported from `run`. Leave it as it is."""
    from ganserve_export import export_run

    return export_run(run, tmp_path_factory.mktemp("repository") / "digits")
