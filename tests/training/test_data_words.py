"""Test what people read about their data: refusals with the right fix and exit code, and data that were moved."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from commands import ganserve
from ganserve_training.commands.train_arguments import read_arguments
from ganserve_training.config import FolderConfig
from ganserve_training.data import load_split
from ganserve_training.data.recognition import source_of
from ganserve_training.errors import ConfigError, DataError
from ganserve_training.evaluation.metrics.kid import kernel_distance
from ganserve_training.run.run_folder import RunFolder
from image_files import encode, random_pixels, write_folder

FEW_STEPS = ("--steps", 2, "--device", "cpu", "--batch-size", 8, "--diagnosis.every-steps", 1000)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "photos", random_pixels(40), ["cat", "dog"] * 20)


def test_one_image_a_label_is_said_as_it_is(tmp_path: Path) -> None:
    write_folder(tmp_path, random_pixels(5), list("abcde"))
    with pytest.raises(DataError) as caught:
        load_split(FolderConfig(path=str(tmp_path)), "train")
    assert str(caught.value) == (
        "each of the 5 labels has a single sample, and a label needs two, one to train on and one to hold out: add "
        "samples, or learn without labels: --data.labels ignore"
    )
    assert len(load_split(FolderConfig(path=str(tmp_path), labels="ignore"), "train")) == 4


def test_labels_without_readable_images_matter_only_if_labels_do(photos: Path) -> None:
    (photos / "owl").mkdir()
    (photos / "owl" / "1.png").write_bytes(b"x")
    with pytest.raises(DataError, match="no readable image is left of the label 'owl'"):
        load_split(FolderConfig(path=str(photos), on_bad_file="skip"), "train")
    assert len(load_split(FolderConfig(path=str(photos), on_bad_file="skip", labels="ignore"), "train")) == 32


@pytest.mark.parametrize("table", ["file,label\n1.png, cat\n2.png,cat\n", 'file , label\n1.png,  "cat"\n 2.png,cat \n'])
def test_spaces_around_labels_make_no_second_class(tmp_path: Path, table: str) -> None:
    for number, pixels in enumerate(random_pixels(2), start=1):
        (tmp_path / f"{number}.png").write_bytes(encode(pixels))
    (tmp_path / "labels.csv").write_text(table)
    samples = FolderConfig(path=str(tmp_path), labels_path=str(tmp_path / "labels.csv")).load(None)
    assert samples.label_names == ("cat",)


def test_kid_of_one_sample_is_refused_in_words() -> None:
    with pytest.raises(DataError, match=r"kid needs at least 2 samples \(got 1 generated and 5 real\)"):
        kernel_distance(np.zeros((1, 4)), np.zeros((5, 4)))


def test_a_place_that_does_not_exist_is_bad_usage(tmp_path: Path, photos: Path) -> None:
    for flags in (
        ("--data.source", "folder", "--data.path", tmp_path / "nowhere"),
        ("--data", tmp_path / "nowhere"),
        ("--data.source", "array", "--data.path", photos),
        ("--data.source", "folder", "--data.path", photos, "--data.labels-path", "no.csv"),
    ):
        done = ganserve("train", "digits", "--out", tmp_path / "run", *flags)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert not (tmp_path / "run").exists()


def test_images_without_labels_make_a_model_without_labels(tmp_path: Path) -> None:
    write_folder(tmp_path / "flat", random_pixels(20))
    place = ("--data.source", "folder", "--data.path", tmp_path / "flat")
    words = ("train", "digits", "--out", tmp_path / "run", *place, *FEW_STEPS)
    done = ganserve(*words)
    assert done.returncode == 0
    assert "use of labels auto and auto instead of concatenation and projection, for data without labels" in done.stderr
    done = ganserve(*words, "--networks.critic-conditioning", "projection", "--out", tmp_path / "given")
    assert done.returncode == 2
    assert "needs labels, and the data have none. Give the data labels, or train without: --data.labels ignore" in (
        done.stderr
    )


# --data


def test_sources_are_recognised_by_what_is_there(tmp_path: Path, photos: Path) -> None:
    for name, expected in (
        ("a/default/train/0000.parquet", "parquet"),
        ("b/train.pq", "parquet"),
        ("c/cifar-10-batches-bin/data_batch_1.bin", "cifar10"),
        ("d/train-images.idx3-ubyte.gz", "idx"),
        ("e/deep/er/1.png", "folder"),
    ):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
        assert source_of(str(tmp_path / name[0])) == expected
    for name, expected in (("x.zip", "folder"), ("x.npz", "array"), ("x.NPY", "array"), ("x.PARQUET", "parquet")):
        (tmp_path / name).touch()
        assert source_of(str(tmp_path / name)) == expected
    (photos / "list.parquet").touch()
    (photos / "cat" / "more.parquet").touch()
    assert source_of(str(tmp_path / "e")) == "folder"


def test_data_is_short_for_source_and_path(photos: Path) -> None:
    spaced = photos.with_name("my photos")
    spaced.mkdir()
    for words in (["--data", str(photos)], [f"--data={photos}"]):
        config = read_arguments(["digits", *words, "--data.size", "8"]).config.data
        assert config == FolderConfig(path=str(photos), size=8)
    assert read_arguments(["digits", "--data", "ring", "--data.labels", "ignore"]).config.data.source == "ring"
    for words, message in (
        (["--data", str(photos), "--data.path", "x"], "stands beside --data"),
        (["--data", str(photos), "--data.source", "idx"], "stands beside --data"),
        (["--data"], "--data: needs a value"),
        (["--data", "--steps"], "--data: needs a value"),
        (["--data", "nowhere"], "--data nowhere: neither a file or folder nor a source"),
        (["--data", "https://host/x.zip"], "--data https://host/x.zip: is an address. Download the data"),
        (["--data", str(photos), "mnist"], f"the preset comes first. Write ganserve train mnist --data {photos}"),
        (["--data", *map(str, sorted((photos / "cat").iterdir()))], f"Give the folder: --data {photos / 'cat'}"),
        (["--data", *f"{spaced}".split()], f"has a space in its path. Write --data '{spaced}'"),
    ):
        with pytest.raises(Exception, match=message) as caught:
            read_arguments(["digits", *words])
        assert caught.type.__name__ in ("UsageError", "ConfigError")


@pytest.mark.slow
def test_a_run_works_from_any_folder_and_with_data_that_were_moved(photos: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(photos / "cat" / "0000.png", photos / "dog" / "again.png")
    trained = ganserve("train", "digits", "--data", "photos", "--out", "run", *FEW_STEPS, folder=tmp_path)
    assert trained.returncode == 0, trained.stderr
    config = RunFolder(tmp_path / "run").read_config()
    assert config is not None
    assert str(config.data) == f"folder {photos}"
    run, few = tmp_path / "run", ("--metrics", "sliced-wasserstein", "-n", "50")
    words = ("export-onnx", run, "--out", "models/photos", "--generator-only")
    assert ganserve(*words, folder=elsewhere).returncode == 0
    assert ganserve("evaluate", run, *few, folder=elsewhere).returncode == 0
    photos.rename(tmp_path / "moved")
    gone = ganserve(*words[:-1], folder=elsewhere)  # The critic is calibrated with the data.
    assert gone.returncode == 2
    assert f"--data.path {photos}: does not exist. If the data were moved, say where they are now: --data PATH." in (
        gone.stderr
    )
    moved = os.path.relpath(tmp_path / "moved", elsewhere)
    assert ganserve(*words, "--data", moved, folder=elsewhere).returncode == 0
    assert ganserve("evaluate", run, *few, "--data", moved, folder=elsewhere).returncode == 0
    manifest = json.loads((elsewhere / "models" / "photos" / "2" / "manifest.json").read_text())
    assert Path(manifest["provenance"]["config"]["data"]["path"]).samefile(tmp_path / "moved")
    again = ("train", "digits", "--data", moved, "--out", run, *FEW_STEPS, "--steps", 3)
    resumed = ganserve(*again, folder=elsewhere)
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming from step 2" in resumed.stderr


def test_a_table_of_labels_moves_with_its_pictures(photos: Path, tmp_path: Path) -> None:
    config = FolderConfig(path=str(photos), labels_path=str(photos / "labels.csv"))
    assert config.moved_to(str(tmp_path / "x")).labels_path == str(tmp_path / "x" / "labels.csv")
    apart = FolderConfig(path=str(photos), labels_path=str(tmp_path / "labels.csv"))
    assert apart.moved_to(str(tmp_path / "x")).labels_path == str(tmp_path / "labels.csv")
    with pytest.raises(ConfigError, match=r"--data.labels-path .*labels.csv: does not exist"):
        apart.load(None)
