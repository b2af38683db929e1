"""The examples of docs/open-inference-protocol.md and docs/serving.md, run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ganserve_server.settings_sources import read_configuration
from server_process import running_server
from tiny_packages import TinyModel, build_tiny_package

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parents[2] / "docs"


def examples(page: str, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


EXAMPLES = [*examples("open-inference-protocol.md"), *examples("serving.md")]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    models = tmp_path_factory.mktemp("models")
    build_tiny_package(models, "digits", model=TinyModel(label_names=tuple(map(str, range(10)))))
    with running_server(models) as server:
        yield server.address


@pytest.mark.parametrize(
    ("example", "printed"),
    [
        (0, r"\['digits 1 READY', 'digits\.critic 1 READY'\]\n\[ *0\.\d+ +0\.\d+ +0\.\d+ *\]\n"),
        (1, "".join(rf"{seed} \(16, 8, 8, 1\)\n" for seed in range(100))),
        (2, r"digits 1\n"),
    ],
)
def test_examples(address: str, example: int, printed: str) -> None:
    code = EXAMPLES[example].replace("localhost:50051", address)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(printed, done.stdout), done.stdout


def test_the_configuration_file(tmp_path: Path) -> None:
    (example,) = examples("serving.md", "toml")
    file = tmp_path / "ganserve.toml"
    file.write_text(example)
    config = read_configuration(["--config", str(file), "--max-batch-size", "32"], {}).config
    assert (config.models, config.host, config.metrics_port) == (Path("/srv/models"), "0.0.0.0", 9464)
    assert (config.max_batch_size, config.log_format) == (32, "json")
