"""Data of newcomers in odd forms: each is read as meant, or refused with what to do."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.support.image_files import write_idx

from ganserve_training.commands.own_data import _table_of, completed
from ganserve_training.commands.own_data_choices import choose_labels, describe
from ganserve_training.config import ArrayConfig, CsvConfig, FolderConfig
from ganserve_training.data import load_split
from ganserve_training.data.config import SOURCES
from ganserve_training.data.recognition import source_of
from ganserve_training.data.survey import Survey, survey
from ganserve_training.errors import DataError


def pictures(folder: Path, *names: str) -> Path:
    """Write a picture under each name."""
    random = np.random.default_rng(0)
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8), np.uint8)).save(file)
    return folder


def look(path: Path) -> Survey:
    """Look at a place as `ganserve train --data` does."""
    kind: Any = SOURCES.kind(source_of(str(path)))
    return survey(kind(path=str(path)), skip_bad=True)


def test_a_number_after_test_does_not_hide_that_it_is_the_test_part(tmp_path: Path) -> None:
    pictures(tmp_path, *(f"train/cat.{n}.jpg" for n in range(4)), *(f"test1/{n}.jpg" for n in range(3)))
    found = look(tmp_path)
    assert (found.count, found.labels, found.how) == (4, {}, "no labels")


def rows(path: Path, lines: list[tuple[object, ...]]) -> Path:
    """Write a CSV file."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    return path


def test_tables_without_a_header_or_labels_are_read(tmp_path: Path) -> None:
    files = [f"{n}.png" for n in range(6)]
    pictures(tmp_path, *files)
    for lines, labels in (
        ([(file, "ab"[n % 2]) for n, file in enumerate(files)], {"a": 3, "b": 3}),
        ([("ab"[n % 2], file) for n, file in enumerate(files)], {"a": 3, "b": 3}),
        ([(file,) for file in files], {}),
        ([("image",), *((file,) for file in files)], {}),
        ([("image_id", "rust", "scab"), *((file.removesuffix(".png"), 0, 1) for file in files)], {}),
    ):
        found = look(rows(tmp_path / "t.csv", lines))
        assert (found.count, found.labels) == (6, labels)
    words = f"without labels, as {tmp_path / 't.csv'} has no column 'label' (it has: image_id, rust, scab)"
    assert choose_labels(found).words == words
    with pytest.raises(DataError, match="has no column 'label'"):
        load_split(CsvConfig(path=str(tmp_path / "t.csv")), "train")


@pytest.mark.parametrize("header", [(), ("label", *range(64)), ("label", *range(1, 65))])
def test_rows_of_pixels_may_have_letters_as_labels_and_numbers_as_header(
    tmp_path: Path, header: tuple[Any, ...]
) -> None:
    values = np.random.default_rng(0).integers(0, 256, (9, 64)).tolist()
    values[0] = [0] * 64
    lines = [header] * bool(header) + [("ABC"[n % 3], *row) for n, row in enumerate(values)]
    assert look(rows(tmp_path / "t.csv", lines)).labels == {"A": 3, "B": 3, "C": 3}


def test_one_hot_labels_are_read(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8), np.uint8)
    for kind in (np.float64, np.uint8, np.bool_):
        np.savez(tmp_path / "x.npz", images=images, labels=np.eye(3, dtype=kind)[[0, 1, 2, 0, 1, 0]])
        assert look(tmp_path / "x.npz").labels == {"0": 3, "1": 2, "2": 1}
    np.savez(tmp_path / "x.npz", images=images, labels=np.ones((6, 3)))
    with pytest.raises(DataError, match=r"must hold one label a sample, \[N\]"):
        load_split(ArrayConfig(path=str(tmp_path / "x.npz")), "train")


def test_idx_files_of_other_names_and_in_sub_folders_are_found(tmp_path: Path) -> None:
    images, labels = np.arange(6 * 64, dtype=np.uint8).reshape(6, 8, 8), np.array([0, 1] * 3, np.uint8)
    for place, name in (("MNIST/raw", "train"), ("letters", "emnist-letters-train")):
        (tmp_path / place).mkdir(parents=True)
        write_idx(tmp_path / place / f"{name}-images-idx3-ubyte", images)
        write_idx(tmp_path / place / f"{name}-labels-idx1-ubyte", labels)
        write_idx(tmp_path / place / f"{name.replace('train', 'test')}-images-idx3-ubyte", images[:2])
        found = look(tmp_path / place.partition("/")[0])
        assert (found.count, found.labels) == (6, {"0": 3, "1": 3})
    write_idx(tmp_path / "letters" / "emnist-digits-train-images-idx3-ubyte", images)
    with pytest.raises(DataError, match=r"several sets, emnist-digits-.*, emnist-letters-.*: name one, --data"):
        look(tmp_path / "letters")


def test_labels_that_no_model_can_hold_are_left_out_and_printed_without_escapes(tmp_path: Path) -> None:
    pictures(tmp_path, *(f"{label}/{n}.png" for label in ("a", "caf\udce9") for n in range(3)))
    words = choose_labels(look(tmp_path)).words
    assert words == r"without labels, as the label 'caf\udce9' is not UTF-8, and a model needs names that are"
    assert r"('\x1b[31m\n' 9)" in describe(Survey(count=9, sides=(8,) * 9, labels={"\x1b[31m\n": 9}))


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("clip.MP4", "Save the frames as pictures, and give their folder."),
        ("x.h5", "Save the images with numpy.savez(FILE, images=…, labels=…), and give that .npz file."),
        ("x.tar", "Unpack the archive, and give its folder."),
        ("photo.gif", "is one picture, and a GAN learns from many. Give a folder of pictures."),
    ],
)
def test_other_files_are_refused_with_a_way_out(tmp_path: Path, name: str, fix: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError) as caught:
        look(tmp_path / name)
    assert str(caught.value).startswith(f"--data {tmp_path / name}: ")
    assert str(caught.value).endswith(fix)


def test_a_single_picture_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds one picture or vector, and a GAN learns from many: add some"):
        look(pictures(tmp_path, "1.png"))
    found = look(pictures(tmp_path, "2.png"))
    assert describe(found).endswith("; gray; so few that samples will be near copies of them.")
    assert len(load_split(FolderConfig(path=str(tmp_path)), "train")) == 1


def test_the_table_called_train_counts_beside_others(tmp_path: Path) -> None:
    files = [f"{n}.png" for n in range(6)]
    pictures(tmp_path / "images", *files)
    config, found = FolderConfig(path=str(tmp_path)), Survey(count=6, labels={"images": 6})
    first = rows(tmp_path / "sample_submission.csv", [("id", "label"), *((file, "a") for file in files)])
    assert _table_of(config, found) == first
    wanted = rows(tmp_path / "train.csv", [("id", "label"), *((file, "ab"[n % 2]) for n, file in enumerate(files))])
    assert _table_of(config, found) == wanted
    rows(tmp_path / "train_folds.csv", [("id", "label"), *((file, "a") for file in files)])
    assert _table_of(config, found) is None


def test_a_table_with_too_many_labels_is_left_out_and_told(tmp_path: Path) -> None:
    files = [f"{n}.png" for n in range(40)]
    rows(
        pictures(tmp_path, *files) / "breeds.csv", [("id", "breed"), *((file, n // 2) for n, file in enumerate(files))]
    )
    whole = completed(["--data", str(tmp_path)])
    assert "--data.labels-path" not in whole.argv
    assert "without labels, as 20 are too many for 40 pictures (breeds.csv)" in whole.lines[1]
    given = completed(["--data", str(tmp_path), "--data.labels-path", str(tmp_path / "breeds.csv")])
    assert given.arguments.config.data.labels == "use"


def test_a_table_means_the_training_part_where_parts_share_names(tmp_path: Path) -> None:
    for part in ("train_images", "test_images"):
        pictures(tmp_path / part, "0.png", "1.png", "2.png")
    table = rows(tmp_path / "train.csv", [("id", "label"), ("0", "a"), ("1.png", "b"), ("2.png", "a")])
    found = FolderConfig(path=str(tmp_path), labels_path=str(table)).load(None)
    names = [found.store.name(int(index)) for index in found.indices]
    assert [Path(name).parent.name for name in names] == ["train_images"] * 3
