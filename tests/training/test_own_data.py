"""`ganserve train --data PATH`: what is found and chosen, and that the printed command makes the same run."""

from __future__ import annotations

import csv
import gzip
import re
import shlex
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from tests.support.image_files import encode, random_pixels, write_idx

from ganserve._command_framework.options import UsageError
from ganserve_training.commands import own_data
from ganserve_training.commands.own_data import completed, run_name
from ganserve_training.commands.own_data_choices import choose_channels, choose_labels, choose_size, describe
from ganserve_training.commands.train import COMMAND, main
from ganserve_training.config import ArrayConfig, CsvConfig, FolderConfig, IdxConfig, ParquetConfig
from ganserve_training.data import load_split
from ganserve_training.data.describe_samples import describe_samples
from ganserve_training.data.survey import Survey
from ganserve_training.errors import DataError
from ganserve_training.run import process_supervisor
from ganserve_training.run.time_estimate import Estimate, in_words

SMALL = ("--networks.generator-width", "4", "--networks.critic-width", "4", "--batch-size", "8", "--threads", "1")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take it that no size takes too long: a measurement would differ from machine to machine."""
    monkeypatch.setattr(own_data, "_seconds", lambda _trial, _found, _preset, side, _others: side)


def pictures(folder: Path, count: int, side: int = 20, mode: str = "L", ending: str = "png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(len(str(folder))).integers(0, 256, (count, side, side, 3), np.uint8)
    for number, pixels in enumerate(values):
        Image.fromarray(pixels).convert(mode).save(folder / f"{number}.{ending}")


def flags(argv: list[str]) -> dict[str, str]:
    return dict(zip(argv[1::2], argv[2::2], strict=True))


# Choices


def survey_of(side: int = 32, count: int = 5000, **facts: object) -> Survey:
    return Survey(count=count, sides=(side,), channels=Counter(gray=count), **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("side", "count", "chosen"),
    [(4, 5000, 8), (8, 5000, 8), (20, 5000, 16), (28, 5000, 32), (48, 5000, 64), (900, 5000, 64), (900, 999, 32)],
)
def test_the_size_is_a_power_of_two_near_that_of_the_pictures(side: int, count: int, chosen: int) -> None:
    assert choose_size(survey_of(side, count), lambda _side: 1.0).value == str(chosen)


def test_the_size_is_as_large_as_the_time_allows_and_says_why() -> None:
    choice = choose_size(survey_of(900), lambda side: {64: 3000.0, 32: 599.0}[side])
    assert choice.words == "32 x 32 pixels, as a run of usual length at 64 x 64 would take about 50 minutes here"
    choice = choose_size(survey_of(900), lambda side: 9000.0 * side)
    words = "16 x 16 pixels, as a run of usual length at 32 x 32 would take about 3.3 days here"
    assert (choice.value, choice.words) == ("16", words)
    assert choose_size(survey_of(900), lambda _side: None).value == "32"


def test_colours_win_over_gray_and_alpha_is_laid_over_white() -> None:
    for kinds, value, words in (
        ({"gray": 3}, "gray", "gray"),
        ({"gray-alpha": 1, "gray": 3}, "gray", "gray, transparent parts over white"),
        ({"gray": 9, "rgb": 1}, "rgb", "rgb"),
        ({"rgba": 1}, "rgb", "rgb, transparent parts over white"),
    ):
        choice = choose_channels(Survey(count=1, channels=Counter(kinds)))
        assert (choice.value, choice.words) == (value, words)


def test_labels_are_used_where_they_can_be_learned() -> None:
    for facts, value, words in (
        ({"labels": {"cat": 10, "dog": 10}}, "use", "by label"),
        ({}, "ignore", "without labels"),
        ({"labels": {"cat": 20}}, "ignore", "without labels, as all have the same, cat"),
        ({"labels": {"a": 1, "b": 9, "c": 2}}, "ignore", "without labels, as 3 are too many for 20 pictures"),
        ({"labels": {"a": 9, "b": 11}, "can_split": False}, "ignore", "without labels, as 2 are too many"),
        ({"label_problem": "x holds loose images"}, "ignore", "without labels, as x holds loose images"),
    ):
        choice = choose_labels(survey_of(count=20, **facts))  # type: ignore[arg-type]
        assert choice.value == value
        assert choice.words.startswith(words)


def test_a_line_says_what_was_found() -> None:
    labels = {str(number): 10 for number in range(12)}
    assert describe(survey_of(labels=labels, how="labels are the folders")) == (
        "found: 5,000 pictures of 12 labels (0, 1, 2, … 11; 10 each); labels are the folders; 32 pixels on the shorter "
        "side; gray."
    )
    assert describe(Survey(count=7, values=3, labels={"a": 3, "b": 4})) == (
        "found: 7 vectors of 2 labels (a 3, b 4); 3 values each."
    )


# The command


def test_data_alone_are_enough_and_the_printed_command_makes_the_same_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a cat", "dög"):
        pictures(tmp_path / "My Pictures" / name, 15, mode="RGBA")
    (tmp_path / "My Pictures" / "dög" / "broken.JPG").write_bytes(b"no picture")
    assert main(["--data", "My Pictures", "--steps", "2", *SMALL]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0] == (
        "found: 30 pictures of 2 labels (a cat 15, dög 15); labels are the folders; 20 pixels on the shorter side; "
        "rgba; 1 more can't be read; so few that samples will be near copies of them."
    )
    assert said[1] == "chosen: preset digits; 16 x 16 pixels; rgb, transparent parts over white; by label."
    command = shlex.split(said[2].removeprefix("as a command: ganserve train "))
    assert command[command.index("--out") + 1] == "runs/my-pictures"
    command[command.index("--out") + 1] = "again"
    assert main(command) == 0
    assert "found:" not in capsys.readouterr().err
    first, second = (
        torch.load(Path(run, "checkpoints", "step-00000002.pt"), weights_only=True)["generator"]
        for run in ("runs/my-pictures", "again")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert Path("runs/my-pictures/config.json").read_text() == Path("again/config.json").read_text()


def test_the_same_command_goes_on_with_what_was_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "photos", 30, side=40)
    with (tmp_path / "photos" / "labels.csv").open("w") as table:
        csv.writer(table).writerows([("filename", "class"), *((f"{i}.png", "ab"[i % 2]) for i in range(30))])
    command = ["--data", "photos", *SMALL]
    assert main([*command, "--steps", "1"]) == 0
    assert "--data.labels-path photos/labels.csv --data.size 32" in capsys.readouterr().err
    monkeypatch.setattr(own_data, "_seconds", lambda *_: 1e9)  # A busy hour.
    (tmp_path / "photos").rename(tmp_path / "moved")
    assert main(["--data", "moved", *SMALL, "--out", "runs/photos", "--steps", "2"]) == 0
    said = capsys.readouterr().err
    assert "resuming from step 1" in said
    assert "found:" not in said


def test_several_processes_get_what_was_chosen_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures(tmp_path / "x", 30)
    started: list[list[str]] = []
    monkeypatch.setattr(process_supervisor, "supervise", lambda argv, *_: started.append(list(argv)) or 0)
    assert main(["--data", str(tmp_path / "x"), "--processes", "2", "--out", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().err.count("found: 30 pictures") == 1
    assert completed(started[0]).lines == ()
    assert completed(started[0]).argv == started[0]


def test_each_choice_can_be_overridden(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        pictures(tmp_path / "x" / name, 15)
    given = ("--data.size", "8", "--data.channels", "rgb", "--data.labels", "ignore", "--out", "elsewhere")
    whole = completed(["--data", str(tmp_path / "x"), *given])
    assert whole.argv == ["digits", "--data", str(tmp_path / "x"), *given]
    assert whole.lines == ()
    whole = completed(["dcgan", "--data", str(tmp_path / "x"), "--data.size=8"])
    assert whole.argv[0] == "dcgan"
    assert flags([word for word in whole.argv if word != "--data.size=8"]) == {
        "--data": str(tmp_path / "x"),
        "--data.channels": "gray",
        "--data.labels": "ignore",
    }
    assert "without labels, as preset dcgan learns" in whole.lines[1]


def test_the_preset_follows_the_data(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    np.savez(tmp_path / "v.npz", x=random.normal(size=(40, 3)), y=np.arange(40) % 2)
    assert completed(["--data", str(tmp_path / "v.npz")]).argv[0] == "ring"
    for size, preset in ((8, "digits"), (16, "digits"), (32, "mnist"), (64, "mnist")):
        np.savez(tmp_path / "s.npz", images=random.integers(0, 256, (1300, size, size), np.uint8))
        assert completed(["--data", str(tmp_path / "s.npz")]).argv[0] == preset
    for source, preset in (("mnist", "mnist"), ("fashion", "fashion"), ("ring", "ring"), ("patches", "mnist")):
        assert completed(["--data", source]).argv[0] == preset


def test_a_missing_preset_and_a_path_in_its_place_are_told(tmp_path: Path) -> None:
    for argv, message in (
        (["--steps", "3"], "PRESET: missing. .*; or give --data PATH, which chooses one."),
        ([], "PRESET: missing. .*; or give --data PATH, which chooses one."),
        ([str(tmp_path)], "Is that your data\\? Write --data"),
        (["--data"], "--data: needs a value"),
    ):
        with pytest.raises(UsageError, match=message):
            COMMAND.read(argv)


def test_names_of_runs_are_those_of_models() -> None:
    for path, name in (("My Photos.zip", "my-photos"), ("x.csv.gz", "x"), ("./größe/", "grosse"), ("...", "own")):
        assert run_name(path) == name


# Sources


def table(path: Path, rows: list[tuple[object, ...]], opened: type = open) -> Path:  # type: ignore[assignment]
    with opened(path, "wt", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def pixel_rows(count: int = 40, side: int = 8) -> tuple[np.ndarray, list[tuple[object, ...]]]:
    values = np.random.default_rng(3).integers(0, 256, (count, side * side))
    values[:, 0] = values[:, -1] = 0
    return values, [tuple(row) for row in values.tolist()]


@pytest.mark.parametrize("form", ["header", "first", "last", "none", "text", "semicolon"])
def test_tables_of_pixels_are_read_in_every_usual_form(tmp_path: Path, form: str) -> None:
    values, rows = pixel_rows()
    labels = [number % 3 for number in range(len(rows))]
    path = tmp_path / "t.csv"
    if form == "header":
        header = ("id", "label", *(f"p{n}" for n in range(64)))
        table(path, [header, *((n, label, *row) for n, (label, row) in enumerate(zip(labels, rows, strict=True)))])
    elif form == "text":
        texts = [" ".join(map(str, row)) for row in rows]
        table(path, [("emotion", "pixels"), *zip(labels, texts, strict=True)])
    elif form == "semicolon":
        path.write_text("\n".join(";".join(map(str, (label, *row))) for label, row in zip(labels, rows, strict=True)))
    else:
        before, after = form == "first", form == "last"
        both = zip(labels, rows, strict=True)
        path = table(
            tmp_path / "t.csv.gz",
            [(*[y] * before, *row, *[y] * after) for y, row in both],
            gzip.open,  # type: ignore[arg-type]
        )
    found = CsvConfig(path=str(path)).load(None)
    assert found.label_names == (() if form == "none" else ("0", "1", "2"))
    if found.labels is not None:
        assert found.labels.tolist() == labels
    np.testing.assert_array_equal(found.read(np.arange(len(rows)))[..., 0], values.reshape(-1, 8, 8))


def test_rows_of_other_splits_are_passed_over(tmp_path: Path) -> None:
    _, rows = pixel_rows(30)
    texts = [" ".join(map(str, row)) for row in rows]
    usage = ["Training"] * 20 + ["PublicTest"] * 10
    path = table(tmp_path / "f.csv", [("emotion", "pixels", "Usage"), *zip([0, 1] * 15, texts, usage, strict=True)])
    found = CsvConfig(path=str(path)).load(None)
    assert len(found) == 20
    assert "10 rows of PublicTest (another split)" in map(str, found.origin.passed_over)


def test_a_table_lists_pictures_by_path_or_name(tmp_path: Path) -> None:
    pictures(tmp_path / "img", 4, ending="PNG")
    for name in ("img/{}.PNG", "{}.PNG", "{}", ".\\img\\{}.PNG", f"{tmp_path}/img/{{}}.PNG"):
        rows = [(name.format(number), "ab"[number % 2]) for number in range(4)]
        path = table(tmp_path / "list.csv", [("Image Path", "Class-Name"), *rows])
        found = CsvConfig(path=str(path)).load(None)
        assert len(found) == 4, name
        assert found.label_names == ("a", "b")
        unlabelled = CsvConfig(path=str(path), labels="ignore").load(None)
        assert (len(unlabelled), unlabelled.labels) == (4, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,c\n1,2,3\n", "its columns hold 3 numbers, no square image"),
        ("name,city\nx,y\n", "hold text"),
        ("", "can't be read as a CSV file"),
        ("label,pixels\n1,1 2 3\n", "square images of one size"),
        ("\x00\xff", "can't be read as a CSV file|hold text"),
    ],
)
def test_tables_of_another_form_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=message):
        load_split(CsvConfig(path=str(tmp_path / "t.csv")), "train")


def test_arrays_of_other_numbers_and_axes_become_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8)
    gray = pixels[..., 0]
    for arrays, expected in (
        ({"x_train": pixels / 255.0, "y_train": np.arange(20)[:, None] % 2, "x_test": pixels}, pixels),
        ({"X": pixels.transpose(0, 3, 1, 2).astype(np.int64)}, pixels),
        ({"faces": (pixels / 127.5 - 1.0).astype(np.float32), "kind": np.arange(20) % 2}, pixels),
        ({"images": gray.reshape(20, -1)}, gray[..., None]),
        ({"x": (gray > 127).astype(np.uint8)}, np.where(gray > 127, 255, 0)[..., None]),
        ({"arr_0": gray > 127, "arr_1": np.arange(20) % 2}, np.where(gray > 127, 255, 0)[..., None]),
    ):
        np.savez(tmp_path / "x.npz", **arrays)
        found = ArrayConfig(path=str(tmp_path / "x.npz")).load(None)
        np.testing.assert_array_equal(found.read(np.arange(20)), expected)
        assert (found.labels is not None) == (len(arrays) > 1)
        assert [str(what) for what in found.origin.passed_over] == ["1 other array (x_test)"] * ("x_test" in arrays)


def labelled(path: Path, labels: list[object]) -> Path:
    """Write gray pictures of 8 x 8 pixels with labels, in the format that the path's ending says."""
    pixels = random_pixels(len(labels), side=8)[..., 0]
    if path.suffix == ".npz":
        np.savez(path, images=pixels, labels=np.array([np.nan if label is None else label for label in labels]))
    elif path.suffix == ".csv":
        texts = ["" if label is None else label for label in labels]
        rows = [(text, *row) for text, row in zip(texts, pixels.reshape(-1, 64), strict=True)]
        table(path, [("label", *(f"p{n}" for n in range(64))), *rows])
    else:
        pq.write_table(pa.table({"image": [encode(each[..., None]) for each in pixels], "label": labels}), path)
    return path


@pytest.mark.parametrize("name", ["x.npz", "x.csv", "x.parquet"])
def test_labels_may_be_whole_floats_or_truth_values_or_lack(name: str, tmp_path: Path) -> None:
    for labels, names in (([3.0, 11.0] * 12, ("3", "11")), ([True, False] * 12, ("False", "True"))):
        whole = completed(["--data", str(labelled(tmp_path / name, labels))])
        assert "by label" in whole.lines[1]
        assert load_split(whole.arguments.config.data, "train").label_names == names
    for labels, reason in (
        ([1.0, None] * 12, "12 of 24 have none|row 1 has no label"),
        ([0.5, 1.0] * 12, "must hold labels that are integers or text"),
    ):
        whole = completed(["--data", str(labelled(tmp_path / name, labels))])
        assert re.search(f"without labels, as .*({reason})", whole.lines[1])
        training = load_split(whole.arguments.config.data, "train")
        assert training.labels is None
        assert "labels from" not in describe_samples(training, whole.arguments.config.data)


def test_a_path_that_looks_like_a_source_or_an_option_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("idx", "digits", "-photos"):
        pictures(tmp_path / name, 12)
    write_idx(tmp_path / "images.bin.gz", random_pixels(12, channels=1)[..., 0])
    assert isinstance(completed(["--data", "images.bin.gz"]).arguments.config.data, IdxConfig)
    assert isinstance(completed(["--data", "idx"]).arguments.config.data, FolderConfig)
    assert isinstance(completed(["--data", "./digits"]).arguments.config.data, FolderConfig)
    assert isinstance(completed(["--data=-photos"]).arguments.config.data, FolderConfig)
    with pytest.raises(UsageError, match=r"Write --data \./digits for what is here, or --data.source digits"):
        completed(["--data", "digits"])


def test_other_columns_of_parquet_files_are_recognised_unless_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    images = [{"bytes": encode(pixels), "path": None} for pixels in random_pixels(4)]
    pq.write_table(pa.table({"img": images, "fine_label": list("abab")}), path)
    found = ParquetConfig(path=str(path)).load(None)
    assert found.label_names == ("a", "b")
    assert found.origin.how == "rows of x.parquet, columns img and fine_label"
    with pytest.raises(DataError, match="has no column 'picture'"):
        ParquetConfig(path=str(path), image_column="picture").load(None)


def test_pictures_beside_folders_are_learned_without_labels(tmp_path: Path) -> None:
    pictures(tmp_path / "x" / "cat", 12)
    pictures(tmp_path / "x", 1)
    whole = completed(["--data", str(tmp_path / "x")])
    assert "such as 0.png, which have no label" in whole.lines[1]
    assert isinstance(whole.arguments.config.data, FolderConfig)
    assert whole.arguments.config.data.labels == "ignore"


# The time


def test_the_time_is_told_once_after_fifty_steps() -> None:
    new, later = Estimate(0, 200, grows=False), Estimate(100, 200, grows=True)
    assert [step for step in range(1, 201) if new.is_due(step)] == [50]
    assert [step for step in range(101, 201) if later.is_due(step)] == [150]
    assert not Estimate(0, 50, grows=False).is_due(50)
    assert new.sentence(50).startswith("time: about ")
    assert "for 200 steps on this machine, until " in new.sentence(50)
    assert later.sentence(150).startswith("time: at least ")
    assert "for the remaining 100 steps" in later.sentence(150)


def test_durations_are_read_at_a_glance() -> None:
    for seconds, words in ((0.2, "1 second"), (59.6, "60 seconds"), (360, "6 minutes"), (6000, "1.7 hours")):
        assert in_words(seconds) == words
    assert in_words(7200) == "2 hours"
    assert in_words(86400 * 3) == "3 days"
