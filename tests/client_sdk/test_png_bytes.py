"""Test pictures without files: `png`, `grid_png` and `save_grid` to open files."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from ganserve import InvalidRequest, SampleBatch, UnsupportedByModel

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Api


def test_one_sample_is_the_file_that_save_writes(api: Api, tmp_path: Path) -> None:
    batch = api.sample(3, ["zero", "two", "one"], model="tiny", seed=5)
    files = [path.read_bytes() for path in batch.save(tmp_path)]
    assert [batch.png(i) for i in range(3)] == files
    assert batch.png(-1) == batch.png(np.int64(2)) == files[2]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(batch.png(1)))), batch.images[1, ..., 0])
    assert Image.open(io.BytesIO(batch.png(0, scale=3))).size == (24, 24)
    scores = api.score([batch.png(i, scale=2) for i in range(3)])
    assert (scores.labels, scores.model) == (("zero", "two", "one"), "tiny")
    np.testing.assert_array_equal(scores.scores, api.score(batch).scores)


def test_a_grid_as_bytes_and_in_open_files(api: Api, tmp_path: Path) -> None:
    batch = api.sample(6, "one", model="tiny", seed=5)
    path = batch.save_grid(tmp_path / "grid.png", columns=2, scale=3)
    assert batch.grid_png(columns=2, scale=3) == path.read_bytes()
    memory = io.BytesIO()
    assert batch.save_grid(memory, columns=2, scale=3) is None
    assert memory.getvalue() == path.read_bytes()
    with (tmp_path / "other.png").open("wb") as file:
        batch.save_grid(file)
    assert (tmp_path / "other.png").read_bytes() == batch.grid_png()


@pytest.mark.parametrize("path", [io.StringIO(), 7, None, b"x.png"])
def test_what_is_no_file_is_refused(api: Api, path: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"path: is .*; expected a name that ends in .png, or a file"):
        api.sample(1, "one", model="tiny").save_grid(path)


def test_samples_that_do_not_exist_and_vectors_are_refused(api: Api) -> None:
    batch = api.sample(2, "one", model="tiny")
    for i in (2, -3):
        for take in (batch.png, batch.__getitem__):
            with pytest.raises(IndexError, match=f"there is no sample {i}: the batch has 2, counted from 0"):
                take(i)
    with pytest.raises(TypeError, match=r"a sample's place is an int, from 0 to 1 \(got a str\)"):
        batch.png("1")  # type: ignore[arg-type]  # what is tested
    with pytest.raises(InvalidRequest, match="scale"):
        batch.png(0, scale=0)
    vectors: SampleBatch = api.sample(2, model="tiny-vector")
    for make in (lambda: vectors.png(0), vectors.grid_png, lambda: vectors.save_grid(io.BytesIO())):
        with pytest.raises(UnsupportedByModel, match="makes float32"):
            make()
