"""Test that the programs and commands of the pages do what the pages say."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import types
from typing import TYPE_CHECKING, Any

import pytest
import torch

import server_process
from documents import DOCS, PAGES, ROOT, Block, Reader, blocks, commands, the_block
from ganserve.testing import TinyModel, running_server
from ganserve_export.from_run.torch_to_onnx import to_onnx
from ganserve_server import demo
from ganserve_training.config import CustomConfig
from ganserve_training.data import DataInfo
from ganserve_training.networks import build_networks
from image_files import random_pixels, write_folder
from tiny_styles import MANY_LAYERS, build_style_package

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LANGUAGES = ("sh", "bash", "python", "toml", "js", "json")
WHOLE = ["README.md", "tutorial.md", "trainers.md"]
"""Pages to execute from top to bottom in an empty folder."""
SERVED = ["operations.md", "processes.md", "synthetic-data.md", "open-inference-protocol.md"]
"""Pages whose programs run beside a server of one small model, `digits`."""
ELSEWHERE = {
    "index.md", "data-rules.md", "evaluation.md", "export.md", "networks.md", "testing.md",  # below
    "security.md",  # test_security_page.py
    "stylegan-faces.md",  # test_stylegan_page.py
    "serving.md",  # test_serving_page.py
    "provenance.md",  # test_provenance_page.py
    "examples.md",  # test_examples.py
    "presets.md", "training.md",  # test_commands.py: they need data that is missing here, or a second process
    "bulk.md", "cluster.md",  # tests/server/bulk and tests/server/ray
    "page.md",  # test_commands.py, and the tests of the page itself
    "styles.md",  # below
    "results.md",  # long measurements
}  # fmt: skip
SETTING_UP = {"pip", "make", "git", "cd", "."}
"""Commands that install packages; the tests have them already."""


def executable(page: Path) -> list[Block]:
    """Return the blocks that a reader executes, except those that install packages."""
    shell = blocks(page, "sh", "bash")
    setting_up = [block for block in shell if any(words[0] in SETTING_UP for words in commands(block))]
    return [block for block in blocks(page, "sh", "bash", "python") if block not in setting_up]


def test_every_page_with_programs_is_tested() -> None:
    """Check that a test runs each page that has code in a language."""
    pages = {page.name for page in PAGES if blocks(page, *LANGUAGES)}
    assert pages - {*WHOLE, *SERVED, *ELSEWHERE, "cli.md"} == set()


def test_readme_begins_with_what_ci_runs() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [
        words[1] for block in blocks(ROOT / "README.md", "sh") for words in commands(block) if words[0] == "make"
    ]
    assert {"demo", "test"} <= set(targets)
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []
    in_ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    run = {word for line in in_ci.splitlines() if line.startswith("make ") for word in line.split()}
    assert {"demo", "test", "test-slow"} <= run


@pytest.mark.parametrize(
    "name", [name if name == "trainers.md" else pytest.param(name, marks=pytest.mark.slow) for name in WHOLE]
)
def test_a_page_runs_from_top_to_bottom(name: str, tmp_path: Path) -> None:
    page = ROOT / name if name == "README.md" else DOCS / name
    reader = Reader(tmp_path)
    try:
        for block in executable(page):
            reader.do(block)
    finally:
        reader.close()
    if name == "tutorial.md":  # The commands also write files.
        assert len(list((tmp_path / "sevens").glob("*.png"))) == 8
        assert (tmp_path / "runs/pictures/report.html").stat().st_size > 100_000


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    with running_server([TinyModel()]) as server:
        yield server.target


def test_the_home_runs_beside_the_demo(tmp_path: Path) -> None:
    with running_server(demo.MODELS) as server:
        for block in executable(DOCS / "index.md"):
            Reader(tmp_path, server.target).do(block)
    assert (tmp_path / "sevens.png").is_file()


PRINTED = {
    "get_model_repository_index": r"\['digits 1 READY', 'digits\.critic 1 READY'\]\n\[ *0\.\d+ +0\.\d+ +0\.\d+ *\]\n",
    "stream_infer": "".join(rf"{seed} \(16, 8, 8, 1\)\n" for seed in range(100)),
}
"""Output of programs whose page does not show it, by a call in the program."""


@pytest.mark.parametrize("block", [block for name in SERVED for block in executable(DOCS / name)], ids=str)
def test_a_program_runs_beside_a_server(block: Block, target: str, tmp_path: Path) -> None:
    with contextlib.closing(Reader(tmp_path, target)) as reader:  # it may have started another server
        printed = reader.do(block)
    for call, expected in PRINTED.items():
        if call in block.code:
            assert re.fullmatch(expected, printed), printed


def test_styles(tmp_path: Path) -> None:
    build_style_package(tmp_path / "models", "faces", model=MANY_LAYERS)
    (block,) = blocks(DOCS / "styles.md", "python")
    with server_process.running_server(tmp_path / "models") as server:
        printed = Reader(tmp_path, server.address).do(block)
    assert printed == "14 layers of style\n"
    assert "print(info.style)  # 14 layers of style" in block.code


def test_values_follow_the_data_from_python(tmp_path: Path) -> None:
    (block,) = blocks(DOCS / "data-rules.md", "python")
    lines = Reader(tmp_path).do(block)
    expected = "regularisers: R1 and R2 gamma 0.8 instead of 0.3, for 16 x 16 pixels and batches of 64"
    assert expected in lines
    assert expected.partition(", for")[0] in block.code


@pytest.mark.slow
def test_evaluation_from_python(small_run: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "digits").symlink_to(small_run)
    (block,) = executable(DOCS / "evaluation.md")
    assert re.search(r"\d\.\d+", Reader(tmp_path).do(block))


@pytest.mark.parametrize(
    "data",
    [
        DataInfo(sample_shape=(8, 8, 1), label_names=("a", "b")),
        DataInfo(sample_shape=(2,), mean=(0.0, 0.0), std=(1.0, 1.0)),
    ],
)
def test_the_networks_of_the_page_are_a_pair(data: DataInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train and convert it for images and for vectors."""
    module = types.ModuleType("my_package.models")
    exec(the_block("python", "class MyGenerator").code, module.__dict__)
    monkeypatch.setitem(sys.modules, "my_package", types.ModuleType("my_package"))
    monkeypatch.setitem(sys.modules, "my_package.models", module)
    paths = {f"{player}_class": f"my_package.models:My{player.title()}" for player in ("generator", "critic")}
    shown = the_block("sh", "my_package").code
    assert all(path in shown for path in paths.values())
    pair = build_networks(CustomConfig(latent_dim=5, **paths), data)
    labels = {"labels": torch.tensor([0, 1])} if data.label_names else {}
    latents = torch.randn(2, 5)
    made = pair.generator(latents, labels.get("labels"))
    assert pair.critic(made, labels.get("labels")).shape == (2,)
    to_onnx(pair.generator.eval(), {"latents": latents, **labels}, ("samples",))
    to_onnx(pair.critic.eval(), {"samples": made.detach(), **labels}, ("scores",))


def test_onnx_files_made_elsewhere_are_packaged(tmp_path: Path) -> None:
    """The output of one command equals that on the page, except for figures."""

    def without_figures(text: str) -> str:
        return re.sub(r"[\d.]+e-\d\d|\d of 255|\d\.\d+%", "0", text)

    page = blocks(DOCS / "export.md")
    (packaging,) = (block for block in page if block.code.startswith("ganserve package"))
    (answer,) = (block for block in page if re.match(r"\w+ version \d+, from ", block.code))
    write_folder(tmp_path / "photos", random_pixels(120, side=16))
    reader = Reader(tmp_path)
    reader.do(the_block("python", "nn.ConvTranspose2d(100, 64, 8, bias=False)"))
    printed = reader.do(packaging)
    assert without_figures(answer.code) in without_figures(printed)
    published = [tmp_path / line.split()[1] for line in printed.splitlines() if line.startswith("published ")]
    assert len(published) == len(list(commands(packaging)))
    assert all((folder / "manifest.json").exists() for folder in published)


TESTING = blocks(DOCS / "testing.md", "python")


@pytest.mark.parametrize("first", [block for block in TESTING if block.name == "conftest.py"], ids=str)
def test_tests_on_a_page_pass(first: Block, tmp_path: Path) -> None:
    """Run each conftest.py with the file that follows it."""
    second = TESTING[TESTING.index(first) + 1]
    for block in (first, second):
        (tmp_path / block.name).write_text(block.code)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "--rootdir", "."]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{second.code.count('def test_')} passed" in done.stdout


@pytest.mark.parametrize("block", [block for block in TESTING if not block.name], ids=str)
def test_the_scripts_about_testing(block: Block, tmp_path: Path) -> None:
    assert block.printed is not None
    Reader(tmp_path).do(block)


def test_blocks_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A\n\n```python a.py\nx\n```\n\nThis prints:\n\n```text\ny\n```\n\n"
        "1. b\n   ```sh\n   $ a \\\n   b # c\n   ```\n"
    )
    python, text, shell = blocks(page)
    assert (python.name, python.code, python.printed, python.line) == ("a.py", "x\n", "y\n", 3)
    assert (text.language, text.printed, list(commands(shell))) == ("text", None, [["a", "b"]])


def test_a_wrong_program_fails(tmp_path: Path) -> None:
    def block(**values: Any) -> Block:
        return Block(page=ROOT / "README.md", line=1, name="", **values)

    reader = Reader(tmp_path)
    for wrong in (
        block(language="python", code="print(1)", printed="2\n"),
        block(language="python", code="1 / 0", printed=None),
        block(language="sh", code="ganserve sample --nonsense\n", printed=None),
        block(language="sh", code="false | true\n", printed=None),
    ):
        with pytest.raises(AssertionError):
            reader.do(wrong)
