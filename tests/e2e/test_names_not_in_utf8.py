"""Folders whose names are not UTF-8: a run in one can be trained, exported, evaluated and told about."""

import os
from pathlib import Path

import pytest

from commands import ganserve, said
from image_files import random_pixels, write_folder

ODD = os.fsdecode(b"caf\xe9")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    try:
        (tmp_path / ODD).mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    return tmp_path / ODD


def flags(out: Path, data: Path) -> list[object]:
    return [
        *("train", "digits", "--out", out, "--data.source", "folder", "--data.path", data, "--steps", 4),
        *("--device", "cpu", "--diagnosis.every-steps", 1000, "--batch-size", 16),
    ]


@pytest.mark.slow
def test_a_run_in_such_a_folder_goes_all_the_way(folder: Path, tmp_path: Path) -> None:
    data = write_folder(folder / "photos", random_pixels(60), ["a", "b"] * 30)
    out = folder / "run"
    assert f"{out} finished: step 4" in said(*flags(out, data))
    for words in (
        ("train", *flags(out, data)[1:]),
        ("export-onnx", out, "--out", tmp_path / "models" / "photos"),
        ("evaluate", out, "--metrics", "sliced-wasserstein", "-n", 50),
        ("report", out),
    ):
        done = ganserve(*words)
        assert done.returncode == 0, (words, done.stderr)
        assert "Traceback" not in done.stderr


def test_labels_that_no_model_can_have_are_refused_before_training(folder: Path, tmp_path: Path) -> None:
    data = write_folder(tmp_path / "photos", random_pixels(20), ["a", ODD] * 10)
    done = ganserve(*flags(tmp_path / "run", data))
    assert done.returncode == 1
    assert "is not UTF-8, and a model needs names that are: rename its folder" in done.stderr
    assert not (tmp_path / "run" / "checkpoints").exists()
    ignored = ganserve(*flags(tmp_path / "run", data), "--data.labels", "ignore")
    assert ignored.returncode == 0, ignored.stderr
