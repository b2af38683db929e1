"""Test that each real file is a sample once, however many links lead to it or to a folder above it."""

import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ganserve_training.config import FolderConfig, ParquetConfig
from ganserve_training.data import Samples, load_split
from ganserve_training.errors import DataError
from image_files import encode, random_pixels, write_folder


def load(path: Path, **changes: Any) -> Samples:
    return FolderConfig(path=str(path), **changes).load(None)


def files_of(samples: Samples) -> list[str]:
    return samples.store.files  # type: ignore[attr-defined,no-any-return]


def passed_over(samples: Samples) -> list[str]:
    return [str(item) for item in samples.origin.passed_over]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "photos", random_pixels(20), ["cat", "dog"] * 10)


def test_links_back_to_folders_above_add_nothing(photos: Path) -> None:
    before = files_of(load(photos))
    (photos / "cat" / "all").symlink_to(photos)
    (photos / "dog" / "up").symlink_to(photos.parent)
    (photos / "cat" / "here").symlink_to(photos / "cat")
    (photos / "cat" / "relative").symlink_to("..")
    samples = load(photos)
    assert files_of(samples) == before
    assert samples.label_names == ("cat", "dog")
    assert passed_over(samples) == ["4 links to folders that are taken already (cat/all, …)"]
    assert len(load_split(FolderConfig(path=str(photos)), "held_out")) == 4


def test_folders_that_link_to_each_other_are_read_once_and_in_no_time(photos: Path) -> None:
    names = [f"label{number}" for number in range(12)]
    for name in names:
        write_folder(photos / name, random_pixels(2, seed=len(name)))
    for name in names:
        for other in names:
            (photos / name / f"to-{other}").symlink_to(photos / other)
    samples = load(photos)
    assert len(samples) == 44
    assert passed_over(samples) == ["144 links to folders that are taken already (label0/to-label0, …)"]


def test_two_links_to_a_folder_or_file_outside_count_once(photos: Path, tmp_path: Path) -> None:
    store = write_folder(tmp_path / "store", random_pixels(3, seed=1))
    (photos / "owl").symlink_to(store)
    (photos / "cat" / "same").symlink_to(store)
    single = write_folder(tmp_path / "single", random_pixels(1, seed=2)) / "0000.png"
    for name in ("x1.png", "x2.png"):
        (photos / "dog" / name).symlink_to(single)
    samples = load(photos, labels="ignore")
    assert len(samples) == 20 + 3 + 1
    assert passed_over(samples) == [
        "1 link to files that are taken already (dog/x2.png)",
        "1 link to folders that are taken already (cat/same)",
    ]
    assert load(photos).label_names == ("cat", "dog", "owl")


def test_a_label_whose_pictures_all_belong_to_another_one_is_refused(photos: Path) -> None:
    (photos / "owl").mkdir()
    (photos / "owl" / "x.png").symlink_to(photos / "cat" / "0000.png")
    with pytest.raises(DataError, match=r"the label 'owl' has no images: .*besides links to what other labels have"):
        load(photos)


def test_what_is_really_there_comes_before_links_to_it(photos: Path) -> None:
    (photos / "cat" / "a-link.png").symlink_to(photos / "dog" / "0001.png")
    before = [file for file in files_of(load(photos)) if "link" not in file]
    assert files_of(load(photos)) == before
    assert load(photos).labels.tolist().count(1) == 10  # type: ignore[union-attr]


def test_hard_links_are_the_same_file(photos: Path) -> None:
    os.link(photos / "cat" / "0000.png", photos / "cat" / "copy.png")
    samples = load(photos)
    assert len(samples) == 20
    assert passed_over(samples) == ["1 link to files that are taken already (cat/copy.png)"]


def test_a_folder_of_links_alone_is_read_through_them(photos: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    for file in sorted(photos.rglob("*.png")):
        target = linked / file.relative_to(photos)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(file)
    (tmp_path / "alias").symlink_to(linked)
    for place in (linked, tmp_path / "alias"):
        samples = load(place)
        np.testing.assert_array_equal(samples.read(np.arange(20)), load(photos).read(np.arange(20)))
        assert passed_over(samples) == []


def test_links_that_lead_nowhere_are_bad_files(photos: Path) -> None:
    (photos / "cat" / "gone.png").symlink_to(photos / "nowhere.png")
    (photos / "cat" / "loop.png").symlink_to(photos / "cat" / "loop.png")
    with pytest.raises(DataError, match=r"2 of 22 images .*\n.*gone.png: No such file.*\n.*loop.png: Too many levels"):
        load(photos)
    assert len(load(photos, on_bad_file="skip")) == 20


def test_pipes_and_sockets_are_never_opened(photos: Path) -> None:
    os.mkfifo(photos / "cat" / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(photos)  # The path of a socket must be short.
        try:
            listening.bind("s.png")
        finally:
            os.chdir(here)
        samples = load(photos)
    assert len(samples) == 20
    assert passed_over(samples) == ["2 pipes or devices (cat/pipe.png, …)"]


def test_parquet_files_are_read_once_too(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    table = pa.table({"image": [encode(item) for item in random_pixels(4)], "label": list("abab")})
    pq.write_table(table, tmp_path / "data" / "train.parquet")
    (tmp_path / "data" / "again").symlink_to(tmp_path)
    (tmp_path / "data" / "train-1.parquet").symlink_to(tmp_path / "data" / "train.parquet")
    samples = ParquetConfig(path=str(tmp_path)).load(None)
    assert len(samples) == 4
    assert "1 link to files that are taken already (data/train-1.parquet)" in passed_over(samples)
