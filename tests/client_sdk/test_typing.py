"""Test that strictly typed code, the docs' included, passes mypy --strict and pyright with the expected types."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

from documents import PAGES, ROOT, blocks

if TYPE_CHECKING:
    from collections.abc import Mapping

USES_THE_SDK = re.compile(r"\b(from|import) ganserve\b|\bClient\(|\bganserve_(client|server|local_client|models)\b")

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
    Encoding,
    ImagesLike,
    Label,
    Labels,
    ModelInfo,
    ModelSummary,
    Priority,
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
        client.score([batch[0], *batch, batch[:2]])
        client.score(Path("samples"))
        client.score([0.5, -1.0])
        with Path("a.png").open("rb") as opened:
            client.score([opened, opened.read()])
        chosen: Selection = BestOf(8) if names else Rejection(max_proposals=16)
        selected = client.sample(4, select=chosen, encoding="png", priority="high", timeout_s=1.5)
        assert_type(selected.selection, SelectionReport | None)
        assert_type(client.stream(4, select=chosen, encoding="webp", priority="low"), SampleStream)
        assert_type(client.interpolate(1, [0.5, 1.0], 8, "7", truncation=0.7), SampleBatch)
        assert_type(client.score_stream(client.stream(100)), ScoreStream)
        client.score_stream(batch)
        for scores in client.score_stream([Path("a.png"), batch, batch.images], ["7", 7, [1, 2]]):
            assert_type(scores, Scores)
        assert_type(client.models(), list[ModelSummary])
        assert_type(client.model("digits").provenance.metrics, dict[str, float])


def wrapped(client: Client, images: ImagesLike, label: Label, labels: Labels) -> None:
    encoding: Encoding = "png"
    priority: Priority = "low"
    client.sample(1, label, encoding=encoding, priority=priority)
    client.score(images, labels)
    client.score_stream([images], label)


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
WRONG_LINES = list(range(5, len(WRONG.splitlines()) + 1))

Errors: TypeAlias = "Mapping[str, list[tuple[int, str]]]"
"""Lines and messages of a checker, by file name."""


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write all code into one folder, so that each checker starts once."""
    folder = tmp_path_factory.mktemp("code")
    (folder / "user.py").write_text(USER)
    (folder / "wrong.py").write_text(WRONG)
    for page in PAGES:
        for block in blocks(page, "python"):
            if USES_THE_SDK.search(block.code):
                # The name gives the block's place, and is a valid module name.
                (folder / f"{page.stem.replace('-', '_')}_md_{block.line}.py").write_text(block.code)
    (folder / "pyrightconfig.json").write_text(
        json.dumps({"typeCheckingMode": "strict", "extraPaths": [str(ROOT / "client_sdk")]})
    )
    return folder


@pytest.fixture(scope="module", params=[pytest.param("mypy", marks=pytest.mark.slow), "pyright"])
def errors(request: pytest.FixtureRequest, code: Path) -> Errors:
    return mypy(code) if request.param == "mypy" else pyright(code)


def mypy(folder: Path) -> Errors:
    done = run(
        *("mypy", "--strict", "--config-file=", "--output=json"),
        f"--cache-dir={ROOT / '.mypy_cache' / 'user-code'}",
        *sorted(path.name for path in folder.glob("*.py")),
        folder=folder,
        MYPYPATH=str(ROOT / "client_sdk"),
    )
    errors = defaultdict(list)
    for each in map(json.loads, done.splitlines()):
        if each["severity"] == "error":
            errors[each["file"]].append((each["line"], each["message"]))
    return errors


def pyright(folder: Path) -> Errors:
    pytest.importorskip("pyright")
    done = run("pyright", "--pythonpath", sys.executable, "--outputjson", str(folder), folder=folder)
    errors = defaultdict(list)
    for each in json.loads(done)["generalDiagnostics"]:
        if each["severity"] == "error":
            errors[Path(each["file"]).name].append((each["range"]["start"]["line"] + 1, each["message"]))
    return errors


def run(module: str, *arguments: str, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr  # 1: wrong.py has errors; 2: the checker itself failed
    return done.stdout


def test_correct_code_passes_with_the_expected_types(errors: Errors) -> None:
    assert errors.get("user.py", []) == []


def test_every_type_error_is_found(errors: Errors) -> None:
    assert sorted({line for line, _ in errors["wrong.py"]}) == WRONG_LINES, errors["wrong.py"]


def test_the_examples_of_readme_and_docs(code: Path, errors: Errors) -> None:
    pages = {path.name.partition("_md_")[0] for path in code.glob("*_md_*.py")}
    assert {"README", "testing", "tutorial"} <= pages
    assert {file: found for file, found in errors.items() if "_md_" in file} == {}
