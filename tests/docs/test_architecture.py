"""Test that ARCHITECTURE.md and CONTRIBUTING.md name existing files and functions, and that the map is complete."""

from __future__ import annotations

import ast
import graphlib
import re
import tomllib
from pathlib import Path

import pytest

from documents import ROOT

ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PACKAGES = [
    ROOT / folder
    for folder in (
        "training/ganserve_training",
        "export/ganserve_export",
        "server/ganserve_server",
        "client_sdk/ganserve",
    )
]
TESTS = list((ROOT / "tests").rglob("test_*.py"))
# A path in backticks: `run/devices.py`, `tests/docs`, `protos/ganserve/v1`; not `Client`, `make test` or `image/png`.
PATH = re.compile(r"`([\w.][\w./-]*(?:/|\.py|\.md|\.proto|\.toml)[\w./-]*)`")
MADE_BY_THE_READER = re.compile(r"\becho\b|_toy|toy_|^runs/|^models/|^demo/|^build/|^\.venv|NAME")


def named(text: str) -> set[str]:
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return {path for path in PATH.findall(prose) if not MADE_BY_THE_READER.search(path)}


def places(path: str) -> list[Path]:
    """Return where a named path exists: from the root, or inside a package."""
    return [root / path for root in (ROOT, *PACKAGES) if (root / path).exists()]


@pytest.mark.parametrize("text", [ARCHITECTURE, CONTRIBUTING], ids=["ARCHITECTURE", "CONTRIBUTING"])
def test_every_named_path_exists(text: str) -> None:
    paths = named(text)
    assert len(paths) > 20
    assert {path for path in paths if not places(path)} == set()


def test_every_package_folder_is_on_the_map() -> None:
    folders = {
        str(path.parent.relative_to(ROOT))
        for package in PACKAGES
        for path in package.rglob("*.py")
        if "__pycache__" not in path.parts
    }
    (section,) = re.findall(r"^## The map$(.*?)^## ", ARCHITECTURE, re.MULTILINE | re.DOTALL)
    on_the_map = set(re.findall(r"^\| `([\w./-]+)` \|", section, re.MULTILINE))
    assert folders - on_the_map == set()
    assert {folder for folder in on_the_map if not (ROOT / folder).is_dir()} == set()


def functions(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_the_walks_name_the_right_file_of_each_function() -> None:
    calls = re.findall(r"`([\w./]+\.py)`\s+`(\w+)\(\)`", ARCHITECTURE)
    assert len(calls) > 30
    missing = {
        (file, function) for file, function in calls if not any(function in functions(place) for place in places(file))
    }
    assert missing == set()


def modules() -> dict[str, Path]:
    """Return the files of the packages by the names of their modules, without generated messages."""
    found = {}
    for package in PACKAGES:
        for path in package.rglob("*.py"):
            if "v1" not in path.parts:
                parts = path.relative_to(package.parent).with_suffix("").parts
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def test_imports_have_no_circles_not_even_for_annotations() -> None:
    known = modules()
    imports: dict[str, set[str]] = {}
    for name, path in known.items():
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    found.add(inner if inner in known else node.module)
        imports[name] = (found & known.keys()) - {name}
    list(graphlib.TopologicalSorter(imports).static_order())  # raises CycleError, which names the circle


def test_every_folder_of_tests_is_run() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = pyproject["tool"]["pytest"]["ini_options"]["testpaths"]
    assert sorted(listed) == sorted({f"tests/{path.relative_to(ROOT / 'tests').parts[0]}" for path in TESTS})


def test_benchmarks_and_what_tests_share_have_different_names() -> None:
    """Benchmarks also import from tests/support: of two modules with one name, the other would hide theirs."""
    benchmarks = (path for path in (ROOT / "benchmarks").rglob("*.py") if "tests" in path.read_text(encoding="utf-8"))
    beside = {path.name for script in benchmarks for path in script.parent.glob("*.py")}
    shared = {path.name for path in (ROOT / "tests" / "support").glob("*.py")}
    assert beside & shared == set()
