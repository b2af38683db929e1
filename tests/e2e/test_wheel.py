"""Test the wheel: its top-level names, and an install without torch and onnxruntime."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = {"ganserve", "ganserve_server", "ganserve_training", "ganserve_export"}

USE = """
import importlib.util, json, sys
import ganserve
lazy = sorted({"grpc", "torch", "onnxruntime"} & set(sys.modules))
from ganserve import Client
with Client(sys.argv[1]) as client:
    batch = client.sample(5, label="two", model="tiny", seed=3)
    scores = client.score(batch.images, label="two", model="tiny")
print(json.dumps({
    "file": ganserve.__file__,
    "loaded_by_import": lazy,
    "installed": [name for name in ("torch", "onnxruntime", "onnx", "PIL") if importlib.util.find_spec(name)],
    "shape": batch.images.shape,
    "seed": batch.seed,
    "probabilities": len(scores.probabilities),
}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (path,) = out.glob("*.whl")
    return path


def test_the_wheel_has_exactly_four_top_level_names(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == NAMES
    for name in NAMES:
        assert f"{name}/py.typed" in names


@pytest.mark.slow
def test_bare_install_uses_the_sdk_without_torch_or_onnxruntime(wheel: Path, server: str, tmp_path: Path) -> None:
    # Run outside the checkout, so that only installed packages can be imported.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    where = {"env": environment, "cwd": tmp_path, "capture_output": True, "text": True}
    venv.create(tmp_path / "bare", with_pip=True)
    python = tmp_path / "bare" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel]
    subprocess.run(install, check=True, **where)

    used = subprocess.run([python, "-c", USE, server], check=True, **where)
    facts = json.loads(used.stdout)
    assert str(tmp_path) in facts["file"]
    assert facts["loaded_by_import"] == []
    assert facts["installed"] == []
    assert facts["shape"] == [5, 8, 8, 1]
    assert facts["seed"] == 3
    assert facts["probabilities"] == 5

    ganserve = python.with_name("ganserve")
    listed = subprocess.run([ganserve, "--help"], check=True, **where)
    for command in ("train", "export-onnx", "serve", "sample", "score", "models", "doctor", "evaluate"):
        assert command in listed.stdout
    refused = subprocess.run([ganserve, "train", "digits"], check=False, **where)
    assert refused.returncode == 2
    assert "pip install 'ganserve[training]'" in refused.stderr
    assert "Traceback" not in refused.stderr
