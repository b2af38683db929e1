from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from ganserve_export import Exported


@pytest.fixture(scope="session")
def run(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy `small_run`, so that evaluation may write into it."""
    return shutil.copytree(small_run, tmp_path_factory.mktemp("runs") / "digits")


@pytest.fixture(scope="session")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Export `run` as version 1 of the package `digits`. Do not change the folder."""
    from ganserve_export import export_run

    return export_run(run, tmp_path_factory.mktemp("repository") / "digits")
