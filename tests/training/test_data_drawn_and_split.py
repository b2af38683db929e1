"""Test the sources that draw samples, and the split of every source."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganserve_training.config import (
    ArrayConfig,
    DigitsConfig,
    MnistConfig,
    PatchesConfig,
    StackedDigitsConfig,
    StackedMnistConfig,
)
from ganserve_training.data import (
    GRID_SIGMA,
    RING_SIGMA,
    Images,
    Samples,
    grid_centres,
    load_split,
    ring_centres,
)
from ganserve_training.data.config import SOURCES
from ganserve_training.errors import DataError
from image_files import random_pixels


def everything(samples: Samples) -> np.ndarray:
    return samples.read(np.arange(len(samples)))


def test_the_ring_has_eight_modes_and_the_grid_twenty_five() -> None:
    ring, grid = ring_centres(), grid_centres()
    np.testing.assert_allclose(np.hypot(*ring.T), 1.0)
    neighbours = np.linalg.norm(ring - np.roll(ring, 1, axis=0), axis=1)
    np.testing.assert_allclose(neighbours, 2 * np.sin(np.pi / 8))  # Evenly spaced, all different.
    assert {tuple(row) for row in grid.tolist()} == {(x, y) for x in range(-4, 5, 2) for y in range(-4, 5, 2)}


@pytest.mark.parametrize(
    ("source", "centres", "sigma"), [("ring", ring_centres(), RING_SIGMA), ("grid", grid_centres(), GRID_SIGMA)]
)
def test_points_are_drawn_equally_often_around_each_mode(source: Any, centres: np.ndarray, sigma: float) -> None:
    config = SOURCES[source]()
    train, held_out = load_split(config, "train"), load_split(config, "held_out")
    assert (len(train), len(held_out)) == (64_000, 16_000)
    assert train.labels is None
    assert train.info == held_out.info
    points = np.concatenate([everything(train), everything(held_out)])
    distances = np.linalg.norm(points[:, None] - centres, axis=2)
    assert np.bincount(distances.argmin(axis=1)).tolist() == [80_000 // len(centres)] * len(centres)
    offsets = points - centres[distances.argmin(axis=1)]
    assert offsets.std() == pytest.approx(sigma, rel=0.02)
    # Of real data, 1 - exp(-9/2) = 98.9 % lie within three sigma.
    assert (distances.min(axis=1) < 3 * sigma).mean() == pytest.approx(1 - np.exp(-4.5), abs=0.002)
    np.testing.assert_array_equal(everything(load_split(config, "train")), everything(train))
    assert load_split(SOURCES[source](split_seed=1), "train").sha256() != train.sha256()
    assert len(load_split(SOURCES[source](count=100), "held_out")) == 20


@pytest.mark.parametrize(
    ("stacks", "digits", "side"),
    [
        (StackedDigitsConfig(count=500), DigitsConfig(), 8),
        (StackedMnistConfig(count=500), MnistConfig(size=28), 28),
        (StackedMnistConfig(count=500, size=32, split_seed=1), MnistConfig(size=32, split_seed=1), 32),
    ],
    ids=["digits", "mnist-28", "mnist-32"],
)
def test_stacks_use_only_digits_of_their_side_of_the_split(stacks: Any, digits: Any, side: int) -> None:
    for split in ("train", "held_out"):
        own = {item.tobytes() for item in everything(load_split(digits, split))}
        found = load_split(stacks, split)
        assert (len(found), found.info.sample_shape, found.labels) == (
            400 if split == "train" else 100,
            (side, side, 3),
            None,
        )
        pixels = everything(found)
        assert {item.tobytes() for item in pixels.transpose(0, 3, 1, 2).reshape(-1, side, side)} <= own
        assert found.sha256() == Images(pixels=pixels).sha256()
        chosen = np.array([7, 3, 7])
        np.testing.assert_array_equal(found.read(chosen), pixels[chosen])
        np.testing.assert_array_equal(everything(found.take(chosen)), pixels[chosen])


def test_stacks_stay_the_same_and_take_little_memory_until_they_are_read() -> None:
    assert load_split(StackedDigitsConfig(count=500), "train").sha256().startswith("3278f2382fe69d28de535eff")
    many = load_split(StackedMnistConfig(count=1_000_000), "train")
    assert (len(many), many.in_memory) == (800_000, False)
    assert many.read(np.array([799_999])).shape == (1, 28, 28, 3)
    assert len(load_split(StackedDigitsConfig(), "train")) == 40_000
    assert len(load_split(StackedMnistConfig(), "train")) == 102_400
    assert load_split(StackedMnistConfig(), "train").in_memory


@pytest.mark.parametrize(("size", "split_seed"), [(16, 0), (32, 1), (64, 2), (128, 3)])
def test_training_patches_contain_no_held_out_pixel(size: int, split_seed: int) -> None:
    config = PatchesConfig(size=size, count=400, split_seed=split_seed)
    train, held_out = config.load_side("train", None), config.load_side("held_out", None)
    assert (len(train), len(held_out)) == (320, 80)
    assert train.info.sample_shape == (size, size, 3)
    assert train.info.label_names == ("china", "flower")
    covered = []
    for patches in (train, held_out):
        mask = np.zeros((2, *train.pictures.shape[1:3]), bool)
        for picture, top, left in patches.corners.tolist():
            assert top + size <= 427
            assert left + size <= 640
            mask[picture, top : top + size, left : left + size] = True
        covered.append(mask)
    assert not (covered[0] & covered[1]).any()
    picture, top, left = train.corners[7].tolist()
    assert picture == train.labels[7]  # type: ignore[index]
    np.testing.assert_array_equal(
        train.read(np.array([7]))[0], train.pictures[picture, top : top + size, left : left + size]
    )
    np.testing.assert_array_equal(config.load_side("train", None).corners, train.corners)


def test_either_side_of_the_photographs_can_be_held_out() -> None:
    lefts = {
        int(PatchesConfig(split_seed=seed).load_side("held_out", None).corners[:, 2].min() > 320) for seed in range(8)
    }
    assert lefts == {0, 1}
    with pytest.raises(DataError, match="held_out part of the photographs is 64 of their 640 pixels wide"):
        PatchesConfig(size=128, held_out_fraction=0.1).load_side("train", None)
    gray = load_split(PatchesConfig(channels="gray", labels="ignore", count=10), "train")
    assert gray.info.sample_shape == (32, 32, 1)
    assert gray.labels is None
    assert gray.in_memory
    assert everything(gray.take(np.array([3, 1]))).shape == (2, 32, 32, 1)


# The split


def test_a_labels_only_sample_is_for_training() -> None:
    labels = np.array([0] * 10 + [1] + [2] * 10, np.int64)
    train, held_out = DigitsConfig().split_indices(21, labels)
    assert sorted([*train, *held_out]) == list(range(21))
    assert 10 in train
    assert np.bincount(labels[held_out]).tolist() == [2, 0, 2]


def test_splits_that_cannot_be_stratified_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"4 samples of 2 labels, split into 3 and 1, can't have each label"):
        DigitsConfig().split_indices(4, np.array([0, 0, 1, 1], np.int64))
    with pytest.raises(DataError, match="at least 2 samples"):
        DigitsConfig().split_indices(1, None)
    with pytest.raises(DataError, match="leaves none to train on"):
        DigitsConfig(held_out_fraction=0.9).split_indices(2, None)
    np.savez(tmp_path / "x.npz", x=np.zeros((4, 2)), y=np.array([0, 0, 1, 1]))
    with pytest.raises(DataError, match=r"--data\.labels ignore"):
        load_split(ArrayConfig(path=str(tmp_path / "x.npz")), "train")
    assert len(load_split(ArrayConfig(path=str(tmp_path / "x.npz"), labels="ignore"), "train")) == 3


def test_ignoring_labels_does_not_change_the_split() -> None:
    for side in ("train", "held_out"):
        with_labels, without = load_split(DigitsConfig(), side), load_split(DigitsConfig(labels="ignore"), side)
        assert without.info.label_names == ()
        np.testing.assert_array_equal(everything(without), everything(with_labels))


def test_balancing_unlabelled_data_is_an_error(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", random_pixels(4))
    with pytest.raises(DataError, match=r"--data\.class-balanced: needs labels"):
        load_split(ArrayConfig(path=str(tmp_path / "x.npy"), class_balanced=True), "train")
