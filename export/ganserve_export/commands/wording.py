"""Describe figures of exports in words."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ganserve_export.from_weights.as_run import Begun
    from ganserve_export.package.calibration import LogisticCalibration
    from ganserve_export.package.content import Published
    from ganserve_export.package.verification import Difference


def as_json(result: Published | Begun) -> str:
    """Return a command's result as JSON."""
    return json.dumps(asdict(result), indent=2, default=str) + "\n"


def describe_difference(difference: Difference) -> str:
    """Describe the largest difference of a verified graph, and the allowed one."""
    if difference.is_pixels:
        return (
            f"{difference.largest:g} of 255 levels, in {difference.share:.3%} of the values "
            f"(allowed {difference.tolerance:g})"
        )
    return f"{difference.largest:.1e} (allowed {difference.tolerance:.1e})"


def describe_ranking(calibration: LogisticCalibration) -> str:
    """Describe how well a critic ranks samples; the text continues "the critic …"."""
    if calibration.informative:
        return f"ranks held-out real samples above generated ones {calibration.auc:.0%} of the time (chance 50%)"
    share = f" ({calibration.raw_auc:.0%} of the time)" if calibration.below_chance else ""
    return (
        f"does not rank held-out real samples above generated ones{share}: all probabilities are 0.5 "
        "(it has trained too little, or has overfitted)"
    )
