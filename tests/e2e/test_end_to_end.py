"""Train, export, serve in a process, sample and score through both clients."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from commands import said
from ganserve import AsyncClient, Client
from server_process import running_server
from tiny_runs import TINY_FLAGS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a model briefly, export it, train on, evaluate and export it again; return the working folder."""
    folder = tmp_path_factory.mktemp("work")
    said("train", "digits", "--out", "runs/digits", "--steps", 6, *TINY_FLAGS, folder=folder)
    said("export-onnx", "runs/digits", "--out", "models/digits", "--generator-only", folder=folder)
    said("train", "digits", "--out", "runs/digits", "--steps", 8, *TINY_FLAGS, folder=folder)
    metrics = ("--metrics", "sliced-wasserstein", "nn-distance")
    figures = said("evaluate", "runs/digits", *metrics, "-n", 60, "--json", folder=folder)
    (folder / "figures.json").write_text(figures)
    said("export-onnx", "runs/digits", "--out", "models/digits", folder=folder)
    return folder


@pytest.fixture(scope="module")
def target(folder: Path) -> Iterator[str]:
    with running_server(folder / "models") as server:
        yield server.address


def test_both_clients_draw_the_same_samples_as_the_package_itself(target: str, folder: Path) -> None:
    with Client(target) as client:
        batch = client.sample(16, 7, seed=42, return_latents=True)
        assert (batch.images.shape, batch.images.dtype) == ((16, 8, 8, 1), np.uint8)
        assert (batch.model, batch.version, batch.seed) == ("digits", 2, 42)
        assert batch.labels.tolist() == [7] * 16
        scores = client.score(batch.images, label=7)

    async def everything_again() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        async with AsyncClient(target) as client:
            first, rest = await asyncio.gather(
                client.sample(5, label="7", seed=42), client.sample(11, label="7", seed=42, offset=5)
            )
            streamed = [chunk.images async for chunk in client.stream(16, label=7, seed=42, chunk_size=3)]
            scored = await client.score(batch.images, label="7")
        return np.concatenate([first.images, rest.images]), np.concatenate(streamed), scored.scores

    parts, streamed, scored = asyncio.run(everything_again())
    np.testing.assert_array_equal(parts, batch.images)
    np.testing.assert_array_equal(streamed, batch.images)
    np.testing.assert_allclose(scored, scores.scores, rtol=1e-6)

    package = folder / "models" / "digits" / "2"
    session = onnxruntime.InferenceSession(package / "generator.onnx", providers=["CPUExecutionProvider"])
    (samples,) = session.run(None, {"latents": batch.latents, "labels": batch.labels})
    np.testing.assert_array_equal(samples, batch.images)


def test_versions_differ_and_the_latest_is_the_default(target: str) -> None:
    with Client(target) as client:
        (summary,) = client.models()
        assert [version.version for version in summary.versions] == [1, 2]
        old = client.sample(4, 3, seed=1, version=1)
        new = client.sample(4, 3, seed=1)
        assert (old.version, new.version) == (1, 2)
        assert (old.images != new.images).any()
        info = client.model()
        assert info.provenance.step == 8
        assert list(info.label_names) == [str(digit) for digit in range(10)]


def test_commands_use_the_server(target: str, folder: Path) -> None:
    at = ("--target", target)
    said("sample", "-n", 64, "--label", 7, "--out", "sevens.png", *at, folder=folder)
    with Image.open(folder / "sevens.png") as picture:
        assert picture.width == picture.height
    scored = json.loads(said("score", "sevens.png", "--json", *at, folder=folder))
    assert len(scored[0]["scores"]) == 64
    assert "digits" in said("models", *at, folder=folder)


def test_the_next_package_contains_the_evaluation(folder: Path) -> None:
    figures = json.loads((folder / "figures.json").read_text())
    assert {"sliced_wasserstein", "nn_distance_ratio"} <= figures["metrics"].keys()
    manifest = json.loads((folder / "models" / "digits" / "2" / "manifest.json").read_text())
    assert manifest["provenance"]["metrics"] == figures["metrics"]
