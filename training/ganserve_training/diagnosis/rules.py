"""The rules of diagnosis: pure functions from a run's observations to what is going on at the last of them.

Each takes the history, oldest first, and returns one sentence if its condition holds now, else None. All numbers that
they compare are free of scale: shares, ratios to the real samples, ratios to the run's own past. Thresholds were set
between what healthy runs and runs set up to fail in just that way show; docs/diagnosis.md tells both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean, median

from ganserve_training.diagnosis.findings import Kind
from ganserve_training.diagnosis.observation import Observation

History = Sequence[Observation]
Rule = Callable[[History], str | None]

WARM_UP = 4
"""Looks at a run's beginning that some rules leave out: until the players have found each other, everything is poor."""

CRITIC_WINS = 0.95
"""Accuracy on training and on generated samples from which the critic tells nearly all of them apart."""
SATURATED_SLOPE = 0.05
"""Loss slope below which the loss passes on less than a twentieth of the critic's gradient. For the minimax loss it is
the mean probability of "real" that the critic gives to generated samples."""
VANISHED_SHARE = 0.01
"""The gradient that reaches the samples has vanished below this share of the run's own median so far."""

STANDSTILL_WINDOW = 10
"""Looks after which generated samples that neither move nor got better are no progress."""
STANDSTILL_STEP = 0.01
"""Movement of the generated centre, and change of diversity, from look to look, below which samples stand still. The
same latents are looked at each time: nothing but the generator's weights can move them."""
NOTHING_GAINED = 0.9
"""The quality's error against what it was before training; above, nothing was gained."""

COLLAPSED_DIVERSITY = 0.4
"""Mean pairwise distance relative to the data's; healthy runs are above 0.8 from early on."""
DEEP_COLLAPSE = 0.2
"""Below this, at the run's beginning too: no healthy run was seen there at three looks in a row."""
COLLAPSED_REGIONS = 0.6
"""Share of the regions reached; healthy runs reach all, or all but one or two."""

SWING_WINDOW = 10
"""Looks over which swings are counted: enough for two full ones."""
SWING_STEP = 0.3
"""Mean movement of the generated centre from look to look, in mean pairwise distances of the data."""
SWING_DETOUR = 3.0
"""The centre's path over its net displacement: a centre that learns goes somewhere, one that swings comes back."""
FOOLED, UNFOOLED = 0.2, 0.8
"""Accuracies on generated samples between which a swinging critic goes to and fro."""
SWINGS = 4
"""Changes of side within the window: two full swings."""

OVERFIT_GAP = 0.15
"""Training accuracy over held-out accuracy; with 256 samples of each, chance alone gives 0.04."""
OVERFIT_LOOKS = 3
"""Looks over which the gap is averaged."""

RUNAWAY_GAP = 100.0
"""Distance between mean real and mean generated score. No healthy run was seen above 75, a Wasserstein critic's of
images; of other losses none above 30."""
RUNAWAY_GROWTH = 2.0
"""And growing: over the window it has become this many times what it was."""
RUNAWAY_WINDOW = 5
RUNAWAY_LOSS = 10.0
"""The critic's loss, while nothing is gained: a critic that knows nothing pays at most 2, whatever the game, and no
healthy run was seen above 2.5. Far below zero it is a Wasserstein critic's gap; the generator's drifts with the level
of the scores, which means nothing."""
FAR_OFF = 3.0
"""Generated samples that lie, or spread, this many times as far as the data's own extent have left them."""

EVEN = 0.15
"""Distance of the critic's accuracy from one half within which it can't tell."""
CONVERGED_DIVERSITY = 0.7
CONVERGED_OFFSET = 0.25
"""The generated centre is at the data's, within a quarter of their mean pairwise distance."""
CONVERGED_GAIN = 0.5
"""And the quality's error is at most this share of what it was before training: a critic that has learned nothing can't
tell either."""

SMOOTHING = 3
"""Looks of which the quality's median is taken: one alone may be lucky."""
DECLINED = 1.3
"""The error, so smoothed, against the best that it was."""
DECLINE_NOISE = 6.0
"""And the difference is this many times the mean distance of a look from the median of itself and its neighbours."""


def vanishing_gradients(history: History) -> str | None:
    """The critic wins, and the generator can't learn from it."""
    now = history[-1]
    if min(now.real_accuracy, now.fake_accuracy) < CRITIC_WINS:
        return None
    told = (
        f"The critic tells {now.real_accuracy:.0%} of real and {now.fake_accuracy:.0%} of generated samples apart, and "
    )
    if now.loss_slope < SATURATED_SLOPE:
        return (
            f"{told}the generator's loss has saturated: it passes on {now.loss_slope:.2%} of the critic's gradient, "
            "so the generator hardly learns."
        )
    usual = median(item.sample_gradient_norm for item in history)
    if now.sample_gradient_norm < VANISHED_SHARE * usual:
        return (
            f"{told}the gradient that reaches the generated samples ({now.sample_gradient_norm:.1e}) is "
            f"{now.sample_gradient_norm / usual:.2%} of what it usually was in this run."
        )
    return None


def no_progress(history: History) -> str | None:
    """The generator never learned anything."""
    now = history[-1]
    if len(history) < STANDSTILL_WINDOW or not _never_left(history) or vanishing_gradients(history):
        return None
    return (
        f"The generator does not learn: its samples have hardly moved for {STANDSTILL_WINDOW} looks, "
        f"{now.quality_name} is {now.quality:.3g} and was {now.untrained_quality:.3g} before training, and the "
        f"critic sees through {now.fake_accuracy:.0%} of them."
    )


def mode_collapse(history: History) -> str | None:
    """The generated samples are too much alike, or leave out parts of the data."""
    now = history[-1]
    if now.offset > FAR_OFF or _never_left(history):
        return None
    settled = len(history) > WARM_UP
    if now.diversity < (COLLAPSED_DIVERSITY if settled else DEEP_COLLAPSE):
        return (
            f"The generated samples differ from each other by {now.diversity:.0%} of what real samples do, and reach "
            f"{_regions(now)}."
        )
    if settled and now.regions_reached < COLLAPSED_REGIONS * now.regions:
        return f"The generated samples reach only {_regions(now)}."
    return None


def oscillation(history: History) -> str | None:
    """The players chase each other round: the generated samples, or the critic's accuracy, swing."""
    recent = history[-SWING_WINDOW:]
    if len(recent) < SWING_WINDOW:
        return None
    path = sum(_distance(a.centre, b.centre) for a, b in pairwise(recent))
    mean_step = path / (SWING_WINDOW - 1)
    net = _distance(recent[0].centre, recent[-1].centre)
    if mean_step >= SWING_STEP and path >= SWING_DETOUR * net:
        return (
            f"The generated samples as a whole swing to and fro, by {mean_step:.0%} of the real samples' mean distance "
            f"from look to look over the last {SWING_WINDOW}, without getting anywhere."
        )
    sides = [item.fake_accuracy >= UNFOOLED for item in recent if not FOOLED < item.fake_accuracy < UNFOOLED]
    changes = sum(a != b for a, b in pairwise(sides))
    if changes >= SWINGS:
        return (
            f"The critic swings between seeing through the generated samples and being fooled by them, {changes} times "
            f"in the last {SWING_WINDOW} looks."
        )
    return None


def critic_overfitting(history: History) -> str | None:
    """The critic knows its training samples by heart."""
    recent = history[-OVERFIT_LOOKS:]
    unseen = [item.held_out_accuracy for item in recent if item.held_out_accuracy is not None]
    if len(unseen) < OVERFIT_LOOKS:
        return None
    seen_mean, unseen_mean = fmean(item.real_accuracy for item in recent), fmean(unseen)
    if seen_mean - unseen_mean < OVERFIT_GAP:
        return None
    return (
        f"The critic takes {seen_mean:.0%} of its training samples for real, but only {unseen_mean:.0%} of real "
        f"samples that it never saw (means of {OVERFIT_LOOKS} looks): it learns them by heart."
    )


def divergence(history: History) -> str | None:
    """The scores or the critic's loss run away, or the generated samples leave the data altogether."""
    now = history[-1]
    if not now.is_finite:
        return "The players' numbers are no longer finite."
    gap = abs(now.real_score - now.fake_score)
    if len(history) > RUNAWAY_WINDOW:
        before = abs(history[-1 - RUNAWAY_WINDOW].real_score - history[-1 - RUNAWAY_WINDOW].fake_score)
        if gap >= RUNAWAY_GAP and gap >= RUNAWAY_GROWTH * before:
            return (
                f"The critic's scores run away: real and generated samples are {gap:.3g} apart, up from {before:.3g} "
                f"{RUNAWAY_WINDOW} looks ago."
            )
        if now.critic_loss >= RUNAWAY_LOSS and not _has_gained_lately(history):
            return (
                f"The critic overshoots: its loss is {now.critic_loss:.3g}, where one that knew nothing would pay 2 at "
                f"most, and the samples got no better in {RUNAWAY_WINDOW} looks."
            )
    if len(history) > WARM_UP and max(now.offset, now.diversity) > FAR_OFF:
        return (
            f"The generated samples have left the data: their centre is {now.offset:.1f} times the real samples' mean "
            f"distance away, and they are spread {now.diversity:.1f} times as far."
        )
    return None


def convergence(history: History) -> str | None:
    """The critic can't tell any more, and the samples are as they should be."""
    now = history[-1]
    grown = [item for item in history if not item.growing]
    if now.growing or len(grown) <= WARM_UP or abs(now.critic_accuracy - 0.5) > EVEN:
        return None
    poor = (
        now.diversity < CONVERGED_DIVERSITY
        or now.offset > CONVERGED_OFFSET
        or now.regions_reached < COLLAPSED_REGIONS * now.regions
        or _has_gained_less(now, CONVERGED_GAIN)
    )
    if poor or decline(history):
        return None
    quality = "" if now.quality is None else f", {now.quality_name} {now.quality:.3g}"
    return (
        f"The critic is right {now.critic_accuracy:.0%} of the time, little more than by chance, and the generated "
        f"samples are as varied as real ones ({now.diversity:.0%}, {_regions(now)}{quality})."
    )


def decline(history: History) -> str | None:
    """The quality was better before."""
    trend = _quality_trend(history)
    if (
        trend is None
        or trend.now <= DECLINED * max(trend.best, 0.0)
        or trend.now <= trend.best + DECLINE_NOISE * trend.noise
    ):
        return None
    measured = [item for item in history if item.quality is not None and not item.growing]
    peak = best_observation(measured)
    assert peak is not None
    now = measured[-1]
    return (
        f"The quality has declined since step {peak.step}: {now.quality_name} was {peak.quality:.3g} then and is "
        f"{now.quality:.3g} now."
    )


RULES: dict[Kind, Rule] = {
    "vanishing-gradients": vanishing_gradients,
    "no-progress": no_progress,
    "mode-collapse": mode_collapse,
    "oscillation": oscillation,
    "critic-overfitting": critic_overfitting,
    "divergence": divergence,
    "convergence": convergence,
    "decline": decline,
}


def diagnose(history: History) -> dict[Kind, str]:
    """What is going on at the last observation: a sentence for each kind of condition that holds."""
    if not history[-1].is_finite:
        told = divergence(history)
        assert told is not None
        return {"divergence": told}
    finite = [item for item in history if item.is_finite]
    return {kind: told for kind, rule in RULES.items() if (told := rule(finite)) is not None}


def best_observation(history: History) -> Observation | None:
    """The first of those with the best quality, of fully grown networks; None: no quality was measured.

    A run may go on with another measure: values of the one that was measured last are compared.
    """
    measured = [item for item in history if item.quality is not None and item.is_finite and not item.growing]
    alike = [item for item in measured if item.quality_name == measured[-1].quality_name]
    return min(alike, key=_error, default=None)


def is_better(new: Observation, old: Observation | None) -> bool:
    """Whether `new` has a better quality than `old` (None: than nothing); never while networks grow."""
    if new.quality is None or not new.is_finite or new.growing:
        return False
    return old is None or old.quality is None or old.quality_name != new.quality_name or _error(new) < _error(old)


def _error(item: Observation) -> float:
    """The quality as something to make small; a share such as GAN-test counts what is missing to 1."""
    assert item.quality is not None
    return 1.0 - item.quality if item.higher_is_better else item.quality


@dataclass(frozen=True, slots=True)
class _Trend:
    """How the quality's error has developed."""

    now: float
    """Median of the last looks."""
    best: float
    """The lowest that this median was."""
    noise: float
    """Mean distance of a look from the median of itself and its neighbours: small for a steady trend."""


def _never_left(history: History) -> bool:
    """Whether the generated samples stand still where training began, as far as the last looks tell."""
    recent = history[-STANDSTILL_WINDOW:]
    still = all(
        max(_distance(a.centre, b.centre), abs(a.diversity - b.diversity)) < STANDSTILL_STEP
        for a, b in pairwise(recent)
    )
    return len(recent) > 1 and still and _has_gained_less(recent[-1], NOTHING_GAINED)


def _has_gained_less(now: Observation, share: float) -> bool:
    """Whether the quality's error is above `share` of what it was before training; False: not measured."""
    if now.quality is None or now.untrained_quality is None:
        return False
    return _error(now) > share * _error(replace(now, quality=now.untrained_quality))


def _has_gained_lately(history: History) -> bool:
    """Whether the quality's error, a median of three looks, has fallen by a tenth over the window, as far as known."""
    name = history[-1].quality_name
    recent, before = (
        [_error(item) for item in looks if item.quality is not None and item.quality_name == name]
        for looks in (history[-SMOOTHING:], history[:-RUNAWAY_WINDOW][-SMOOTHING:])
    )
    return bool(recent and before) and median(recent) < NOTHING_GAINED * median(before)


def _quality_trend(history: History) -> _Trend | None:
    """Of the observations of fully grown networks that measured the same quality as the last one did; None: too few."""
    name = history[-1].quality_name
    if name is None or history[-1].growing:
        return None
    errors = [_error(item) for item in history if item.quality_name == name and not item.growing]
    if len(errors) < WARM_UP + SMOOTHING:
        return None
    smooth = [median(errors[end - SMOOTHING : end]) for end in range(SMOOTHING, len(errors) + 1)]
    noise = fmean(abs(middle - value) for value, middle in zip(errors[1:-1], smooth, strict=True))
    return _Trend(smooth[-1], min(smooth), noise)


def _regions(item: Observation) -> str:
    words = {"modes": "modes", "labels": "labels", "clusters": "clusters of the data"}
    return f"{item.regions_reached} of the {item.regions} {words[item.region_kind]}"


def _distance(a: Sequence[float], b: Sequence[float]) -> float:
    return math.dist(a, b)
