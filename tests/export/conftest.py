from __future__ import annotations

import dataclasses
import io
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from ganserve_training import PRESETS, train

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the digits preset, stopped after a few steps: real networks, data and checkpoint."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    train(dataclasses.replace(PRESETS["digits"], steps=8), folder, device="cpu", console=Console(file=io.StringIO()))
    return folder
