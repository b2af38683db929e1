"""Rules of diagnosis: pure functions that find problems in a run's observations.

Each rule takes the history, oldest first, and returns one sentence if its condition holds at the last look, else None.
Rules compare scale-free numbers: shares, ratios to real samples, ratios to the run's own past. Thresholds lie between
the values of healthy runs and of runs that were set up to fail in this way; docs/diagnosis.md lists both.
"""

import math
from collections.abc import Callable, Collection
from itertools import pairwise
from statistics import fmean, median

from ganserve_training.diagnosis.findings import EXPLAINED_BY, Kind
from ganserve_training.diagnosis.observation import Observation
from ganserve_training.diagnosis.quality_history import (
    GAIN_WINDOW,
    NOTHING_GAINED,
    WARM_UP,
    History,
    best_observation,
    has_gained_lately,
    has_gained_less,
    quality_trend,
)
from ganserve_training.diagnosis.sample_rules import (
    idle_critic,
    ignored_labels,
    low_precision,
    low_recall,
    winning_critic,
)

Rule = Callable[[History], str | None]

CRITIC_WINS = 0.95
"""Accuracy on training and on generated samples from which the critic wins: it tells nearly all of them apart."""
SATURATED_SLOPE = 0.05
"""Loss slope below which the loss passes on less than a twentieth of the critic's gradient. For the minimax loss the
slope is the critic's mean probability that a generated sample is real."""
VANISHED_SHARE = 0.01  # share of the run's median gradient below which the gradient at the samples has vanished

STANDSTILL_WINDOW = 10  # looks without movement or gain that count as no progress
STANDSTILL_STEP = 0.01
"""Movement of the generated centre, and change of diversity, from look to look, below which samples stand still. Every
look uses the same latents, so only the generator's weights can move the samples."""

COLLAPSED_DIVERSITY = 0.4
"""Mean pairwise distance relative to the data's; healthy runs are above 0.8 from an early step on."""
DEEP_COLLAPSE = 0.2  # threshold for a run's first looks; no healthy run was below it at three looks in a row
BLANK = 0.02
"""Diversity below which samples are all the same, such as blank pictures; untrained networks are above 0.04."""
COLLAPSED_REGIONS = 0.6  # share of the regions reached; healthy runs reach all, or miss one or two

SWING_WINDOW = 10  # looks over which swings are counted, enough for two full swings
SWING_STEP = 0.3  # mean movement of the generated centre from look to look, in mean pairwise distances of the data
SWING_DETOUR = 3.0
"""Length of the centre's path over its net displacement: a swinging centre comes back, a learning one does not."""
FOOLED, UNFOOLED = 0.2, 0.8  # accuracies on generated samples between which a swinging critic alternates
SWINGS = 4  # changes of side within the window that make two full swings

OVERFIT_GAP = 0.15  # training accuracy minus held-out accuracy; chance alone gives 0.04 with 256 samples of each
OVERFIT_LOOKS = 3  # looks over which the gap is averaged

RUNAWAY_GAP = 100.0
"""Distance of mean real and fake scores; healthy ones are below 75 (Wasserstein, images) or 30 (other losses)."""
RUNAWAY_GROWTH = 2.0  # growth of this distance over the window
RUNAWAY_LOSS = 10.0
"""Critic's loss without any gain in quality. A critic that knows nothing pays at most 2 in any game, and no healthy run
was above 2.5. A very negative loss is a Wasserstein critic's gap. The generator's loss drifts with the level of the
scores, so it says nothing."""
FAR_OFF = 3.0  # distance or spread of generated samples, in extents of the data, from which they have left the data

RISING_LOOKS, LEAST_RISING_LOOKS = 4, 3
RISING = 1.3  # growth of the diversity over these looks with which samples are on their way out of a collapse

EVEN = 0.15  # distance of the critic's accuracy from one half within which it cannot tell real from generated
CONVERGED_DIVERSITY = 0.7
CONVERGED_OFFSET = 0.25  # distance between the generated centre and the data's, in mean pairwise distances of the data
CONVERGED_LIKENESS = 0.6
"""Least precision and recall, relative to real samples; with less, `ganserve evaluate` calls them poor."""
CONVERGED_GAIN = 0.5
"""Largest share of the quality's error before training; otherwise an untrained critic would count as converged."""

DECLINED = 1.3  # ratio of the smoothed error to its best value
DECLINE_NOISE = 6.0  # smallest rise over the best value, as a multiple of the noise of the looks (`Trend.noise`)


def vanishing_gradients(history: History) -> str | None:
    """Find a critic that wins so clearly that the generator cannot learn from it."""
    now = history[-1]
    if min(now.real_accuracy, now.fake_accuracy) < CRITIC_WINS:
        return None
    right = f"{now.real_accuracy:.0%} of real and {now.fake_accuracy:.0%} of generated samples"
    if now.loss_slope < SATURATED_SLOPE:
        return (
            f"The critic tells {right} apart, and the generator's loss has saturated: it passes on "
            f"{now.loss_slope:.2%} of the critic's gradient, so the generator hardly learns."
        )
    usual = median(item.sample_gradient_norm for item in history)
    if now.sample_gradient_norm < VANISHED_SHARE * usual:
        return (
            f"The critic tells {right} apart, and the gradient that reaches the generated samples "
            f"({now.sample_gradient_norm:.1e}) is {now.sample_gradient_norm / usual:.2%} of what it usually was in "
            "this run."
        )
    return None


def no_progress(history: History) -> str | None:
    """Find a generator that never learned anything."""
    now = history[-1]
    if len(history) < STANDSTILL_WINDOW or not _never_left(history) or vanishing_gradients(history):
        return None
    return (
        f"The generator does not learn: its samples have hardly moved for {STANDSTILL_WINDOW} looks, "
        f"{now.quality_name} is {now.quality:.3g} and was {now.untrained_quality:.3g} before training, and the "
        f"critic recognises {now.fake_accuracy:.0%} of them as generated."
    )


def mode_collapse(history: History) -> str | None:
    """Find generated samples that are too similar, or that miss parts of the data."""
    now = history[-1]
    if now.offset > FAR_OFF:
        return None
    if now.diversity < BLANK:
        return f"The generated samples are all but the same, and reach {reached_regions(now)}."
    if _never_left(history) or _grows_varied(history):
        return None
    settled = len(history) > WARM_UP
    if now.diversity < (COLLAPSED_DIVERSITY if settled else DEEP_COLLAPSE):
        return (
            f"The generated samples differ from each other only {now.diversity:.0%} as much as real samples do, and "
            f"reach {reached_regions(now)}."
        )
    if settled and now.regions_reached < COLLAPSED_REGIONS * now.regions:
        return f"The generated samples reach only {reached_regions(now)}."
    return None


def _grows_varied(history: History) -> bool:
    """Say whether samples get more varied from look to look: with labels, many runs begin with one image a label."""
    recent = [item.diversity for item in history[-1 - RISING_LOOKS :]]
    rises = len(recent) >= LEAST_RISING_LOOKS and recent[-1] >= RISING * recent[0]
    return rises and recent[-1] == max(item.diversity for item in history)


def oscillation(history: History) -> str | None:
    """Find players that chase each other, so that the generated samples or the critic's accuracy swing."""
    recent = history[-SWING_WINDOW:]
    if len(recent) < SWING_WINDOW:
        return None
    path = sum(math.dist(a.centre, b.centre) for a, b in pairwise(recent))
    mean_step = path / (SWING_WINDOW - 1)
    net = math.dist(recent[0].centre, recent[-1].centre)
    if mean_step >= SWING_STEP and path >= SWING_DETOUR * net:
        return (
            f"The generated samples as a whole swing back and forth without progress: over the last {SWING_WINDOW} "
            f"looks they moved by {mean_step:.0%} of the real samples' mean distance from look to look."
        )
    sides = [item.fake_accuracy >= UNFOOLED for item in recent if not FOOLED < item.fake_accuracy < UNFOOLED]
    changes = sum(a != b for a, b in pairwise(sides))
    if changes >= SWINGS:
        return (
            f"The critic swings between recognising the generated samples and being fooled by them: {changes} times in "
            f"the last {SWING_WINDOW} looks."
        )
    return None


def critic_overfitting(history: History) -> str | None:
    """Find a critic that has memorised its training samples."""
    recent = history[-OVERFIT_LOOKS:]
    unseen = [item.held_out_accuracy for item in recent if item.held_out_accuracy is not None]
    if len(unseen) < OVERFIT_LOOKS:
        return None
    seen_mean, unseen_mean = fmean(item.real_accuracy for item in recent), fmean(unseen)
    if seen_mean - unseen_mean < OVERFIT_GAP:
        return None
    return (
        f"The critic takes {seen_mean:.0%} of its training samples for real, but only {unseen_mean:.0%} of real "
        f"samples that it never saw (means of {OVERFIT_LOOKS} looks): it memorises its training samples."
    )


def divergence(history: History) -> str | None:
    """Find scores or a critic's loss that run away, or generated samples that have left the data."""
    now = history[-1]
    if not now.is_finite:
        return "Some of the players' numbers are no longer finite."
    gap = abs(now.real_score - now.fake_score)
    if len(history) > GAIN_WINDOW:
        then = history[-1 - GAIN_WINDOW]
        before = abs(then.real_score - then.fake_score)
        if gap >= RUNAWAY_GAP and gap >= RUNAWAY_GROWTH * before:
            return (
                f"The critic's scores run away: real and generated samples are {gap:.3g} apart, up from {before:.3g} "
                f"{GAIN_WINDOW} looks ago."
            )
        if now.critic_loss >= RUNAWAY_LOSS and not has_gained_lately(history):
            return (
                f"The critic overshoots: its loss is {now.critic_loss:.3g}, while a critic that knows nothing pays at "
                f"most 2, and the samples did not improve in {GAIN_WINDOW} looks."
            )
    if len(history) > WARM_UP and max(now.offset, now.diversity) > FAR_OFF:
        return (
            f"The generated samples have left the data: their centre is {now.offset:.1f} times the real samples' mean "
            f"distance away, and they spread {now.diversity:.1f} times as far as real samples."
        )
    return None


def convergence(history: History) -> str | None:
    """Find a critic that can no longer tell real from generated, and samples as good as they should be."""
    now = history[-1]
    grown = [item for item in history if not item.growing]
    if now.growing or len(grown) <= WARM_UP or abs(now.critic_accuracy - 0.5) > EVEN:
        return None
    poor = (
        now.diversity < CONVERGED_DIVERSITY
        or now.offset > CONVERGED_OFFSET
        or now.regions_reached < COLLAPSED_REGIONS * now.regions
        or has_gained_less(now, CONVERGED_GAIN)
        or min(*(value for value in (now.precision, now.recall) if value is not None), 1.0, 1.0) < CONVERGED_LIKENESS
    )
    if poor or decline(history):
        return None
    quality = "" if now.quality is None else f", {now.quality_name} {now.quality:.3g}"
    return (
        f"The critic is right {now.critic_accuracy:.0%} of the time, about as often as by chance, and the generated "
        f"samples are as varied as real ones ({now.diversity:.0%}, {reached_regions(now)}{quality})."
    )


def decline(history: History) -> str | None:
    """Find a quality that was better before."""
    trend = quality_trend(history)
    if trend is None or trend.now <= max(DECLINED * max(trend.best, 0.0), trend.best + DECLINE_NOISE * trend.noise):
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
    "idle-critic": idle_critic,
    "winning-critic": winning_critic,
    "mode-collapse": mode_collapse,
    "ignored-labels": ignored_labels,
    "low-precision": low_precision,
    "low-recall": low_recall,
    "oscillation": oscillation,
    "critic-overfitting": critic_overfitting,
    "divergence": divergence,
    "convergence": convergence,
    "decline": decline,
}


def diagnose(history: History, lasting: Collection[Kind] = ()) -> dict[Kind, str]:
    """Return a sentence for each condition that holds at the last observation.

    A condition that another one explains is left out, unless it is one of those that are `lasting`.
    """
    if history[-1].is_finite:
        rules, history = RULES, [item for item in history if item.is_finite]
    else:
        rules = {"divergence": divergence}
    found = {kind: sentence for kind, rule in rules.items() if (sentence := rule(history)) is not None}
    return {
        kind: sentence
        for kind, sentence in found.items()
        if kind in lasting or not EXPLAINED_BY.get(kind, frozenset()) & found.keys()
    }


def _never_left(history: History) -> bool:
    """Say whether the generated samples of the last looks stand still where training began."""
    recent = history[-STANDSTILL_WINDOW:]
    still = all(
        max(math.dist(a.centre, b.centre), abs(a.diversity - b.diversity)) < STANDSTILL_STEP
        for a, b in pairwise(recent)
    )
    return len(recent) > 1 and still and has_gained_less(recent[-1], NOTHING_GAINED)


def reached_regions(item: Observation) -> str:
    """Return how many of the regions the generated samples reach, in words."""
    kind = "clusters of the data" if item.region_kind == "clusters" else item.region_kind
    return f"{item.regions_reached} of the {item.regions} {kind}"
