"""Test how shards name their files."""

from __future__ import annotations

import csv
import tarfile
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ganserve_server.bulk.sample_job import SampleJob
from ganserve_server.bulk.writers import FolderWriter, Part, ShardFacts, tar_header
from ganserve_server.models.package_files import read_package
from tiny_packages import TinyModel, build_tiny_package

if TYPE_CHECKING:
    from pathlib import Path

LONG, PATH = "\N{LATIN SMALL LETTER E WITH ACUTE}" * 200, "../a b/c"


@pytest.mark.parametrize(("name", "size"), [("000000000007.png", 0), ("7.cls", 1), ("9" * 100, 8**11 - 1)])
def test_headers_are_those_of_tarfile(name: str, size: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = size
    assert tar_header(name, size) == entry.tobuf(tarfile.USTAR_FORMAT)


def test_labels_of_any_kind_are_in_file_names(tmp_path: Path) -> None:
    """A label longer than a file name may be is cut there, and whole in the table."""
    info = read_package(build_tiny_package(tmp_path, model=TinyModel(label_names=("zero", PATH, LONG)))).info
    job = SampleJob(count=3, seed=1, form="png", encoding="png", shard_size=3)
    writer = FolderWriter(tmp_path / "shard", ShardFacts(info=info, job=job, description={}))
    labels, none = np.array([0, 1, 2]), dict.fromkeys(("latents", "scores", "probabilities"))
    writer.add(
        Part(first=7, samples=np.zeros((3, *info.sample_shape), np.uint8), files=[b""] * 3, labels=labels, **none)
    )
    writer.close()
    rows = [*csv.DictReader((tmp_path / "shard" / "metadata.csv").read_text("utf-8").splitlines())]
    assert [row["label_name"] for row in rows] == ["zero", PATH, LONG]
    names = ["000000000007-zero.png", "000000000008-.._a_b_c.png", f"000000000009-{LONG[:50]}.png"]
    assert [row["file_name"] for row in rows] == names
    assert {path.name for path in (tmp_path / "shard").iterdir()} == {*names, "metadata.csv"}
