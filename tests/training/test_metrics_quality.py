"""Compare quality, sliced Wasserstein distance and mode coverage with manual calculations."""

import math

import numpy as np
import pytest
from scipy.stats import wasserstein_distance_nd

from ganserve_training.data import Images, Vectors
from ganserve_training.data.sources.digits import load_digits
from ganserve_training.errors import ConfigError
from ganserve_training.evaluation.metrics import mode_coverage, mode_divergence, sliced_wasserstein
from ganserve_training.evaluation.modes import GaussianModes
from ganserve_training.evaluation.quality import QualityMeter

SQUARE = GaussianModes(centres=np.array([[0.0, 0.0], [0.0, 4.0], [4.0, 0.0], [4.0, 4.0]]), sigma=0.1)


def test_sliced_wasserstein_of_shifted_points_is_the_shift_along_each_direction() -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((50, 3))
    shift = np.array([3.0, -1.0, 2.0])
    # W2 along u is |shift . u|; its mean square over the sphere is |shift|^2 / D.
    measured = sliced_wasserstein(points + shift, points, directions=20_000)
    assert measured == pytest.approx(math.sqrt(14 / 3), rel=0.02)
    assert sliced_wasserstein(points[::-1], points) == pytest.approx(0.0, abs=1e-6)


def test_sliced_wasserstein_of_different_counts_is_optimal_transport() -> None:
    # In one dimension the only direction is +-1. Of 2 points and 3 points, compare quantiles in sixths.
    ours, theirs = np.array([[0.0], [6.0]]), np.array([[1.0], [2.0], [9.0]])
    # sixths: ours 0 0 0 6 6 6, theirs 1 1 2 2 9 9 -> squares 1 1 4 16 9 9 = 40
    assert sliced_wasserstein(ours, theirs) == pytest.approx(math.sqrt(40 / 6), rel=1e-6)
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((7, 1)), rng.standard_normal((4, 1)) + 5.0  # W1 is a lower bound of W2.
    assert sliced_wasserstein(a, b) >= wasserstein_distance_nd(a, b)
    repeated = sliced_wasserstein(np.repeat(a, 4, axis=0), np.repeat(b, 7, axis=0))
    assert sliced_wasserstein(a, b) == pytest.approx(repeated, rel=1e-6)


def test_mode_coverage_equals_a_manual_calculation() -> None:
    samples = np.array([[0.0, 0.1], [0.0, 0.29], [0.1, 4.0], [4.0, 0.31]])  # Two, one, none (0.31 > 3 sigma), none.
    coverage = mode_coverage(samples, SQUARE)
    assert (coverage.modes, coverage.high_quality) == (2, 0.75)
    # Nearest modes: 2, 1, 1, 0 of 4 samples.
    assert coverage.reverse_kl == pytest.approx(math.log(4) - (0.5 * math.log(2) + 2 * 0.25 * math.log(4)))
    inside = 1.0 - math.exp(-4.5)  # Two dimensions: chi^2 is exponential.
    assert SQUARE.real_high_quality == pytest.approx(inside)
    by_hand = 0.5 * math.log(0.5 / (inside / 4)) + 0.25 * math.log(0.25 / (inside / 4))
    by_hand += 0.25 * math.log(0.25 / (1.0 - inside))
    assert mode_divergence(samples, SQUARE) == pytest.approx(by_hand)


def test_mode_coverage_of_collapse_noise_and_the_data() -> None:
    rng = np.random.default_rng(0)
    data = SQUARE.centres[rng.integers(4, size=4000)] + 0.1 * rng.standard_normal((4000, 2))
    real = mode_coverage(data, SQUARE)
    assert real.modes == 4
    assert real.high_quality == pytest.approx(0.989, abs=0.005)
    assert real.reverse_kl < 0.002
    one = mode_coverage(np.zeros((10, 2)), SQUARE)
    assert (one.modes, one.high_quality, one.reverse_kl) == (1, 1.0, pytest.approx(math.log(4)))
    none = mode_coverage(np.full((10, 2), 2.1), SQUARE)
    assert (none.modes, none.high_quality) == (0, 0.0)
    noise = 4.0 * rng.random((4000, 2))
    divergences = [mode_divergence(samples, SQUARE) for samples in (data, np.zeros((10, 2)), noise)]
    assert divergences[0] < 0.005 < divergences[1] < divergences[2]


def test_quality_distinguishes_good_samples_from_bad() -> None:
    digits = load_digits()
    rng = np.random.default_rng(0)
    order = rng.permutation(len(digits))
    reference, fresh = digits.take(order[:900]), digits.take(order[900:])
    noise = rng.integers(0, 256, fresh.pixels.shape, np.uint8)
    collapsed = np.repeat(fresh.pixels[:1], len(fresh), axis=0)
    for choice in ("auto", "sliced-wasserstein", "gan-test", "kid"):
        meter = QualityMeter(reference, choice)  # type: ignore[arg-type]
        good, *bad = (meter.measure(pixels, fresh.labels) for pixels in (fresh.pixels, noise, collapsed))
        for other in bad:
            better = good.value > other.value if good.higher_is_better else good.value < other.value
            assert better, (choice, good, other)
        assert meter.measure(fresh.pixels, fresh.labels) == good


def test_quality_of_vectors_is_standardised_and_prefers_known_modes() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((500, 2)).astype(np.float32) * np.float32([1.0, 1000.0])
    reference = Vectors.standardised(values)
    name, value, higher_is_better = QualityMeter(reference).measure(values + np.float32([2.0, 0.0]), None)
    assert (name, higher_is_better) == ("sliced_wasserstein", False)
    assert value == pytest.approx(
        2.0 / math.sqrt(2.0), rel=0.2
    )  # The dimension with a scale of a thousand does not dominate.
    assert QualityMeter(reference, modes=SQUARE).measure(values, None).name == "mode_divergence"


def test_quality_of_large_images_averages_pixels() -> None:
    pixels = np.zeros((3, 64, 96, 1), np.uint8)
    pixels[:, ::2] = 255  # Stripes one pixel wide become gray by averaging.
    gray = Images(pixels=np.full((5, 64, 96, 1), 127, np.uint8))
    assert QualityMeter(gray).measure(pixels, None).value == pytest.approx(0.0, abs=0.01)


def test_quality_that_cannot_be_measured_is_refused() -> None:
    unlabelled = Images(pixels=np.zeros((4, 8, 8, 1), np.uint8))
    with pytest.raises(ConfigError, match="gan-test needs labelled data"):
        QualityMeter(unlabelled, "gan-test")
    with pytest.raises(ConfigError, match="mode-coverage needs data whose modes are known"):
        QualityMeter(unlabelled, "mode-coverage")
