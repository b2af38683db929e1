from __future__ import annotations

import numpy as np
import pytest

from ganserve_export import ExportError
from ganserve_export.package.calibration import fit_calibration


def test_recovers_the_log_likelihood_ratio_of_known_scores() -> None:
    # Scores N(+1, 1) for real and N(-1, 1) for generated samples: the log ratio of their densities is exactly 2 s.
    random = np.random.default_rng(0)
    fitted = fit_calibration(random.normal(1, 1, 20_000), random.normal(-1, 1, 20_000))
    assert fitted.slope == pytest.approx(2.0, abs=0.05)
    assert fitted.intercepts == pytest.approx((0.0,), abs=0.05)
    assert fitted.auc == pytest.approx(0.921, abs=0.01)  # Phi(2 / sqrt(2))
    assert (fitted.real_count, fitted.generated_count) == (20_000, 20_000)


def test_each_label_gets_its_own_intercept() -> None:
    # A relativistic critic's scores are defined up to a constant per label: shift each label's and undo it.
    random = np.random.default_rng(0)
    shifts = np.array([-3.0, 0.0, 5.0])
    labels = np.arange(30_000) % 3
    fitted = fit_calibration(
        random.normal(1, 1, len(labels)) + shifts[labels],
        random.normal(-1, 1, len(labels)) + shifts[labels],
        labels=labels,
        label_count=3,
    )
    assert fitted.slope == pytest.approx(2.0, abs=0.1)
    np.testing.assert_allclose(fitted.intercepts, -2.0 * shifts, atol=0.3)
    assert fitted.auc == pytest.approx(0.921, abs=0.01)


def test_counts_of_both_kinds_do_not_shift_the_probability() -> None:
    random = np.random.default_rng(0)
    fitted = fit_calibration(random.normal(1, 1, 1_000), random.normal(-1, 1, 40_000))
    assert fitted.intercepts == pytest.approx((0.0,), abs=0.2)


def test_useless_scores_give_one_half() -> None:
    random = np.random.default_rng(0)
    fitted = fit_calibration(random.normal(-1, 1, 500), random.normal(1, 1, 500))  # generated ones score higher
    assert (fitted.slope, fitted.intercepts, fitted.informative) == (0.0, (0.0,), False)
    assert fitted.log_loss == pytest.approx(np.log(2))


def test_too_few_or_broken_scores_are_refused() -> None:
    enough = np.linspace(0, 1, 100)
    with pytest.raises(ExportError, match=r"at least 20 held-out real samples \(got 3\)"):
        fit_calibration(enough[:3], enough)
    with pytest.raises(ExportError, match="not finite for 1 of 100 generated samples"):
        fit_calibration(enough, np.where(enough == 0, np.nan, enough))
