"""Test the output of a run: log, pictures, progress."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from ganserve_training.errors import DataError
from ganserve_training.pictures.grids import sample_grid, save_sample_grid
from ganserve_training.pictures.scatter import ScatterView
from ganserve_training.run.logs import LogWriter, read_log
from ganserve_training.run.training_progress import BarProgress, PlainProgress, open_progress

RECORD = {
    "step": 50,
    "critic_loss": 0.6931,
    "generator_loss": 0.7,
    "critic_accuracy": 0.625,
    "samples_per_second": 4321.0,
}


def test_a_log_continues_from_the_resumed_step_without_later_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = LogWriter(path, 0)
    for step in (3, 6, 9):
        log.write({"step": step, "critic_loss": step / 2})
    log.close()
    with path.open("a") as file:
        file.write('{"step": 12, "critic_lo')  # Cut off by a crash.
    assert [record["step"] for record in read_log(path)] == [3, 6, 9]
    log = LogWriter(path, resumed_step=6)
    log.write({"step": 9, "critic_loss": 99.0})
    log.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 3, "critic_loss": 1.5},
        {"step": 6, "critic_loss": 3.0},
        {"step": 9, "critic_loss": 99.0},
    ]


def test_a_line_that_is_not_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(DataError, match=r"log.jsonl, line 2: is not JSON"):
        read_log(path)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_a_grid_holds_every_sample_row_by_row(tmp_path: Path, channels: int, mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, channels), np.uint8)
    path = tmp_path / "samples" / "grid.png"
    save_sample_grid(path, pixels, columns=3, generated=channels > 1)
    assert [file.name for file in path.parent.iterdir()] == ["grid.png"]
    with Image.open(path) as image:
        assert (b"trainedAlgorithmicMedia" in image.info.get("xmp", b"")) == (channels > 1)
        assert (image.mode, image.size) == (mode, (3 * 50 + 2, 2 * 50 + 2))  # Tiles of 48 pixels, gaps of 2.
        shown = np.asarray(image).reshape(102, 152, channels)
    for index in range(6):
        top, left = index // 3 * 50 + 2, index % 3 * 50 + 2
        np.testing.assert_array_equal(shown[top : top + 48 : 6, left : left + 48 : 6], pixels[index])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_names_of_rows_stand_left_of_the_samples_and_leave_them_alone(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, channels), np.uint8)
    plain = np.asarray(sample_grid(pixels, 3)).reshape(102, 152, channels)
    named = np.asarray(sample_grid(pixels, 3, ("cat", "größer")))
    margin = named.shape[1] - 152
    named = named.reshape(102, -1, channels)
    np.testing.assert_array_equal(named[:, margin:], plain)
    for row in range(2):
        assert named[row * 50 : row * 50 + 50, :margin, 0].max() == 255
    assert channels not in (2, 4) or named[:, :margin, -1].min() == 255
    assert sample_grid(pixels, 3, ("a" * 200, "b")).size[0] <= 152 + 160


def test_large_images_are_not_enlarged_and_a_last_row_may_be_short() -> None:
    assert sample_grid(np.zeros((5, 64, 64, 1), np.uint8), columns=2).size == (2 * 66 + 2, 3 * 66 + 2)


def test_points_are_drawn_at_their_place_over_the_real_ones() -> None:
    real = np.array([[0.0, 0.0], [10.0, 10.0]], np.float32)
    view = ScatterView(real)
    picture = np.asarray(view.draw(np.array([[10.0, 0.0], [0.0, 10.0], [1e6, 0.0], [np.nan, 0.0]], np.float32)))
    side = picture.shape[0]
    assert picture.shape == (side, side, 3)
    low, high = (
        round((0.5 + shift / 13.0) * side) for shift in (-5.0, 5.0)
    )  # 10, plus a margin of 15 % on both sides.
    for (x, y), expected in {
        (low, high): "real",
        (high, low): "real",
        (high, high): "generated",  # Rows are counted from above.
        (low, low): "generated",
        (side // 2, side // 2): "nothing",
    }.items():
        red, _, blue = (int(value) for value in picture[y, x])
        assert ("generated" if blue > red + 50 else "real" if red < 230 else "nothing") == expected
    np.testing.assert_array_equal(np.asarray(view.draw(real[:0])), np.asarray(ScatterView(real).draw(real[:0])))


@pytest.mark.parametrize("dim", [1, 5])
def test_vectors_of_any_length_are_drawn(dim: int) -> None:
    rng = np.random.default_rng(0)
    real = rng.normal(size=(200, dim)).astype(np.float32) * np.linspace(5.0, 1.0, dim, dtype=np.float32)
    picture = np.asarray(ScatterView(real).draw(real[:50] * 0.5))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 3


def test_without_a_terminal_progress_is_plain_lines() -> None:
    out = io.StringIO()
    view = open_progress(Console(file=out), 0, 1000)
    assert isinstance(view, PlainProgress)
    view.show(50, RECORD)
    view.show(100, RECORD)  # Too early for another line.
    view.show(1000, RECORD)  # The last line is always shown.
    view.close()
    line = "critic loss 0.693  generator loss 0.700  critic accuracy 62%  4,321 samples/s"
    assert out.getvalue() == f"step 50/1000  {line}\nstep 1000/1000  {line}\n"


def test_on_a_terminal_progress_is_a_bar() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, color_system=None)
    view = open_progress(console, 0, 1000)
    assert isinstance(view, BarProgress)
    view.show(50, RECORD)
    view.say("a [message] that stays")
    view.close()
    shown = out.getvalue()
    for part in ("50/1000", "loss D 0.693 G 0.700", "D right 62%", "4,321/s", "a [message] that stays"):
        assert part in shown
