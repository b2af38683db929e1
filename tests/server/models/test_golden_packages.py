"""Test that packages exported by an earlier version load and give the same samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ganserve import Client

GOLDEN = Path(__file__).parents[2] / "fixtures" / "golden"


def test_an_earlier_package_still_gives_the_same_samples() -> None:
    earlier = np.load(GOLDEN / "samples.npz")
    with Client.local(GOLDEN / "models") as client:
        digits = client.sample(4, label=3, model="digits", seed=5, return_scores=True)
        ring = client.sample(4, model="ring", seed=5)
    np.testing.assert_allclose(digits.samples.astype(int), earlier["digits"].astype(int), atol=1)
    np.testing.assert_allclose(digits.scores, earlier["digits_scores"], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(ring.samples, earlier["ring"], rtol=1e-4, atol=1e-5)
