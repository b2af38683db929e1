"""Test that grid pictures can be cut into exactly their samples."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ganserve import InvalidRequest, SampleBatch
from ganserve._results.captions import captioned
from ganserve._results.grid_layout import arrange
from ganserve._results.grid_picture import CHUNK, MAX_PIXELS
from ganserve._results.input_source import Source
from ganserve._results.picture_reading import fit_channels, open_picture, read_pixels
from ganserve._results.pictures import grid_png

if TYPE_CHECKING:
    from pathlib import Path


def batch_of(count: int, height: int, width: int, channels: int, labels: list[int] | None = None) -> SampleBatch:
    random = np.random.default_rng(count)
    return SampleBatch(
        samples=random.integers(0, 256, (count, height, width, channels), np.uint8),
        indices=np.arange(3, 3 + count),
        labels=None if labels is None else np.array(labels, np.int64),
        label_names=None if labels is None else tuple(f"n°{label}" for label in labels),
        seed=2**64 - 1,
        model="digits",
        version=2,
    )


@settings(deadline=None, max_examples=60)
@given(
    data=st.data(),
    count=st.integers(1, 40),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    channels=st.integers(1, 4),
    columns=st.none() | st.integers(1, 50),
    scale=st.none() | st.integers(1, 4),
    captions=st.booleans(),
)
def test_a_grid_is_cut_into_exactly_its_samples(
    data: st.DataObject,
    count: int,
    size: tuple[int, int],
    channels: int,
    columns: int | None,
    scale: int | None,
    captions: bool,
) -> None:
    labels = data.draw(st.none() | st.lists(st.integers(0, 4), min_size=count, max_size=count))
    batch = batch_of(count, *size, channels, labels)
    if captions and (labels is None or data.draw(st.booleans())):
        batch = replace(batch, scores=np.linspace(-9, 9, count, dtype=np.float32))
    picture = Image.open(io.BytesIO(grid_png(batch, columns=columns, scale=scale, captions=captions)))
    pixels, grid = read_pixels(picture, Source())
    np.testing.assert_array_equal(pixels, batch.images)
    assert grid is not None
    assert (grid.height, grid.width, grid.channels, grid.count) == (*size, channels, count)
    assert grid.labels == (None if labels is None else tuple(labels))
    assert grid.label_names == batch.label_names
    assert (grid.model, grid.version, grid.seed) == ("digits", 2, 2**64 - 1)
    assert grid.indices == tuple(range(3, 3 + count))


def test_a_chosen_part_keeps_its_indices(tmp_path: Path) -> None:
    batch = batch_of(9, 8, 8, 1)[[5, 1, 7]]
    _, grid = read_pixels(open_picture(batch.save_grid(tmp_path / "x.png"), Source()), Source())
    assert grid is not None
    assert grid.indices == (8, 4, 10)


def test_the_chunk_holds_every_field_as_json(tmp_path: Path) -> None:
    path = batch_of(3, 8, 6, 1, [1, 0, 0]).save_grid(tmp_path / "x.png")
    with Image.open(path) as picture:
        described = json.loads(picture.text[CHUNK])  # type: ignore[attr-defined]
    assert described == {
        "format": 1,
        "height": 8,
        "width": 6,
        "channels": 1,
        "count": 3,
        "columns": 2,
        "rows": 2,
        "scale": 5,
        "gap": 2,
        "cells": [0, 2, 3],
        "labels": [1, 0, 0],
        "label_names": {"0": "n°0", "1": "n°1"},
        "model": "digits",
        "version": 2,
        "seed": 2**64 - 1,
        "indices": None,
        "offset": 3,
    }


@pytest.mark.parametrize(
    ("labels", "columns", "expected"),
    [
        (None, None, (3, 4)),  # 10 samples, near square
        (None, 5, (2, 5)),
        (None, 100, (1, 10)),
        ([4] * 10, None, (3, 4)),  # one label: near square, too
        ([1] * 5 + [0] * 5, None, (2, 5)),  # one row a label
        ([0] * 5 + [1] * 5, 2, (6, 2)),  # each label starts a new row
        ([0, 1] * 5, None, (3, 4)),  # labels are mixed: near square, in order
        ([0] * 8 + [1] * 2, None, (2, 8)),
    ],
)
def test_layouts(labels: list[int] | None, columns: int | None, expected: tuple[int, int]) -> None:
    grid = arrange(batch_of(10, 8, 8, 1, labels), columns=columns, scale=None)
    assert (grid.rows, grid.columns) == expected


@pytest.mark.parametrize("labels", [[1] * 3 + [0] * 2, [0, 1, 0, 2, 1]])
def test_samples_keep_their_order(labels: list[int]) -> None:
    grid = arrange(batch_of(5, 8, 8, 1, labels), columns=2, scale=None)
    cells = range(5) if grid.cells is None else grid.cells
    assert list(cells) == sorted(cells)


@pytest.mark.parametrize(("count", "expected"), [(10, (1, 10)), (40, (2, 32))])
def test_a_walk_is_a_row(count: int, expected: tuple[int, int]) -> None:
    half = count // 2
    walk = replace(batch_of(count, 8, 8, 1, [0] * half + [1] * half), seed=None)
    grid = arrange(walk, columns=None, scale=None)
    assert (grid.rows, grid.columns) == expected
    assert grid.cells is None


def test_many_samples_of_a_label_take_several_rows() -> None:
    grid = arrange(batch_of(100, 8, 8, 1, [0] * 70 + [1] * 30), columns=None, scale=None)
    assert (grid.rows, grid.columns) == (4, 32)


def test_captions_are_names_at_rows_of_labels_else_below_each_sample() -> None:
    rows, texts = captioned(
        arrange(grouped := batch_of(6, 8, 8, 1, [2, 2, 0, 0, 1, 1]), columns=None, scale=None), grouped
    )
    assert (texts.rows, set(texts.cells), rows.below) == ({0: "n°2", 1: "n°0", 2: "n°1"}, {()}, 0)
    mixed = replace(batch_of(3, 8, 8, 1, [1, 0, 1]), scores=np.array([0.5, -1.25, 30], np.float32))
    cells, texts = captioned(arrange(mixed, columns=None, scale=None), mixed)
    assert texts.cells == (("n°1", "+0.50"), ("n°0", "-1.25"), ("n°1", "+30.00"))
    assert (texts.rows, cells.left) == ({}, 0)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_captions_are_legible_whatever_the_channels(channels: int) -> None:
    dark = replace(batch_of(4, 8, 8, channels, [0, 0, 1, 1]), samples=np.zeros((4, 8, 8, channels), np.uint8))
    grid, _ = captioned(arrange(dark, columns=None, scale=None), dark)
    picture = np.asarray(Image.open(io.BytesIO(grid_png(dark, captions=True)))).reshape(*grid.pixel_size, channels)
    margin = picture[:, : grid.left]
    assert (margin[..., 0] > 200).sum() > 20
    assert (margin[..., 0] == 96).sum() > 20
    if channels in (2, 4):
        assert (margin[..., -1] == 255).all()
        assert (picture[grid.corners()[0][0], grid.corners()[0][1]] == 0).all()


def test_captions_of_samples_with_nothing_to_tell_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"captions: have nothing to show.*return_scores=True"):
        batch_of(2, 8, 8, 1).grid_png(captions=True)


def test_a_grid_without_captions_is_written_for_earlier_readers() -> None:
    described = json.loads(arrange(batch_of(2, 8, 8, 1), columns=None, scale=None).to_json())
    assert described["format"] == 1
    assert "left" not in described


@pytest.mark.parametrize(("side", "scale"), [(1, 28), (8, 4), (16, 2), (27, 2), (28, 1), (64, 1), (512, 1)])
def test_small_samples_are_enlarged(side: int, scale: int) -> None:
    assert arrange(batch_of(1, side, side, 1), columns=None, scale=None).scale == scale


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"columns": 0}, "columns: is 0; expected at least 1"),
        ({"columns": 1.5}, "columns: is 1.5; expected an int"),
        ({"scale": 0}, "scale: is 0; expected at least 1"),
        ({"scale": 10_000}, "samples: are 4, too many for one picture"),
    ],
)
def test_bad_arguments(tmp_path: Path, arguments: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        batch_of(4, 8, 8, 1).save_grid(tmp_path / "x.png", **arguments)
    assert not list(tmp_path.iterdir())


def test_other_refusals(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"path: is .*; expected a name that ends in \.png"):
        batch_of(4, 8, 8, 1).save_grid(tmp_path / "x.jpg")
    with pytest.raises(InvalidRequest, match="batch: is empty"):
        batch_of(4, 8, 8, 1)[:0].save_grid(tmp_path / "x.png")
    with pytest.raises(InvalidRequest, match="have 5 channels; expected 1 to 4"):
        batch_of(4, 8, 8, 5).save_grid(tmp_path / "x.png")
    with pytest.raises(FileNotFoundError):
        batch_of(4, 8, 8, 1).save_grid(tmp_path / "no" / "x.png")


def test_each_saved_file_describes_its_sample(tmp_path: Path) -> None:
    batch = batch_of(3, 8, 6, 3, [1, 0, 1])
    paths = batch.save(tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["000003-n_1.png", "000004-n_0.png", "000005-n_1.png"]
    for i, path in enumerate(paths):
        with Image.open(path) as picture:
            assert picture.size == (6, 8)
            np.testing.assert_array_equal(np.asarray(picture), batch.images[i])
        pixels, grid = read_pixels(open_picture(path, Source()), Source())
        np.testing.assert_array_equal(pixels, batch.images[i : i + 1])
        assert grid is not None
        assert grid.label_names == (f"n°{1 - i % 2}",)
        assert grid.indices == (3 + i,)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_to_pil(channels: int) -> None:
    batch = batch_of(2, 8, 6, channels)
    pictures = batch.to_pil()
    assert [picture.mode for picture in pictures] == [{1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]] * 2
    np.testing.assert_array_equal(np.asarray(pictures[1]).reshape(8, 6, channels), batch.images[1])
    np.testing.assert_array_equal(np.asarray(batch[1].to_pil()), np.asarray(pictures[1]))


def test_a_notebook_shows_the_grid() -> None:
    batch = batch_of(300, 4, 4, 1)
    shown = batch._repr_png_()
    assert shown is not None
    pixels, _ = read_pixels(Image.open(io.BytesIO(shown)), Source())
    np.testing.assert_array_equal(pixels, batch.images[:200])
    assert batch[:0]._repr_png_() is None


@pytest.mark.parametrize(("size", "scale"), [(4, 7), (40, 1)])
def test_a_notebook_shows_one_sample_large_enough_to_see(size: int, scale: int) -> None:
    batch = batch_of(2, size, size, 3)
    shown = batch[1]._repr_png_()
    assert shown is not None
    pixels = np.asarray(Image.open(io.BytesIO(shown)))
    assert pixels.shape == (size * scale, size * scale, 3)
    np.testing.assert_array_equal(pixels[::scale, ::scale], batch.images[1])


def points(values: list[tuple[float, ...]], labels: list[int] | None = None) -> SampleBatch:
    return SampleBatch(
        samples=np.array(values, np.float32),
        indices=np.arange(len(values)),
        labels=None if labels is None else np.array(labels),
        label_names=None,
        seed=1,
        model="ring",
        version=1,
    )


def test_a_notebook_shows_vectors_of_two_values_as_points() -> None:
    shown = points([(0, 0), (2, 1), (np.nan, 5)], [0, 1, 2])._repr_png_()
    assert shown is not None
    pixels = np.asarray(Image.open(io.BytesIO(shown)))
    # x has twice the range of y, so the points are at the lower left and the upper right of the middle.
    blue, orange = ((pixels == colour).all(axis=-1).nonzero() for colour in ((0, 114, 178), (230, 159, 0)))
    assert len(blue[0]) == len(orange[0]) == 9
    assert orange[1].mean() - blue[1].mean() == pytest.approx(2 * (blue[0].mean() - orange[0].mean()), abs=1)
    assert not ((pixels == (0, 158, 115)).all(axis=-1)).any()
    assert points([(1, 1)])._repr_png_() is not None
    for batch in (points([(1, 2, 3)]), points([(np.inf, 1)]), points([(1, 2)])[:0]):
        assert batch._repr_png_() is None


def test_a_grid_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = batch_of(4, 8, 8, 1).save_grid(tmp_path / "x.png")
    with Image.open(path) as picture:
        info = PngInfo()
        info.add_itxt(CHUNK, picture.text[CHUNK])  # type: ignore[attr-defined]
        picture.resize((50, 40)).save(tmp_path / "small.png", pnginfo=info)
    with pytest.raises(InvalidRequest, match=r"was changed since ganserve wrote it: it is 50x40 with 1 .* was 66x66"):
        read_pixels(open_picture(tmp_path / "small.png", Source()), Source())


def test_a_grid_converted_to_a_palette_can_still_be_cut(tmp_path: Path) -> None:
    batch = batch_of(4, 8, 8, 1)
    path = batch.save_grid(tmp_path / "x.png")
    with Image.open(path) as picture:
        info = PngInfo()
        info.add_text(CHUNK, picture.text[CHUNK])  # type: ignore[attr-defined]
        picture.convert("P").save(tmp_path / "palette.png", pnginfo=info)
    pixels, _ = read_pixels(open_picture(tmp_path / "palette.png", Source()), Source())
    np.testing.assert_array_equal(pixels, batch.images)


@pytest.mark.parametrize(
    "changes",
    [
        {"height": 0},
        {"height": "8"},
        {"height": 10**9},
        {"gap": -1},
        {"count": 5},
        {"cells": [0, 1, 2, 99]},
        {"cells": [0, 1, 2, -1]},
        {"labels": [1]},
        {"label_names": {"7": "x"}},
        {"surprise": 1},
        {"offset": None},
        {"format": None},
    ],
)
def test_a_damaged_chunk_is_refused(changes: dict[str, Any]) -> None:
    batch = batch_of(4, 8, 8, 1, [0, 0, 1, 1])
    described = json.loads(arrange(batch, columns=None, scale=None).to_json()) | changes
    info = PngInfo()
    info.add_text(CHUNK, json.dumps(described))
    file = io.BytesIO()
    Image.new("L", (10, 10)).save(file, "PNG", pnginfo=info)
    with pytest.raises(InvalidRequest, match=r"^images: (has a ganserve.grid chunk|was written by a later ganserve)"):
        read_pixels(Image.open(file), Source())


def test_pictures_have_a_largest_size() -> None:
    tiny = batch_of(300_000, 1, 1, 1)
    with pytest.raises(InvalidRequest, match="samples: are 100001, too many"):
        arrange(tiny[::2][[*range(100_000), 5]], columns=None, scale=None)  # 28 pixels wide each
    with pytest.raises(InvalidRequest, match="samples: are 200001, too many"):
        arrange(tiny[[*range(200_000), 5]], columns=None, scale=1)  # Pillow does not read such a long text of indices
    assert arrange(tiny, columns=None, scale=1).count == 300_000
    assert MAX_PIXELS < Image.MAX_IMAGE_PIXELS  # type: ignore[operator]  # Pillow would warn


GRAY = np.array([[[10], [200]]], np.uint8)
COLOURS = np.array([[[10, 20, 30], [1, 1, 1]]], np.uint8)
OPAQUE = np.full((1, 2, 1), 255, np.uint8)


@pytest.mark.parametrize(
    ("pixels", "channels", "expected"),
    [
        (GRAY, 1, GRAY),
        (GRAY, 3, GRAY.repeat(3, -1)),
        (GRAY.repeat(3, -1), 1, GRAY),
        (GRAY, 2, np.concatenate([GRAY, OPAQUE], -1)),
        (COLOURS, 4, np.concatenate([COLOURS, OPAQUE], -1)),
        (np.concatenate([COLOURS, OPAQUE], -1), 3, COLOURS),
        (np.concatenate([GRAY, OPAQUE], -1), 3, GRAY.repeat(3, -1)),
        (np.concatenate([GRAY, OPAQUE - 1], -1), 4, np.concatenate([GRAY.repeat(3, -1), OPAQUE - 1], -1)),
        (COLOURS, 1, "has colours, and the model takes gray"),
        (np.concatenate([COLOURS, OPAQUE - 1], -1), 3, "is transparent in places"),
        (np.concatenate([GRAY, OPAQUE - 1], -1), 1, "is transparent in places"),
    ],
)
def test_channels_are_converted_if_nothing_is_lost(pixels: Any, channels: int, expected: Any) -> None:
    if isinstance(expected, str):
        with pytest.raises(InvalidRequest, match=expected):
            fit_channels(pixels, channels, Source())
    else:
        np.testing.assert_array_equal(fit_channels(pixels, channels, Source()), expected)


@pytest.mark.parametrize(
    ("mode", "expected"), [("1", 1), ("L", 1), ("LA", 2), ("RGB", 3), ("RGBA", 4), ("P", 3), ("PA", 4)]
)
def test_modes_of_pictures(mode: str, expected: int) -> None:
    pixels, grid = read_pixels(Image.new("L", (5, 4), 255).convert(mode), Source())
    assert pixels.shape == (1, 4, 5, expected)
    assert (pixels == 255).all()
    assert grid is None


def test_a_transparent_colour_is_alpha() -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([1, 2, 3, 4, 5, 6])
    picture.putpixel((1, 0), 1)
    file = io.BytesIO()
    picture.save(file, "PNG", transparency=1)
    pixels, _ = read_pixels(Image.open(file), Source())
    assert pixels.tolist() == [[[[1, 2, 3, 255], [4, 5, 6, 0]]]]
