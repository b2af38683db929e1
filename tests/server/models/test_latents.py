"""Test that latents and labels have the numbers of the reproducibility contract."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ganserve_server.models.latents import (
    MAX_INDEX,
    Control,
    Distribution,
    Purpose,
    draw_labels,
    draw_latents,
    draw_seed,
    latents_from_words,
    random_words,
)

SEEDS = st.integers(0, 2**64 - 1)


def philox_4x64_10(counter: tuple[int, ...], key: tuple[int, int]) -> list[int]:
    """Compute Philox4x64-10 in Python's integers (Salmon et al. 2011, section 3.3)."""
    mask = 2**64 - 1
    x, k = list(counter), list(key)
    for _ in range(10):
        left, right = 0xD2E7470EE14C6C93 * x[0], 0xCA5A826395121157 * x[2]
        x = [right >> 64 ^ x[1] ^ k[0], right & mask, left >> 64 ^ x[3] ^ k[1], left & mask]
        k = [(k[0] + 0x9E3779B97F4A7C15) & mask, (k[1] + 0xBB67AE8584CAA73B) & mask]
    return x


def test_philox_gives_the_published_numbers() -> None:
    # Random123's kat_vectors: philox4x64 10, counter 0 and key 0.
    known = [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    assert philox_4x64_10((0, 0, 0, 0), (0, 0)) == known


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, start=st.integers(0, MAX_INDEX - 2), words=st.integers(1, 11), purpose=st.sampled_from(Purpose))
def test_words_are_philox_addressed_by_seed_and_index(seed: int, start: int, words: int, purpose: Purpose) -> None:
    blocks = math.ceil(words / 4)
    expected = []
    for index in (start, start + 1):
        numbers = [index * blocks + block for block in range(blocks)]
        counters = [(number % 2**64, number >> 64, 0, 0) for number in numbers]
        numbers = [word for counter in counters for word in philox_4x64_10(counter, (seed, purpose))]
        expected.append(numbers[:words])
    np.testing.assert_array_equal(random_words(seed, purpose, start, 2, words), np.array(expected, np.uint64))


def test_golden_latents() -> None:
    # Ports to other languages compare with these, so never change them. Normal values may differ in the last bit
    # between implementations of the inverse normal distribution.
    normal = draw_latents(42, 0, 2, 5, Distribution.NORMAL)
    np.testing.assert_array_max_ulp(normal, np.array(GOLDEN_NORMAL, np.float32), maxulp=1)
    truncated = draw_latents(42, 1, 1, 5, Distribution.NORMAL, 0.5)
    np.testing.assert_array_max_ulp(truncated, np.array(GOLDEN_TRUNCATED, np.float32), maxulp=1)
    last = draw_latents(2**64 - 1, MAX_INDEX - 1, 1, 1, Distribution.NORMAL)
    np.testing.assert_array_max_ulp(last, np.array(GOLDEN_LAST, np.float32), maxulp=1)
    assert draw_latents(42, 7, 1, 3, Distribution.UNIFORM).tolist() == GOLDEN_UNIFORM
    assert draw_labels(42, 0, 12, 10).tolist() == GOLDEN_LABELS


@settings(max_examples=100, deadline=None)
@given(
    seed=SEEDS,
    start=st.integers(0, MAX_INDEX - 60),
    skipped=st.integers(0, 30),
    count=st.integers(1, 30),
    dimension=st.integers(1, 9),
    distribution=st.sampled_from(Distribution),
    truncation=st.none() | st.floats(0.01, 100),
)
def test_parts_of_a_range_equal_the_whole_range(
    seed: int,
    start: int,
    skipped: int,
    count: int,
    dimension: int,
    distribution: Distribution,
    truncation: float | None,
) -> None:
    whole = draw_latents(seed, start, skipped + count, dimension, distribution, truncation)
    part = draw_latents(seed, start + skipped, count, dimension, distribution, truncation)
    np.testing.assert_array_equal(whole[skipped:], part)
    labels = draw_labels(seed, start, skipped + count, 7)
    np.testing.assert_array_equal(labels[skipped:], draw_labels(seed, start + skipped, count, 7))


@settings(max_examples=200, deadline=None)
@given(seed=SEEDS, truncation=st.floats(min_value=0, exclude_min=True, allow_infinity=False))
def test_truncated_latents_stay_within_the_truncation(seed: int, truncation: float) -> None:
    latents = draw_latents(seed, 0, 8, 4, Distribution.NORMAL, truncation)
    assert np.isfinite(latents).all()
    assert (np.abs(latents.astype(np.float64)) <= truncation).all()


def test_a_sample_varies_continuously_with_the_truncation() -> None:
    truncations = np.geomspace(0.05, 50, 400)
    latents = np.stack([draw_latents(3, 0, 50, 4, Distribution.NORMAL, float(t)) for t in truncations])
    steps = np.abs(np.diff(np.abs(latents), axis=0))
    assert (np.diff(np.abs(latents), axis=0) >= 0).all(), "a smaller truncation moves every value towards 0"
    assert steps.max() < 0.05
    np.testing.assert_array_equal(latents[-1], draw_latents(3, 0, 50, 4, Distribution.NORMAL))


def test_truncation_of_one_row_does_not_change_others() -> None:
    words = random_words(1, Purpose.LATENTS, 0, 6, 4)
    truncations = np.full(6, np.inf)
    truncations[2] = 0.7
    mixed = latents_from_words(words, Distribution.NORMAL, truncations)
    plain = draw_latents(1, 0, 6, 4, Distribution.NORMAL)
    np.testing.assert_array_equal(np.delete(mixed, 2, 0), np.delete(plain, 2, 0))
    np.testing.assert_array_equal(mixed[2], draw_latents(1, 2, 1, 4, Distribution.NORMAL, 0.7)[0])


def test_the_extreme_words_give_finite_latents() -> None:
    words = np.array([[0, 2**64 - 1]], np.uint64)
    low, high = latents_from_words(words, Distribution.NORMAL)[0]
    assert low == -high
    assert 8 < high < 9
    assert latents_from_words(words, Distribution.UNIFORM)[0].tolist() == [-1.0, 1 - 2**-23]


def test_a_control_is_uniform_on_its_range_and_does_not_change_others() -> None:
    controls = [Control("c0", 1, -1.0, 1.0), Control("wide", 4, 10.0, 14.0)]
    plain, uniform = (draw_latents(7, 0, 20_000, 5, distribution) for distribution in Distribution)
    mixed = draw_latents(7, 0, 20_000, 5, Distribution.NORMAL, controls=controls)
    np.testing.assert_array_equal(mixed[:, [0, 2, 3]], plain[:, [0, 2, 3]])
    np.testing.assert_array_equal(mixed[:, 1], uniform[:, 1])
    assert stats.kstest(mixed[:, 4], stats.uniform(10, 4).cdf).pvalue > 1e-3
    np.testing.assert_allclose(mixed[:, 4], (uniform[:, 4] + 1) * 2 + 10, rtol=1e-6)


def test_training_draws_from_the_same_distributions() -> None:
    # Their numbers may differ; the distribution of each value of a latent must agree.
    torch = pytest.importorskip("torch")
    from ganserve_training.networks.latents import LatentPrior

    prior = LatentPrior(dim=4, distribution="normal", continuous_codes=2)
    ours = draw_latents(3, 0, 20_000, 4, Distribution.NORMAL, None, [Control("c0", 2, -1, 1), Control("c1", 3, -1, 1)])
    theirs = prior.draw(20_000, torch.Generator().manual_seed(0)).numpy()
    for value in range(4):
        assert stats.ks_2samp(ours[:, value], theirs[:, value]).pvalue > 1e-3
    uniform = LatentPrior(dim=1, distribution="uniform", continuous_codes=0)
    theirs = uniform.draw(20_000, torch.Generator().manual_seed(0)).numpy()
    assert stats.ks_2samp(draw_latents(3, 0, 20_000, 1, Distribution.UNIFORM)[:, 0], theirs[:, 0]).pvalue > 1e-3


@pytest.mark.parametrize("purpose_of_seed", [0, 1, 2**63])
def test_distributions(purpose_of_seed: int) -> None:
    normal = draw_latents(purpose_of_seed, 0, 2000, 10, Distribution.NORMAL).ravel()
    assert stats.kstest(normal, "norm").pvalue > 1e-3
    truncated = draw_latents(purpose_of_seed, 0, 2000, 10, Distribution.NORMAL, 1.5).ravel()
    assert stats.kstest(truncated, stats.truncnorm(-1.5, 1.5).cdf).pvalue > 1e-3
    uniform = draw_latents(purpose_of_seed, 0, 2000, 10, Distribution.UNIFORM).ravel()
    assert stats.kstest(uniform, stats.uniform(-1, 2).cdf).pvalue > 1e-3
    labels = draw_labels(purpose_of_seed, 0, 20000, 7)
    assert stats.chisquare(np.bincount(labels, minlength=7)).pvalue > 1e-3


def test_neighbouring_seeds_and_samples_are_independent() -> None:
    a = draw_latents(100, 0, 4000, 1, Distribution.NORMAL).ravel()
    b = draw_latents(101, 0, 4000, 1, Distribution.NORMAL).ravel()
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.06
    assert abs(np.corrcoef(a[:-1], a[1:])[0, 1]) < 0.06


def test_new_seeds_differ_and_survive_json() -> None:
    seeds = {draw_seed() for _ in range(100)}
    assert len(seeds) == 100
    assert all(0 <= seed < 2**53 for seed in seeds)


GOLDEN_NORMAL = [
    [-0.32406786, -0.86491764, 0.39593378, -0.8014012, -0.1414761],
    [-1.9601763, -0.39185408, 1.8134692, 0.746072, 1.9641616],
]
GOLDEN_TRUNCATED = [[-0.4730019, -0.14682332, 0.46240947, 0.2643051, 0.47325087]]
GOLDEN_LAST = [[0.7403809]]
GOLDEN_UNIFORM = [[-0.27441585063934326, -0.7216756343841553, -0.7230194807052612]]
GOLDEN_LABELS = [6, 4, 9, 9, 8, 7, 2, 5, 6, 0, 0, 5]


def test_a_control_with_a_default_has_it_and_changes_nothing_else() -> None:
    drawn = draw_latents(3, 0, 9, 4, Distribution.NORMAL, None, [Control("psi", 3, 0.0, 1.0)])
    usual = draw_latents(3, 0, 9, 4, Distribution.NORMAL, 0.5, [Control("psi", 3, 0.0, 1.0, 0.7)])
    np.testing.assert_array_equal(usual[:, 3], np.float32(0.7))
    assert len(np.unique(drawn[:, 3])) == 9
    plain = draw_latents(3, 0, 9, 4, Distribution.NORMAL, 0.5)
    np.testing.assert_array_equal(usual[:, :3], plain[:, :3])
