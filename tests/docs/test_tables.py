"""Test that the pages' tables are complete: presets, losses, options, diagnoses, networks, metrics."""

from __future__ import annotations

import dataclasses
import re
from typing import get_args, get_type_hints

import pytest

from documents import DOCS, ROOT, first_cells, flags_in
from ganserve_server.monitoring import metric_definitions as definitions
from ganserve_training.config import CodesConfig, TrainConfig
from ganserve_training.diagnosis.findings import KINDS
from ganserve_training.networks.config import ARCHITECTURES, CriticConditioning, GeneratorConditioning
from ganserve_training.objectives.losses import LOSSES
from ganserve_training.presets import LISTED
from ganserve_training.run.optimisers import OPTIMISERS


def text(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def flags_of(kind: type, prefix: str = "--") -> set[str]:
    """Return all flags of a configuration, whichever classes its parts have, and the names of its tables."""
    found = set()
    for item in dataclasses.fields(kind):
        if not item.metadata.get("flag", True):
            continue
        flag, hint = prefix + item.name.replace("_", "-"), get_type_hints(kind)[item.name]
        found.add(flag)
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            registry = vars(hint).get("registry")
            found |= {f"{flag}.{registry.key}"} if registry else set()
            for part in [registry[name] for name in registry.names] if registry else [hint]:
                found |= flags_of(part, flag + ".")
    return found


def test_pages_are_short() -> None:
    most = dict.fromkeys(DOCS.glob("*.md"), 300) | {ROOT / "README.md": 250}
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in most}
    assert {path.name: count for path, count in lines.items() if count >= most[path]} == {}


def test_every_preset_has_its_row() -> None:
    pages = DOCS / "presets.md", ROOT / "benchmarks" / "presets" / "README.md"
    tables = [rows for page in pages for rows in first_cells(page) if rows and set(rows) & set(LISTED)]
    assert len(tables) >= 2
    for rows in tables:
        assert rows == list(LISTED)


def test_the_table_of_recipes_counts_their_files() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (an? .+?) \| (\d+) \| (\d+) \| (\d+)", page, re.MULTILINE)
    assert len(rows) == 8
    for what, *counts in rows:
        recipe = page.partition(f"\n## {what[0].upper()}{what[1:]}\n")[2].partition("\n## ")[0]
        places = [line.partition("`")[2] for line in re.findall(r"^\d\. (.+)", recipe, re.MULTILINE)]
        found = [sum(place.startswith(part) for place in places) for part in ("tests/", "docs/")]
        assert [len(places) - sum(found), *found] == list(map(int, counts)), what


@pytest.mark.parametrize("name", [path.name for path in sorted(DOCS.glob("*.md"))])
def test_rows_have_as_many_cells_as_the_header(name: str) -> None:
    rows = re.findall(r"^\|[-:| ]+\|\n(?:\|.*\n?)+", text(name), re.MULTILINE)
    for table in rows:
        lines = [re.sub(r"`[^`]*`|\\\|", "", line) for line in table.splitlines()]
        assert {line.count("|") for line in lines} == {lines[0].count("|")}, lines


def test_every_loss_has_its_row() -> None:
    tables = [rows for rows in first_cells(DOCS / "training.md") if "minimax" in rows]
    assert tables
    for rows in tables:
        assert set(rows) == set(LOSSES.names)


def test_every_diagnosis_has_its_section() -> None:
    titles = [title.lower().replace(" ", "-") for title in re.findall(r"^### (.*)$", text("trainers.md"), re.MULTILINE)]
    assert titles == list(KINDS)


def test_every_training_option_is_documented() -> None:
    tables = ("--loss.", "--regularisers.", "--augmentation.", "--ema.", "--schedule.")
    leaves = {flag for flag in flags_of(TrainConfig) if flag.startswith(tables)}
    leaves = {flag for flag in leaves if not any(other.startswith(flag + ".") for other in leaves)}
    page = text("training.md")
    assert leaves - flags_in(page) == set()
    for name in (*LOSSES.names, *OPTIMISERS.names):
        assert f"`{name}`" in page


def test_every_network_option_is_documented() -> None:
    kinds = [ARCHITECTURES[name] for name in ARCHITECTURES.names]
    fields = {"architecture"} | {item.name for kind in kinds for item in dataclasses.fields(kind)} - {"codes"}
    fields -= {"fade_kimg", "stable_kimg", "batch_sizes"}  # Growing is in training.md.
    codes = {item.name for item in dataclasses.fields(CodesConfig)}
    exist = {f"--networks.{name.replace('_', '-')}" for name in fields} | {f"--networks.codes.{name}" for name in codes}
    page = text("networks.md")
    assert exist - flags_in(page) == set()
    for name in (*ARCHITECTURES.names, *get_args(GeneratorConditioning), *get_args(CriticConditioning)):
        assert f"`{name}`" in page or name == "none"


def test_every_metric_has_its_row() -> None:
    page = text("serving.md")
    for metric in definitions.METRICS:
        name = metric.name + ("_total" if metric.kind == "counter" else "")
        assert f"| `{name}` | {metric.kind} | {', '.join(metric.labels)} | {metric.help} |\n" in page
