"""Test that data sets in the layouts that people have are read with their own labels and training part alone."""

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from ganserve_training.config import FolderConfig, TrainConfig
from ganserve_training.data import Samples, load_split
from ganserve_training.data.describe_samples import describe_samples
from ganserve_training.data.layouts.split_names import split_of
from ganserve_training.errors import DataError
from ganserve_training.run.start_or_resume import train
from image_files import encode, random_pixels, write_folder
from tiny_runs import tiny_config

PIXELS = random_pixels(12)


def load(path: Path, **changes: Any) -> Samples:
    return FolderConfig(path=str(path), **changes).load(None)


def labels_of(samples: Samples) -> list[str] | None:
    if samples.labels is None:
        return None
    return [samples.label_names[label] for label in samples.labels.tolist()]


def passed_over(samples: Samples) -> list[str]:
    return [str(item) for item in samples.origin.passed_over]


def pixels_of(samples: Samples) -> np.ndarray:
    return samples.read(np.arange(len(samples)))


def put(root: Path, *files: str, start: int = 0) -> None:
    """Write pictures; those of two calls with another `start` differ."""
    for number, file in enumerate(files, start=start):
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(PIXELS[number]))


def packed(folder: Path, archive: Path, prefix: str = "", **options: Any) -> Path:
    with zipfile.ZipFile(archive, "w", **options) as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, prefix + path.relative_to(folder).as_posix())
    return archive


# StyleGAN


def write_stylegan(root: Path, labels: Any) -> list[str]:
    files = [f"{number // 2:05d}/img{number:08d}.png" for number in range(6)]
    put(root, *files)
    if labels is not None:
        (root / "dataset.json").write_text(json.dumps(labels))
    return files


@pytest.mark.parametrize("form", ["folder", "zip", "zip with a folder", "stored zip"])
def test_stylegan_sets_have_the_labels_of_their_index(tmp_path: Path, form: str) -> None:
    root = tmp_path / "set"
    root.mkdir()
    files = write_stylegan(root, None)
    classes = [6, 2, 6, 10, 2, 10]
    (root / "dataset.json").write_text(json.dumps({"labels": list(zip(files, classes, strict=True))}))
    path = root
    if form != "folder":
        prefix = "set/" if "with a folder" in form else ""
        method = zipfile.ZIP_STORED if form == "stored zip" else zipfile.ZIP_DEFLATED
        path = packed(root, tmp_path / "set.zip", prefix, compression=method)
    samples = load(path)
    assert samples.label_names == ("2", "6", "10")
    assert labels_of(samples) == list(map(str, classes))
    np.testing.assert_array_equal(pixels_of(samples), PIXELS[:6])
    assert "labels from" in samples.origin.labels_from
    assert passed_over(samples) == []


@pytest.mark.parametrize("index", [{"labels": None}, {"labels": []}, None, {"files": 3}])
def test_stylegans_numbered_folders_are_no_labels(tmp_path: Path, index: Any) -> None:
    write_stylegan(tmp_path, index)
    samples = load(tmp_path)
    assert samples.labels is None
    assert len(samples) == 6


def test_one_hot_labels_and_names_are_classes_too(tmp_path: Path) -> None:
    put(tmp_path, *(f"{name}.png" for name in "abcd"))
    with pytest.raises(DataError, match=r"label of a.png must be a whole number, a name or a one-hot list"):
        load_with(tmp_path, [["a.png", [0.2, 0.8]]])
    assert labels_of(load_with(tmp_path, [[f"{n}.png", [n == "a", n != "a"]] for n in "abcd"])) == ["0", "1", "1", "1"]
    assert labels_of(load_with(tmp_path, {f"{n}.png": n for n in "abcd"})) == list("abcd")


def load_with(root: Path, labels: Any) -> Samples:
    (root / "dataset.json").write_text(json.dumps({"labels": labels}))
    return load(root)


def test_an_index_that_is_damaged_or_incomplete_is_refused_unless_labels_are_ignored(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.png")
    with pytest.raises(DataError, match=r"dataset.json has no label for 1 of 2 pictures, such as b.png.*ignore"):
        load_with(tmp_path, [["a.png", 1]])
    with pytest.raises(DataError, match=r"c\.png: No such file"):
        load_with(tmp_path, [["a.png", 1], ["b.png", 1], ["c.png", 1]])
    with pytest.raises(DataError, match=r"must hold \{\"labels\": \[\[file, label\]"):
        load_with(tmp_path, [["a.png"], ["b.png", 1]])
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": [["a.png", 1]]}))
    assert load(tmp_path, labels="ignore").labels is None
    for damaged in (b"", b"{", b"\xff\xfe{}", b'{"labels": '):
        (tmp_path / "dataset.json").write_bytes(damaged)
        with pytest.raises(DataError, match=r"dataset.json: can't be read as JSON"):
            load(tmp_path)
        assert len(load(tmp_path, labels="ignore")) == 2


# Training, test and validation parts


@pytest.mark.parametrize(
    ("train", "other"),
    [
        *(
            ("train", "test"),
            ("train", "val"),
            ("Training", "Validation"),
            ("TRAIN", "VALID"),
            ("seg_train", "seg_test"),
        ),
        *(("train2017", "val2017"), ("train_set", "test_set"), ("trainset", "testset")),
        *(("train", "held-out"), ("images/train", "images/dev"), ("training", "testing"), ("cats.train", "cats.eval")),
    ],
)
def test_only_the_training_part_is_taken_and_labels_are_the_folders_in_it(
    tmp_path: Path, train: str, other: str
) -> None:
    put(tmp_path, *(f"{train}/{label}/{number}.png" for label in ("cat", "dog") for number in range(2)))
    put(tmp_path, *(f"{other}/{label}/9.png" for label in ("cat", "dog", "owl")), start=6)
    for path in (tmp_path, packed(tmp_path, tmp_path.parent / f"{tmp_path.name}.zip")):
        samples = load(path)
        assert samples.label_names == ("cat", "dog")
        assert labels_of(samples) == ["cat", "cat", "dog", "dog"]
        np.testing.assert_array_equal(pixels_of(samples), PIXELS[:4])
        assert passed_over(samples) == [f"3 in {other} (another split)"]


def test_what_lies_beside_the_splits_is_passed_over_and_told(tmp_path: Path) -> None:
    put(tmp_path, "train/a/1.png", "train/b/1.png", "test/a/1.png", "pred/1.png", "pred/2.png", "overview.png")
    (tmp_path / "notes.txt").write_text("notes")
    samples = load(tmp_path)
    assert labels_of(samples) == ["a", "b"]
    assert passed_over(samples) == [
        "2 in pred (beside the training split)",
        "1 in test (another split)",
        "1 beside the folder of the training split",
        "1 .txt",
    ]


def test_splits_may_lie_in_the_labels_and_hold_no_labels(tmp_path: Path) -> None:
    put(tmp_path / "one", "cat/train/1.png", "cat/test/2.png", "dog/train/3.png", "dog/test/4.png")
    samples = load(tmp_path / "one")
    assert labels_of(samples) == ["cat", "dog"]
    assert passed_over(samples) == ["1 in cat/test (another split)", "1 in dog/test (another split)"]
    put(tmp_path / "two", "train/1.png", "train/2.png", "test/3.png")
    flat = load(tmp_path / "two")
    assert (flat.labels, len(flat)) == (None, 2)
    put(tmp_path / "three", "train/train/cat/1.png", "train/train/dog/1.png", "test/test/cat/1.png")
    assert labels_of(load(tmp_path / "three")) == ["cat", "dog"]


def test_a_training_part_without_pictures_is_not_replaced_by_the_test_part(tmp_path: Path) -> None:
    put(tmp_path, "test/a/1.png", "test/b/1.png")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "1.heic").write_bytes(b"x")
    with pytest.raises(DataError, match=r"holds no images to learn from: 2 in test \(another split\)"):
        load(tmp_path)


def test_sets_without_a_training_part_are_asked_for_one(tmp_path: Path) -> None:
    put(tmp_path, "test/a/1.png", "val/a/1.png")
    with pytest.raises(DataError, match=r"holds only test and val, and no train: .*--data, such as .*/test"):
        load(tmp_path)
    assert labels_of(load(tmp_path / "test")) == ["a"]


def test_names_of_parts_are_told_from_labels() -> None:
    assert {
        name for name in ("valley", "train1er", "trainer", "tester", "evaluator", "devil") if split_of(name)
    } == set()
    assert [getattr(split_of(name), "kind", None) for name in ("train", "test-0", "val_2")] == [
        *("train", "held out", "held out")
    ]


def test_a_label_called_train_stays_one_beside_other_labels(tmp_path: Path) -> None:
    put(tmp_path, "bus/1.png", "car/1.png", "train/1.png")
    assert labels_of(load(tmp_path)) == ["bus", "car", "train"]


# Archives


def test_ordinary_archives_are_read_as_their_folder_would_be(tmp_path: Path) -> None:
    put(tmp_path / "photos", "cat/1.png", "cat/2.png", "dog/3.png")
    (tmp_path / "photos" / "__MACOSX").mkdir()
    (tmp_path / "photos" / "__MACOSX" / "._1.png").write_bytes(b"x")
    (tmp_path / "photos" / "readme.txt").write_text("x")
    folder = load(tmp_path / "photos")
    for prefix in ("", "photos/"):
        archive = load(packed(tmp_path / "photos", tmp_path / "x.zip", prefix))
        assert labels_of(archive) == labels_of(folder) == ["cat", "cat", "dog"]
        np.testing.assert_array_equal(pixels_of(archive), pixels_of(folder))
        assert passed_over(archive) == ["1 .txt"]
        np.testing.assert_array_equal(pixels_of(pickle.loads(pickle.dumps(archive))), pixels_of(folder))


def test_folders_around_those_of_the_labels_are_no_labels(tmp_path: Path) -> None:
    put(tmp_path, *(f"archive/Photos/{label}/{number}.png" for label in ("cat", "dog") for number in range(2)))
    assert labels_of(load(tmp_path)) == ["cat", "cat", "dog", "dog"]
    put(tmp_path, "archive/loose.png", start=9)
    assert set(labels_of(load(tmp_path)) or ()) == {"archive"}


def test_a_flat_archive_has_no_labels(tmp_path: Path) -> None:
    put(tmp_path / "photos", "1.png", "2.png")
    for prefix in ("", "photos/"):
        assert load(packed(tmp_path / "photos", tmp_path / "x.zip", prefix)).labels is None


def test_archives_from_windows_have_folders_too(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("photos\\cat\\1.png", "photos\\dog\\2.png"):
            archive.writestr(name, encode(PIXELS[0]))
    assert labels_of(load(tmp_path / "x.zip")) == ["cat", "dog"]


def test_damaged_and_other_archives_are_refused_in_a_line(tmp_path: Path) -> None:
    put(tmp_path / "photos", *(f"{number}.png" for number in range(6)))
    whole = packed(tmp_path / "photos", tmp_path / "x.zip").read_bytes()
    (tmp_path / "x.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"--data .*x.zip: is cut off, or no zip archive"):
        load(tmp_path / "x.zip")
    broken = bytearray(whole)
    broken[60] ^= 0xFF  # In the first picture.
    (tmp_path / "x.zip").write_bytes(bytes(broken))
    with pytest.raises(DataError, match=r"1 of 6 images can't be used:\n.*x.zip/0.png: the archive is damaged here"):
        load(tmp_path / "x.zip")
    assert len(load(tmp_path / "x.zip", on_bad_file="skip")) == 5
    for name, message in (
        ("x.tar.gz", "Unpack the archive"),
        ("x.npz", "Add --data.source array"),
        ("x.pq", "source parquet"),
    ):
        (tmp_path / name).write_bytes(b"another file")
        with pytest.raises(DataError, match=message):
            load(tmp_path / name)


# Formats


@pytest.mark.parametrize(
    ("ending", "form"),
    [
        *(("png", "PNG"), ("PNG", "PNG"), ("jpg", "JPEG"), ("jpeg", "JPEG"), ("jpe", "JPEG"), ("jfif", "JPEG")),
        *(("webp", "WEBP"), ("bmp", "BMP"), ("gif", "GIF"), ("tif", "TIFF"), ("TIFF", "TIFF")),
        *(("avif", "AVIF"), ("ppm", "PPM"), ("PNM", "PPM")),
    ],
)
def test_every_common_format_is_read(tmp_path: Path, ending: str, form: str) -> None:
    pixels = np.full((8, 8, 3), (200, 100, 40), np.uint8)
    (tmp_path / f"1.{ending}").write_bytes(encode(pixels, form))
    found = pixels_of(load(tmp_path, channels="rgb"))
    assert found.shape == (1, 8, 8, 3)
    assert np.abs(found[0].astype(int) - pixels).max() <= 4


def test_several_frames_and_pages_count_as_their_first(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((8, 8), level, np.uint8)) for level in (10, 200)]
    for name in ("1.gif", "2.tif", "3.webp"):
        options = {"lossless": True} if name == "3.webp" else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
    assert pixels_of(load(tmp_path, channels="gray")).max() <= 12


def test_other_formats_are_counted_by_their_ending(tmp_path: Path) -> None:
    put(tmp_path, "1.png", "2.png")
    for number in range(3):
        (tmp_path / f"{number}.HEIC").write_bytes(b"x")
    (tmp_path / "README").write_text("x")
    assert passed_over(load(tmp_path)) == ["3 .heic", "1 without an ending"]


def test_the_right_source_is_named_where_there_are_no_pictures(tmp_path: Path) -> None:
    for name, message in (
        ("a.parquet", "Give the folder with --data .*, which takes it for Parquet"),
        ("b.npy", "Give the path of one file, such as --data .*b.npy"),
        ("c.zip", "Give the archive, --data .*c.zip"),
    ):
        folder = tmp_path / name[0]
        folder.mkdir()
        (folder / name).write_bytes(b"x")
        with pytest.raises(DataError, match=message):
            load(folder)


# The line at the start


def test_training_begins_with_a_line_about_what_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(tmp_path / "set" / "train", random_pixels(20), ["a", "b"] * 10)
    put(tmp_path / "set", "test/a/1.png", "test/a/2.png")
    (tmp_path / "set" / "list.txt").write_text("x")
    data = FolderConfig(path=str(tmp_path / "set"))
    config: TrainConfig = tiny_config(data=data, steps=1)
    train(config, tmp_path / "run", device="cpu", console=Console(file=None, stderr=True, width=400))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("data: ")]
    assert lines == [
        f"data: 16 images of 2 labels (a, b) to learn from, 4 held out; folder {tmp_path}/set, labels are the folders "
        "in train. Passed over: 2 in test (another split); 1 .txt."
    ]
    assert describe_samples(load_split(data, "train"), data) == lines[0]
