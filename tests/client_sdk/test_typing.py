"""A user's strictly typed code passes mypy --strict, and gets the types that it expects."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

USER = """
from collections.abc import Sequence
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import numpy.typing as npt

import ganserve
from ganserve import AsyncClient, Client, ModelInfo, ModelSummary, Sample, SampleBatch, Scores


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
        assert_type(client.models(), list[ModelSummary])
        assert_type(client.model("digits").provenance.metrics, dict[str, float])


async def asynchronous() -> None:
    async with AsyncClient() as client:
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
"""


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
    assert [line.partition(":")[2].partition(":")[0] for line in done.stdout.splitlines()[:-1] if "error:" in line] == [
        "5",
        "6",
        "7",
        "8",
    ], done.stdout
