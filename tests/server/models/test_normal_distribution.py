"""Test that the normal distribution has the bits of scipy's, which the reproducibility contract names."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from ganserve_server.models import normal_distribution
from ganserve_server.models.latents import _inside_unit
from ganserve_server.models.normal_distribution import inverse_normal, normal_share

MILLION = 2**20


def words(seed: int, count: int = MILLION) -> np.ndarray:
    return np.random.Generator(np.random.Philox(seed)).integers(0, 2**64, count, dtype=np.uint64)


def shares_of_all_kinds(seed: int) -> dict[str, np.ndarray]:
    """Return the shares that latents use: at random, and all those near 0, 1 / 2 and 1 in steps of 2^-52."""
    random = np.random.default_rng(seed)
    steps = np.arange(MILLION, dtype=np.uint64) + np.uint64(seed * MILLION)
    low_bits, half = np.uint64(12), np.uint64(2**51)
    small = np.exp(-36.7 * random.random(MILLION))
    return {
        "random": _inside_unit(words(seed)),
        "lowest": _inside_unit(steps << low_bits),
        "highest": _inside_unit((np.uint64(2**52 - 1) - steps) << low_bits),
        "middle": _inside_unit((half - np.uint64(MILLION // 2) + steps) << low_bits),
        "small": small,
        "large": 1 - small[small > 2.0**-53],
    }


def assert_like_scipy(seed: int) -> None:
    for kind, shares in shares_of_all_kinds(seed).items():
        np.testing.assert_array_equal(
            inverse_normal(shares).view(np.uint32), ndtri(shares).astype(np.float32).view(np.uint32), err_msg=kind
        )


def test_the_inverse_has_scipys_bits() -> None:
    assert_like_scipy(0)


@pytest.mark.parametrize("shares", [[], [1e-300, 0.2], [[0.5, 2.0**-54], [2.0**-55, 1 - 2.0**-53]]])
def test_the_inverse_has_scipys_bits_at_the_ends(shares: list[float]) -> None:
    np.testing.assert_array_equal(inverse_normal(np.array(shares)), ndtri(np.array(shares)).astype(np.float32))


@pytest.mark.slow
def test_the_inverse_has_scipys_bits_a_hundred_million_times() -> None:
    for seed in range(1, 18):
        assert_like_scipy(seed)


def test_another_logarithm_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = np.minimum(_inside_unit(words(3, 2**17)), 0.1).reshape(-1, 4)
    wanted = ndtri(shares).astype(np.float32)
    # A worse logarithm than numpy's on any processor: the values at risk are computed again.
    log = np.log
    monkeypatch.setattr(normal_distribution.np, "log", lambda x: log(x) * (1 + 2.0**-50))
    monkeypatch.setattr(normal_distribution, "_SLACK", 2.0**-30)
    np.testing.assert_array_equal(inverse_normal(shares), wanted)
    monkeypatch.setattr(normal_distribution, "_SLACK", 1.0)  # all values
    np.testing.assert_array_equal(normal_distribution._inverse(shares, normal_distribution._c_log), ndtri(shares))
    np.testing.assert_array_equal(inverse_normal(shares), wanted)


def test_shares_have_scipys_bits() -> None:
    random = np.random.default_rng(0)
    values = np.concatenate([random.random(20_000) * 4, np.exp(random.normal(size=20_000) * 3), [0.0, 1e-300, np.inf]])
    values = np.concatenate([values, -values])
    np.testing.assert_array_equal([normal_share(value) for value in values.tolist()], ndtr(values))


def test_the_server_does_not_import_scipy() -> None:
    program = (
        "import sys, ganserve_server.commands.serve, ganserve_server.lifecycle\n"
        "print([name for name in ('scipy', 'numpy.f2py', 'numpy.testing') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
