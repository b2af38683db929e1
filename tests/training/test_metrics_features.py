"""Test feature networks: their inputs, and their entries in a report."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from channel_means import ChannelMeans
from ganserve_training.config import DigitsConfig
from ganserve_training.data import DataInfo, Images, load_split
from ganserve_training.errors import ConfigError, DataError
from ganserve_training.evaluation.features import (
    FeatureInput,
    classifier,
    classifier_features,
    plain_features,
    torchscript_features,
)


def test_prepared_images() -> None:
    pixels = np.zeros((1, 2, 2, 1), np.uint8)
    pixels[0, 0, 1] = 255
    for values, expected in (("0..1", [0.0, 1.0]), ("-1..1", [-1.0, 1.0]), ("0..255", [0.0, 255.0])):
        form = FeatureInput(height=2, width=2, channels=1, values=values)  # type: ignore[arg-type]
        assert form.prepare(pixels)[0, 0, 0].tolist() == expected
        assert form.prepare(pixels).dtype == np.float32
    rgb = FeatureInput(height=2, width=2, channels=3, values="imagenet").prepare(pixels)
    assert rgb[0, :, 0, 1] == pytest.approx([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])
    with pytest.raises(ConfigError, match=r"feature_range imagenet: needs a network of 3 channels"):
        FeatureInput(height=2, width=2, channels=1, values="imagenet")


def test_channels_are_converted_for_the_network() -> None:
    rgba = np.array([200, 100, 50, 7], np.uint8).reshape(1, 1, 1, 4)
    seen = {
        (images.shape[3], channels): FeatureInput(height=1, width=1, channels=channels, values="0..255")
        .prepare(images)
        .ravel()
        .tolist()
        for images in (rgba, rgba[..., :3], rgba[..., :2], rgba[..., :1])
        for channels in (1, 3)
    }
    luma = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    assert seen[4, 3] == seen[3, 3] == [200, 100, 50]
    assert seen[2, 3] == seen[1, 3] == [200, 200, 200]
    assert seen[2, 1] == seen[1, 1] == [200]
    assert seen[4, 1] == seen[3, 1] == pytest.approx([luma], rel=1e-6)
    with pytest.raises(ConfigError, match="3 channels do not fit"):
        FeatureInput(height=1, width=1, channels=5).prepare(rgba[..., :3])


def test_images_are_resized_by_pillows_bicubic_filter_without_rounding() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 3), np.uint8)
    form = FeatureInput(height=5, width=7, channels=3, values="0..255")
    assert form.resizer(DataInfo(sample_shape=(12, 12, 3))) == "Pillow bicubic, antialiased, to 5 x 7 pixels"
    seen = form.prepare(pixels)
    rounded = np.asarray(Image.fromarray(pixels[1]).resize((7, 5), Image.Resampling.BICUBIC), np.float32)
    assert np.abs(seen[1].transpose(1, 2, 0) - rounded).max() < 1.5  # On 8-bit images Pillow rounds after each axis.
    assert np.any(seen != np.round(seen))


def test_torchscript_features(tmp_path: Path) -> None:
    file = tmp_path / "means.pt"
    torch.jit.script(ChannelMeans(3)).save(str(file))
    pixels = np.random.default_rng(0).integers(0, 256, (70, 8, 8, 1), np.uint8)  # More samples than one batch.
    features = torchscript_features(file, DataInfo(sample_shape=(8, 8, 1)), side_px=None, values="0..255")
    expected = pixels.mean(axis=(1, 2)).repeat(3, axis=1)
    assert features.extract(pixels) == pytest.approx(expected, rel=1e-5)
    assert (features.name, features.resizer) == ("means.pt", "none")
    assert features.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    bigger = torchscript_features(file, DataInfo(sample_shape=(8, 8, 1)), side_px=24, values="0..1")
    assert bigger.resizer == "Pillow bicubic, antialiased, to 24 x 24 pixels"
    (tmp_path / "not.pt").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"not\.pt is not a TorchScript network"):
        torchscript_features(tmp_path / "not.pt", DataInfo(sample_shape=(8, 8, 1)), side_px=None, values="0..1")


def test_plain_features_are_the_values() -> None:
    info = DataInfo(sample_shape=(8, 8, 1))
    pixels = np.full((2, 8, 8, 1), 51, np.uint8)
    features = plain_features(info)
    assert (features.name, features.resizer, features.sha256) == ("pixels", "none", None)
    assert features.extract(pixels) == pytest.approx(np.full((2, 64), 0.2))
    assert plain_features(DataInfo(sample_shape=(64, 64, 3))).resizer == "average over 4 x 4 pixels"
    assert plain_features(DataInfo(sample_shape=(2,), mean=(0.0, 0.0), std=(1.0, 1.0))).name == "values"


def test_the_classifier_learns_reproducibly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "_STEPS", 50)  # The accuracy of all steps is in test_metrics_evaluate.py.
    train, held_out = (load_split(DigitsConfig(), split) for split in ("train", "held_out"))
    before = torch.get_rng_state()
    features, accuracy = classifier_features(train, held_out)
    assert torch.equal(torch.get_rng_state(), before)
    assert accuracy > 0.5
    again, _ = classifier_features(train, held_out)
    assert again.sha256 == features.sha256
    pixels = held_out.read(np.arange(300))
    assert features.extract(pixels).shape == (300, 64)
    assert np.array_equal(features.extract(pixels), again.extract(pixels))
    assert isinstance(train, Images)
    with pytest.raises(DataError, match="features classifier: needs labelled images"):
        classifier_features(Images(pixels=train.pixels), held_out)
