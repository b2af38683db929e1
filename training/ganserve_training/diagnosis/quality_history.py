"""Follow the quality of a run over its looks: the best one, gains and trends."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

from ganserve_training.diagnosis.observation import Observation

History = Sequence[Observation]
"""Observations of a run, oldest first."""

WARM_UP = 4
"""Looks at the start of a run that some rules skip: the players have not adapted yet."""
SMOOTHING = 3  # looks in a median of the quality, as a single look may be lucky
GAIN_WINDOW = 5  # looks over which gains are measured
NOTHING_GAINED = 0.9  # above this share of its earlier value, the quality's error counts as unchanged


def best_observation(history: History) -> Observation | None:
    """Return the first observation with the best quality of fully grown networks; None: no quality was measured.

    If a run changed its quality metric, only values of the newest metric are compared.
    """
    measured = [item for item in history if item.quality is not None and item.is_finite and not item.growing]
    alike = [item for item in measured if item.quality_name == measured[-1].quality_name]
    return min(alike, key=_error, default=None)


def is_better(new: Observation, old: Observation | None) -> bool:
    """Say whether `new` has a better quality than `old` (None counts as worse); never while networks grow."""
    if new.quality is None or not new.is_finite or new.growing:
        return False
    return old is None or old.quality is None or old.quality_name != new.quality_name or _error(new) < _error(old)


def _error(item: Observation) -> float:
    """Return the quality as an error to minimise; for a share such as GAN-test, 1 minus the share."""
    assert item.quality is not None
    return 1.0 - item.quality if item.higher_is_better else item.quality


@dataclass(frozen=True, slots=True)
class Trend:
    """Development of the quality's error."""

    now: float
    """Median over the last looks."""
    best: float
    """Lowest value of this median so far."""
    noise: float
    """Mean distance of a look from the median of itself and its neighbours: small for a steady trend."""


def has_gained_less(now: Observation, share: float) -> bool:
    """Say whether the quality's error is above this share of the error before training; False if not measured."""
    if now.quality is None or now.untrained_quality is None:
        return False
    return _error(now) > share * _error(replace(now, quality=now.untrained_quality))


def has_gained_lately(history: History) -> bool:
    """Say whether the quality's error, a median of three looks, has fallen by a tenth in the last five looks."""
    name = history[-1].quality_name
    recent, before = (
        [_error(item) for item in looks if item.quality is not None and item.quality_name == name]
        for looks in (history[-SMOOTHING:], history[:-GAIN_WINDOW][-SMOOTHING:])
    )
    return bool(recent and before) and median(recent) < NOTHING_GAINED * median(before)


def quality_trend(history: History) -> Trend | None:
    """Return the trend over fully grown networks, of the newest quality metric; None: too few observations."""
    name = history[-1].quality_name
    if name is None or history[-1].growing:
        return None
    errors = [_error(item) for item in history if item.quality_name == name and not item.growing]
    if len(errors) < WARM_UP + SMOOTHING:
        return None
    smooth = [median(errors[end - SMOOTHING : end]) for end in range(SMOOTHING, len(errors) + 1)]
    noise = fmean(abs(middle - value) for value, middle in zip(errors[1:-1], smooth, strict=True))
    return Trend(smooth[-1], min(smooth), noise)
