"""Without CUDA's libraries, `--provider cuda` refuses to start. Needs onnxruntime's CUDA build, but no GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

import hidden_cuda
from ganserve_server.core.providers import CUDA


@pytest.mark.skipif(CUDA not in onnxruntime.get_available_providers(), reason="this onnxruntime is built without CUDA")
def test_cuda_without_its_libraries_is_refused_with_what_is_missing(repository: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden_cuda.hide(hidden)
    command = [sys.executable, hidden_cuda.__file__, "--models", str(repository), "--port", "0", "--provider", "cuda"]
    result = subprocess.run(
        command,
        env={**os.environ, "LD_LIBRARY_PATH": str(hidden)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 2, result.stdout + result.stderr
    assert "serving on" not in result.stdout
    assert (
        f"CUDA was asked for and cannot be had: a library of CUDA {onnxruntime.cuda_version} or cuDNN" in result.stderr
    )
    assert any(file.name in result.stderr for file in hidden.iterdir()), result.stderr
    assert "pip install 'ganserve[cuda]'" in result.stderr
    assert "--provider cpu" in result.stderr
