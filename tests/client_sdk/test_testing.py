"""Test `ganserve.testing`: its packages are valid, and its server is real."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from ganserve import Client, InvalidRequest, ServerUnavailable
from ganserve.testing import RunningServer, TinyModel, build_package, running_server

pytest_plugins = ["ganserve.testing.fixtures"]

MODELS = [
    TinyModel(),
    TinyModel(name="rgb", shape=(16, 12, 3), label_names=("red", "green"), latent_dimension=7),
    TinyModel(name="free", label_names=()),
    TinyModel(name="vectors", shape=(3,), label_names=("a", "b")),
    TinyModel(name="blind", critic=False, version=9),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_packages_are_valid(model: TinyModel, tmp_path: Path) -> None:
    folder = build_package(tmp_path, model)
    assert folder == tmp_path / model.name / str(model.version)
    graphs = sorted(folder.glob("*.onnx"))
    assert len(graphs) == 1 + model.critic
    for graph in graphs:
        onnx.checker.check_model(onnx.load(graph), full_check=True)
    with pytest.raises(FileExistsError):
        build_package(tmp_path, model)


def test_all_models_are_served(tmp_path: Path) -> None:
    with running_server(MODELS) as server, server.client() as client:
        assert {summary.name for summary in client.models()} == {model.name for model in MODELS}
        for model in MODELS:
            labels = [*model.label_names] or [None]
            info = client.model(model.name)
            assert (info.version, info.label_names) == (model.version, model.label_names)
            drawn = [
                client.sample(50, label, model=model.name, seed=1, return_scores=model.critic).samples
                for label in labels
            ]
            assert drawn[0].shape == (50, *model.shape)
            assert drawn[0].dtype == (np.uint8 if model.is_image else np.float32)
            assert len(np.unique(drawn[0], axis=0)) == 50  # each latent gives another sample
            assert len({each.tobytes() for each in drawn}) == len(labels)  # and so does each label
            if model.critic:
                scores = [client.score(drawn[0], label, model=model.name) for label in labels]
                assert len({each.scores.tobytes() for each in scores}) == len(labels)
                np.testing.assert_allclose(
                    scores[0].probabilities, 1 / (1 + np.exp(-0.5 * scores[0].scores)), atol=1e-6
                )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "My model"}, "name: is 'My model'; expected small letters"),
        ({"version": 0}, "version: is 0; expected at least 1"),
        ({"shape": (8, 8)}, r"shape: is \(8, 8\); expected"),
        ({"shape": (8, 8, 2)}, r"shape: is \(8, 8, 2\); expected"),
        ({"shape": (0,)}, r"shape: is \(0,\); expected"),
        ({"latent_dimension": 0}, "latent_dimension: is 0; expected at least 1"),
        ({"label_names": ("a", "a")}, "label_names: are"),
    ],
)
def test_invalid_models_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        TinyModel(**values)  # type: ignore[arg-type]


def test_fixtures(ganserve_server: RunningServer, ganserve_client: Client, ganserve_local_client: Client) -> None:
    remote, local = (
        client.sample(9, "3", seed=1, return_scores=True) for client in (ganserve_client, ganserve_local_client)
    )
    np.testing.assert_array_equal(remote.samples, local.samples)
    np.testing.assert_array_equal(remote.scores, local.scores)
    assert ganserve_client.target == ganserve_server.target
    assert "serving on" in ganserve_server.log
    assert ganserve_server.models.joinpath("digits", "1", "manifest.json").is_file()
    os.kill(ganserve_server.pid, 0)


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(ServerUnavailable, match=r"(?s)ended with exit code 2 before it served:.*--nope: no such option"),
        running_server((), "--nope"),
    ):
        pass
    with pytest.raises(ServerUnavailable, match="exit code"), running_server(tmp_path / "none"):
        pass


def test_the_environment_does_not_reach_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANSERVE_MAX_BATCH_SIZE", "nonsense")
    with running_server() as server, server.client() as client:
        assert len(client.sample(3, "1")) == 3
    assert "GANSERVE_MAX_BATCH_SIZE" in os.environ


def test_a_missing_extra_is_named() -> None:
    code = """
import sys
sys.modules["onnxruntime"] = None  # as if it were not installed
from ganserve import MissingExtra
from ganserve.testing import running_server
try:
    with running_server():
        pass
except MissingExtra as error:
    print(error)
print({"torch", "onnx"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert done.stdout == (
        "a server for tests needs onnxruntime, which is not installed: pip install 'ganserve[server]'\nset()\n"
    )
