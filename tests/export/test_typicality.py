"""Typicality: its false alarms, what it finds, and its graph. The measurement on MNIST is in benchmarks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import pytest

from ganserve_export.typicality.features import PictureFeatures
from ganserve_export.typicality.graph import typicality_graph
from ganserve_export.typicality.typicality import THRESHOLD, Typicality, fit_typicality
from ganserve_training.config import DigitsConfig, RingConfig
from ganserve_training.data import load_split
from ganserve_training.data.samples_in_memory import Images, Vectors

if TYPE_CHECKING:
    from ganserve_export import Exported

RANDOM = np.random.default_rng(0)
PARTS = ("mean", "components", "whitening", "centres")


def run_graph(typicality: Typicality, samples: np.ndarray) -> np.ndarray:
    model = typicality_graph(typicality, samples.shape[1:]).SerializeToString()
    return ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"samples": samples})[0]


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    """All 1,797 digits, shuffled: uint8 [N, 8, 8, 1]."""
    both = [load_split(DigitsConfig(), side).pixels for side in ("train", "held_out")]
    return np.random.default_rng(1).permutation(np.concatenate(both))


@pytest.fixture(scope="module")
def fitted(digits: np.ndarray) -> Typicality:
    typicality = fit_typicality(Images(pixels=digits[:1000]), Images(pixels=digits[1000:1400]), flip=False)
    assert typicality is not None
    return typicality


def test_at_most_five_in_a_hundred_new_digits_are_false_alarms(fitted: Typicality, digits: np.ndarray) -> None:
    typicality = run_graph(fitted, digits[1400:])
    assert (typicality.dtype, typicality.shape) == (np.float32, (397,))
    assert ((typicality > 0) & (typicality <= 1)).all()
    # 5 %, with two standard errors of 400 and 397 digits.
    assert (typicality <= THRESHOLD).mean() < 0.05 + 0.031
    assert typicality.mean() == pytest.approx(0.5, abs=0.06)  # uniform on new digits


UNLIKE = {
    "noise": RANDOM.integers(0, 256, (100, 8, 8, 1)),
    "weak noise": np.abs(RANDOM.normal(0, 20, (100, 8, 8, 1))),
    "black": np.zeros((1, 8, 8, 1)),
    "white": np.full((1, 8, 8, 1), 255),
    "gray": np.broadcast_to(np.arange(10, 250)[:, None, None, None], (240, 8, 8, 1)),
}


@pytest.mark.parametrize("kind", UNLIKE)
def test_pictures_unlike_digits_are_found(fitted: Typicality, kind: str) -> None:
    found = run_graph(fitted, UNLIKE[kind].astype(np.uint8)) <= np.float32(THRESHOLD)
    assert found.mean() >= 0.95


def test_inverted_digits_are_found(fitted: Typicality, digits: np.ndarray) -> None:
    assert (run_graph(fitted, 255 - digits[1400:]) <= np.float32(THRESHOLD)).mean() >= 0.95


def test_more_noise_is_never_more_typical(fitted: Typicality, digits: np.ndarray) -> None:
    noise = np.random.default_rng(2).normal(0, 1, (100, 8, 8, 1))
    means = [
        run_graph(fitted, (digits[1400:1500] + strength * noise).clip(0, 255).astype(np.uint8)).mean()
        for strength in (0, 10, 20, 40, 80)
    ]
    assert means == sorted(means, reverse=True)
    assert means[-1] < 0.02


def test_the_graph_computes_what_was_fitted(fitted: Typicality, digits: np.ndarray) -> None:
    expected = fitted(digits[1400:])
    np.testing.assert_allclose(run_graph(fitted, digits[1400:]), expected, atol=2.5 / 401)
    np.testing.assert_allclose(run_graph(fitted, digits[1400:1401]), expected[:1], atol=2.5 / 401)


def test_typicality_is_a_rank_among_held_out_samples(fitted: Typicality, digits: np.ndarray) -> None:
    # Each held-out digit is farther out than all those that come before it; rounding may swap neighbours.
    ranks = np.sort(fitted(digits[1000:1400]))
    np.testing.assert_allclose(ranks, np.arange(1, 401) / 401, atol=2.5 / 401)


@pytest.mark.parametrize("shape", [(1, 3, 1), (5, 70, 4), (64, 48, 3)])
def test_images_of_any_size(shape: tuple[int, ...]) -> None:
    smooth = np.cumsum(np.random.default_rng(3).normal(0, 12, (90, *shape)), axis=1) + 120
    pictures = smooth.clip(0, 255).astype(np.uint8)
    typicality = fit_typicality(Images(pixels=pictures[:60]), Images(pixels=pictures[60:]), flip=True)
    assert typicality is not None
    np.testing.assert_allclose(run_graph(typicality, pictures), typicality(pictures), atol=2.5 / 31)


def test_large_images_are_averaged_down() -> None:
    large = np.random.default_rng(4).integers(0, 256, (6, 64, 64, 1), np.uint8)
    features = PictureFeatures.of(large)
    means = large.reshape(6, 32, 2, 32, 2, 1).mean(axis=(2, 4))
    np.testing.assert_allclose(
        (features.rows @ (large[..., 0] / 255.0) @ features.columns)[:, 3:-3, 3:-3] * 255, means[..., 0], rtol=1e-5
    )


def test_vectors_far_from_all_modes_are_found() -> None:
    random = np.random.default_rng(5)
    angles = 2 * np.pi * random.integers(0, 8, 1500) / 8
    ring = (np.stack([np.cos(angles), np.sin(angles)], 1) + random.normal(0, 0.02, (1500, 2))).astype(np.float32)
    typicality = fit_typicality(Vectors.standardised(ring[:1000]), Vectors.standardised(ring[1000:1300]), flip=False)
    assert typicality is not None
    assert (run_graph(typicality, ring[1300:]) <= THRESHOLD).mean() < 0.1
    between = np.array([[0, 0], [0.92, 0.38], [0, 1.5], [1e30, 0], [np.inf, 0], [np.nan, 0]], np.float32)
    np.testing.assert_allclose(run_graph(typicality, between), 1 / 301, rtol=1e-5)


def test_clusters_far_smaller_than_their_distances_are_measured_as_in_double_precision() -> None:
    """The ring's deviation is a hundredth of its radius."""
    ring, held_out = (load_split(RingConfig(count=6000), side) for side in ("train", "held_out"))
    vectors = ring.read(np.arange(2000))
    fitted = fit_typicality(ring, held_out, flip=False)
    assert fitted is not None
    parts = {name: getattr(fitted.linear, name).astype(np.float64) for name in PARTS}
    features = fitted.features(vectors)
    exact = replace(fitted.linear, **parts)(features.astype(np.float64))
    assert fitted.linear(features) == pytest.approx(exact, abs=2e-3)
    assert run_graph(fitted, vectors) == pytest.approx(fitted(vectors), abs=1.5 / len(fitted.held_out))


def test_equal_samples_are_all_typical() -> None:
    same = np.full((60, 8, 8, 3), 7, np.uint8)
    typicality = fit_typicality(Images(pixels=same), Images(pixels=same[:20]), flip=False)
    assert typicality is not None
    assert np.isfinite(run_graph(typicality, same)).all()


def test_too_few_samples_fit_nothing(digits: np.ndarray) -> None:
    few, enough = Images(pixels=digits[:19]), Images(pixels=digits[:20])
    assert fit_typicality(enough, few, flip=False) is None
    assert fit_typicality(few, enough, flip=False) is None
    assert fit_typicality(enough, enough, flip=False) is not None


def test_a_package_tells_noise_from_digits(exported: Exported) -> None:
    session = ort.InferenceSession(exported.folder / "typicality.onnx", providers=["CPUExecutionProvider"])
    feeds: dict[str, Any] = {"real": load_split(DigitsConfig(), "held_out").pixels, "noise": UNLIKE["noise"]}
    found = {
        kind: float((session.run(None, {"samples": samples.astype(np.uint8)})[0] <= THRESHOLD).mean())
        for kind, samples in feeds.items()
    }
    assert found["noise"] == 1.0
    assert found["real"] == pytest.approx(0.05, abs=0.003)  # it ranks samples among these


def test_packages_are_small(exported: Exported) -> None:
    assert (exported.folder / "typicality.onnx").stat().st_size < 150_000
