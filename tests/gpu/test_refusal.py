"""Test that `--provider cuda` refuses to start without CUDA's libraries. Most tests need no GPU."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import onnxruntime
import pytest

import hidden_cuda
from devices import Device, skip_without
from ganserve_server.engine import providers

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    providers.CUDA not in onnxruntime.get_available_providers(), reason="this onnxruntime is built without CUDA"
)


@pytest.mark.parametrize("what", ["all", pytest.param("cudnn", marks=pytest.mark.gpu)])
def test_cuda_without_its_libraries_is_refused_and_names_them(what: str, repository: Path, tmp_path: Path) -> None:
    if what == "cudnn":
        skip_without(Device("cuda"))  # the other libraries are present
    hidden = tmp_path / "hidden"
    hidden_cuda.hide(what, hidden)
    paths = [str(hidden), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    flags = ["--models", str(repository), "--port", "0", "--provider", "cuda"]
    result = subprocess.run(
        [sys.executable, hidden_cuda.__file__, what, *flags],
        env={**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 2, result.stdout + result.stderr
    assert "serving on" not in result.stdout
    assert f"a library of CUDA {onnxruntime.cuda_version} or cuDNN is missing" in result.stderr
    assert any(file.name in result.stderr for file in hidden.iterdir()), result.stderr
    assert "pip install 'ganserve[cuda]'" in result.stderr
    assert "--provider cpu" in result.stderr


def test_cuda_without_cudnn_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse early: onnxruntime would make the session and fail at the first convolution."""

    def load(name: str, *_: Any, **__: Any) -> None:
        if name.startswith("libcudnn"):
            raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(providers, "_driver_obstacle", lambda: None)
    monkeypatch.setattr(providers, "_session_obstacle", lambda: None)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda **_: None)
    monkeypatch.setattr(ctypes, "CDLL", load)
    assert "libcudnn.so.9: cannot open" in str(providers.cuda_obstacle())
