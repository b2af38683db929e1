"""Compare metrics of feature arrays with closed forms, direct sums and tiny sets worked out by hand."""

import math

import numpy as np
import pytest
import torch

from ganserve_training.errors import DataError
from ganserve_training.evaluation.metrics import (
    density_coverage,
    frechet_distance,
    inception_score,
    kernel_distance,
    precision_recall,
)
from ganserve_training.evaluation.metrics.label_balance import balance, label_shares


def with_moments(rng: np.random.Generator, mean: np.ndarray, root: np.ndarray, count: int) -> np.ndarray:
    """Return points with exactly the sample mean `mean` and covariance (n - 1) `root @ root.T`."""
    points = rng.standard_normal((count, len(mean)))
    points -= points.mean(axis=0)
    points = points @ np.linalg.inv(np.linalg.cholesky(np.cov(points.T)).T)
    return points @ root.T + mean


def test_frechet_distance_of_commuting_gaussians_is_the_sum_over_axes() -> None:
    rng = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    ours = with_moments(rng, np.array([1.0, 0.0, -2.0]), rotation * [1.0, 2.0, 3.0], 400)
    theirs = with_moments(rng, np.zeros(3), rotation * [2.0, 2.0, 0.5], 100)
    # |m - m'|^2 = 5; along common axes Tr(...) is the sum of (s - s')^2 = 1 + 0 + 6.25.
    assert frechet_distance(ours, theirs) == pytest.approx(12.25, rel=1e-9)
    assert frechet_distance(ours, ours) == pytest.approx(0.0, abs=1e-7)


def test_frechet_distance_of_any_gaussians() -> None:
    rng = np.random.default_rng(1)
    roots = rng.standard_normal((2, 4, 4))
    ours, theirs = (with_moments(rng, np.zeros(4), root, 50) for root in roots)
    # Tr (S S')^(1/2) is the sum of the singular values of R^T R', S = R R^T.
    nuclear = np.linalg.svd(roots[0].T @ roots[1], compute_uv=False).sum()
    expected = (roots**2).sum() - 2.0 * nuclear
    assert frechet_distance(ours, theirs) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_needs_two() -> None:
    with pytest.raises(DataError, match=r"at least 2 samples \(got 1 generated and 5 real\)"):
        frechet_distance(np.zeros((1, 3)), np.zeros((5, 3)))


def test_kernel_distance_is_the_unbiased_discrepancy() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((6, 2)), rng.standard_normal((6, 2)) + 1.0
    direct = 0.0
    for i in range(6):
        for j in range(6):
            within = (x[i] @ x[j] / 2 + 1) ** 3 + (y[i] @ y[j] / 2 + 1) ** 3
            direct += within / 30 * (i != j) - 2 * (x[i] @ y[j] / 2 + 1) ** 3 / 36
    assert kernel_distance(x, y) == (pytest.approx(direct, rel=1e-12), 0.0)


def test_kernel_distance_averages_over_seeded_subsets_without_torchs_generator() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((300, 4)), rng.standard_normal((200, 4))
    before = torch.get_rng_state()
    mean, spread = kernel_distance(x, y, subsets=50, subset_size=100)
    assert torch.equal(torch.get_rng_state(), before)
    assert kernel_distance(x, y, subsets=50, subset_size=100) == (mean, spread)
    assert kernel_distance(x, y, subsets=50, subset_size=100, seed=1) != (mean, spread)
    assert abs(mean) < 3 * spread  # The same distribution: unbiased around zero.
    shifted, _ = kernel_distance(x + 1.0, y, subsets=50, subset_size=100)
    assert shifted > mean + 5 * spread


def test_precision_and_recall_of_points_on_a_line() -> None:
    real = np.array([[0.0], [1.0], [2.0], [10.0]])  # Radii for k = 1: 1, 1, 1, 8.
    generated = np.array([[2.5], [3.5], [-1.5]])  # Radii 1, 1, 4.
    # In a real ball: 2.5 (2 +- 1), 3.5 (10 +- 8), not -1.5. Real ones in a generated ball: all but 10 (0, 1 and 2 lie
    # within -1.5 +- 4; 2 also within 2.5 +- 1).
    measured = precision_recall(generated, real, neighbours=1)
    assert (measured.precision, measured.recall) == (pytest.approx(2 / 3), 0.75)


def test_density_and_coverage_of_points_on_a_line() -> None:
    real = np.array([[0.0], [1.0], [2.0], [10.0]])  # Radii for k = 2: 2, 1, 2, 9.
    generated = np.array([[2.5], [3.5], [-1.5]])
    # Balls that hold 2.5: 2, 10; 3.5: 2, 10; -1.5: 0. Five of k x N = 6. Real balls that hold any: 0, 2, 10.
    measured = density_coverage(generated, real, neighbours=2)
    assert (measured.density, measured.coverage) == (pytest.approx(5 / 6), 0.75)


def test_fidelity_and_diversity_distinguish_collapse_from_noise() -> None:
    rng = np.random.default_rng(0)
    real, same = rng.standard_normal((2, 1500, 3))  # More rows than one block.
    both = precision_recall(same, real), density_coverage(same, real)
    assert both[0].precision == pytest.approx(both[0].recall, abs=0.05)
    assert both[0].precision > 0.8
    assert both[1].density == pytest.approx(1.0, abs=0.05)
    assert both[1].coverage > 0.9
    collapsed = 0.05 * same
    assert precision_recall(collapsed, real).precision > 0.8  # Some lie between the balls, like some real samples.
    assert precision_recall(collapsed, real).recall < 0.01
    assert density_coverage(collapsed, real).coverage < 0.05
    noise = 30.0 * same
    assert precision_recall(noise, real).precision < 0.01
    assert density_coverage(noise, real).density < 0.01


def test_neighbourhoods_of_equal_points_are_empty_balls() -> None:
    real = np.zeros((8, 2))
    assert density_coverage(np.zeros((2, 2)), real).coverage == 1.0
    assert density_coverage(np.ones((2, 2)), real).density == 0.0
    with pytest.raises(DataError, match=r"at least 4 samples .* \(got 3\)"):
        precision_recall(np.zeros((3, 2)), real)


def test_inception_score_equals_a_manual_calculation() -> None:
    assert inception_score(np.eye(4)) == pytest.approx(4.0)
    assert inception_score(np.tile([[1.0, 0.0, 0.0]], (5, 1))) == pytest.approx(1.0)
    assert inception_score(np.full((5, 3), 1 / 3)) == pytest.approx(1.0)
    # Rows (3/4, 1/4) and (1/4, 3/4), marginal 1/2: KL = 3/4 ln 3/2 + 1/4 ln 1/2 each.
    expected = math.exp(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert inception_score(np.array([[0.75, 0.25], [0.25, 0.75]])) == pytest.approx(expected)


def test_label_shares_and_their_balance() -> None:
    real = np.array([0, 0, 1, 1, 2, 2, 2, 2])
    shares = label_shares(np.array([0, 0, 0, 1, 2, 2, 2, 2]), real, 4)
    np.testing.assert_allclose(shares, [1.5, 0.5, 1.0, np.nan])
    assert balance(shares) == pytest.approx(0.5)
    assert balance(label_shares(np.array([0, 1, 1, 1, 1, 2, 2, 2, 2, 2]), np.array([0, 1, 2]), 3)) == pytest.approx(0.3)
    assert balance(label_shares(real, real, 4)) == 1.0
    assert balance(label_shares(np.array([0, 1]), real, 4)) == 0.0
