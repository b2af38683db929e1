"""A user's strictly typed code passes mypy --strict, and gets the types that it expects."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

USER = """
from pathlib import Path
from typing import assert_type

import numpy as np
import numpy.typing as npt

import ganserve
from ganserve import (
    AsyncClient,
    BestOf,
    Client,
    ModelInfo,
    ModelSummary,
    Rejection,
    Sample,
    SampleBatch,
    SampleStream,
    Scores,
    ScoreStream,
    Selection,
    SelectionReport,
)


def blocking(target: str, names: list[str], indices: npt.NDArray[np.int64]) -> None:
    with Client(target, timeout_s=5) as client:
        batch = client.sample(16, label="7", seed=42, return_scores=True)
        assert_type(batch, SampleBatch)
        assert_type(batch.images, npt.NDArray[np.uint8])
        assert_type(batch[0], Sample)
        assert_type(batch[1:], SampleBatch)
        assert_type(batch.save_grid("x.png"), Path)
        client.sample(2, names)
        client.sample(2, indices)
        client.sample(2, np.int32(1))
        client.sample(2, latents=[[0.5, 1.0], [1.0, 2.0]])
        assert_type(client.sample(2, controls={"c0": 0.5}).save_csv("x.csv"), Path)
        assert_type(client.model().controls, tuple[ganserve.LatentControl, ...])
        for part in client.stream(1000, 7, chunk_size=10):
            assert_type(part, SampleBatch)
        assert_type(client.score(batch.images, batch.labels), Scores)
        client.score(["a.png", Path("b.png")], label="7")
        client.score(batch.to_pil(), 7)
        chosen: Selection = BestOf(8) if names else Rejection(max_proposals=16)
        selected = client.sample(4, select=chosen, encoding="png", priority="high", timeout_s=1.5)
        assert_type(selected.selection, SelectionReport | None)
        assert_type(client.stream(4, select=chosen, encoding="webp", priority="low"), SampleStream)
        assert_type(client.interpolate(1, [0.5, 1.0], 8, "7", truncation=0.7), SampleBatch)
        assert_type(client.score_stream(client.stream(100)), ScoreStream)
        for scores in client.score_stream([Path("a.png"), batch, batch.images], ["7", 7, [1, 2]]):
            assert_type(scores, Scores)
        assert_type(client.models(), list[ModelSummary])
        assert_type(client.model("digits").provenance.metrics, dict[str, float])


def options(models: Path) -> None:
    Client(["a", "b:1"], max_attempts=3, compression="gzip", metadata={"authorization": "Bearer x", "a-bin": b""})
    assert_type(Client.local(models, provider="cpu"), Client)
    assert_type(AsyncClient.local("models", timeout_s=3), AsyncClient)


async def asynchronous() -> None:
    async with AsyncClient() as client:
        async for scores in client.score_stream(client.stream(10)):
            assert_type(scores, Scores)
        assert_type(await client.interpolate(1, 2, 3), SampleBatch)
        assert_type(await client.sample(1), SampleBatch)
        async for part in client.stream(10):
            assert_type(part, SampleBatch)
        assert_type(await client.model(), ModelInfo)
        try:
            await client.wait_until_ready(1)
        except ganserve.ServerOverloaded as error:
            assert_type(error.retry_after_s, float | None)
        except ganserve.GanserveError as error:
            assert_type(error.violations, tuple[ganserve.FieldViolation, ...])
"""

WRONG = """
from ganserve import Client

client = Client()
client.sample(1.5)
client.sample(1, label=1.5)
client.sample(1, seeds=1)
client.sample(1).imagse
client.sample(1, encoding="gif")
client.sample(1, priority="urgent")
client.sample(1, select=8)
client.interpolate(1, 2)
Client(compression="zip")
Client.local("models", provider="gpu")
client.score_stream(5)
"""
WRONG_LINES = [str(line) for line in range(5, len(WRONG.splitlines()) + 1)]


def mypy(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--config-file=",
            f"--cache-dir={ROOT / '.mypy_cache' / 'user-code'}",
            str(path),
        ],
        cwd=path.parent,
        env={"MYPYPATH": str(ROOT / "client_sdk")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_typed_to_the_last_argument(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER)
    (tmp_path / "wrong.py").write_text(WRONG)
    done = mypy(tmp_path / "user.py")
    assert done.returncode == 0, done.stdout + done.stderr
    done = mypy(tmp_path / "wrong.py")
    lines = [line.partition(":")[2].partition(":")[0] for line in done.stdout.splitlines()[:-1] if "error:" in line]
    assert lines == WRONG_LINES, done.stdout


def test_pyright_agrees(tmp_path: Path) -> None:
    pytest.importorskip("pyright")
    (tmp_path / "user.py").write_text(USER)
    (tmp_path / "wrong.py").write_text(WRONG)
    (tmp_path / "pyrightconfig.json").write_text(
        json.dumps({"typeCheckingMode": "strict", "extraPaths": [str(ROOT / "client_sdk")]})
    )
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    found = json.loads(done.stdout)["generalDiagnostics"]
    errors: dict[str, list[str]] = {"user.py": [], "wrong.py": []}
    for each in found:
        if each["severity"] == "error":
            errors[Path(each["file"]).name].append(str(each["range"]["start"]["line"] + 1))
    assert errors["user.py"] == [], found
    assert sorted(set(errors["wrong.py"]), key=int) == WRONG_LINES, found
