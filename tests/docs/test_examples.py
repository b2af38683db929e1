"""Run the programs of examples/ and the commands of docs/examples.md against a real server."""

from __future__ import annotations

import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from fastapi.testclient import TestClient
from nbclient import NotebookClient
from PIL import Image

from documents import ROOT, the_block
from ganserve import Client
from ganserve.testing import running_server
from ganserve_server import demo
from ports import closed_address, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ganserve.testing import RunningServer

EXAMPLES = ROOT / "examples"
SERVE, CURL, NODE = (the_block("sh", part).code for part in ("uvicorn", "curl --silent", "node sample.js"))
needs_node = pytest.mark.skipif(
    shutil.which("node") is None or shutil.which("npm") is None, reason="no node and npm on the PATH: install Node.js"
)
"""npm gets the example's packages from its registry."""


@pytest.fixture(scope="module")
def demo_server() -> Iterator[RunningServer]:
    """Serve the demo: the examples work with it as they are.

    `ganserve_server` cannot: it starts once in a session, and another module may have asked for it first.
    """
    with running_server(str(demo.MODELS)) as server:
        yield server


@pytest.fixture
def target(demo_server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("GANSERVE_TARGET", demo_server.target)
    return demo_server.target


def fastapi_app() -> Any:
    spec = importlib.util.spec_from_file_location("fastapi_app", EXAMPLES / "fastapi_app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.app


def test_the_web_application_draws_the_clients_samples(target: str, tmp_path: Path) -> None:
    with TestClient(fastapi_app()) as browser:
        answer = browser.get("/samples/7", params={"n": 4, "seed": 7})
        again = browser.get("/samples/7", params={"n": 4, "seed": answer.headers["X-Seed"]})
        other = browser.get("/samples/7", params={"n": 4})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert (answer.headers["X-Seed"], answer.headers["X-Model"]) == ("7", "mnist/1")
    with Client(target) as client:
        expected = client.sample(4, "7", seed=7).save_grid(tmp_path / "expected.png")
    assert Image.open(io.BytesIO(answer.content)).tobytes() == Image.open(expected).tobytes()
    assert again.content == answer.content
    assert other.content != answer.content


def test_the_web_application_explains_errors(target: str) -> None:
    with TestClient(fastapi_app()) as browser:
        unknown = browser.get("/samples/eleven")
        too_many = browser.get("/samples/7", params={"n": 101})
    assert unknown.status_code == 422
    assert "label: is 'eleven'; model 'mnist' has the labels '0'" in unknown.json()["detail"]
    assert too_many.status_code == 422


def test_the_web_application_without_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with closed_address() as address:
        monkeypatch.setenv("GANSERVE_TARGET", address)
        with TestClient(fastapi_app()) as browser:
            answer = browser.get("/samples/7")
    assert answer.status_code in (503, 504)
    assert address in answer.json()["detail"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on the PATH")
def test_the_commands_of_the_web_application(target: str, tmp_path: Path) -> None:
    port = str(free_port())
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    # exec, so that the signal at the end reaches the application instead of its shell.
    with subprocess.Popen(
        ["bash", "-c", f"exec {SERVE.replace('8000', port)}"],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as application:
        try:
            assert application.stderr is not None
            while "Application startup complete" not in (line := application.stderr.readline()):
                assert line, "the application ended"
            command = CURL.replace("localhost:8000", f"127.0.0.1:{port}")
            deadline = time.monotonic() + 60
            while subprocess.run(["bash", "-c", command], cwd=tmp_path, timeout=60, check=False).returncode == 7:
                assert time.monotonic() < deadline, "the application does not listen"  # it listens only after that line
                time.sleep(0.05)
            assert Image.open(tmp_path / "samples.png").format == "PNG"
        finally:
            application.terminate()


def test_the_notebook_runs_and_shows_pictures(target: str) -> None:
    notebook = nbformat.read(EXAMPLES / "samples.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] for cell in code), "commit the notebook without outputs"
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(EXAMPLES)}}
    ).execute()
    shown = [output.data for cell in code for output in cell.outputs if "data" in output]
    assert "['mnist']" in shown[0]["text/plain"]
    assert sum("image/png" in data for data in shown) == 5


def node(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["node", "sample.js", *arguments],
        cwd=folder / "examples" / "node",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the example and install its packages, so that the repository stays clean."""
    folder = tmp_path_factory.mktemp("node")
    shutil.copytree(EXAMPLES / "node", folder / "examples" / "node", ignore=shutil.ignore_patterns("node_modules"))
    (folder / "protos").symlink_to(ROOT / "protos")
    return folder


@pytest.mark.slow
@needs_node
def test_node_draws_the_same_samples(target: str, node_folder: Path) -> None:
    first = subprocess.run(
        ["bash", "-c", NODE], cwd=node_folder, capture_output=True, text=True, timeout=240, check=False
    )
    assert first.returncode == 0, first.stderr
    assert "mnist version 1, seed " in first.stdout
    # A JavaScript number cannot hold this seed.
    done = node(node_folder, "7", "3", str(2**64 - 1))
    assert (done.returncode, done.stderr) == (0, "")
    with Client(target) as client:
        batch = client.sample(3, "7", seed=2**64 - 1)
        scores = client.score(batch.images, "7")
    expected = ""
    for image, score in zip(batch.images, scores, strict=True):
        rows = ["".join(" .:-=+*#%@"[int(pixel) * 10 // 256] * 2 for pixel in row) for row in image[..., 0]]
        typicality = "" if score.typicality is None else f", typicality {score.typicality:.3f}"
        unlike = ", unlike the training data" if score.out_of_distribution else ""
        real = f"real rather than generated: {100 * score.probability:.0f} %"
        said = f"7, score {score.score:.3f}, {real}{typicality}{unlike}"
        expected += said + "\n" + "\n".join(rows) + "\n\n"
    assert done.stdout == expected + f"mnist version 1, seed {2**64 - 1}\n"


@pytest.mark.slow
@needs_node
def test_node_prints_the_servers_words(target: str, node_folder: Path) -> None:
    done = node(node_folder, "eleven")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.match(r"INVALID_ARGUMENT: .*'eleven'.* has the labels '0'", done.stderr), done.stderr
