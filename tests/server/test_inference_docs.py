"""The examples of docs/open-inference-protocol.md, run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from server_process import running_server
from tiny_packages import TinyModel, build_tiny_package

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs" / "open-inference-protocol.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


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
    ],
)
def test_examples(address: str, example: int, printed: str) -> None:
    code = EXAMPLES[example].replace("localhost:50051", address)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(printed, done.stdout), done.stdout
