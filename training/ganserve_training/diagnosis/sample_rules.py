"""Rules about what a person sees in the samples: their labels, what they look like, and how many kinds there are.

They hold from a run's first looks on, but never while the numbers still get better. `rules` has the others.
"""

from typing import Literal

from ganserve_training.diagnosis.quality_history import GAIN_WINDOW, NOTHING_GAINED, History, has_gained_less

FIRST_LOOKS = 3
"""Looks before which these rules are silent. With those of a finding, it is reported at look 5."""

ALWAYS_RIGHT = 0.98
"""Accuracy on training and on generated samples of a critic that the generator cannot fool."""

IDLE_LOOKS = 5  # looks over which a critic that learns nothing stands still
IDLE_ACCURACY = 0.65
"""Accuracy up to which a critic may be guessing. One that gives all samples the same score is right on none."""
OUTRUN_ACCURACY = 0.2
"""Accuracy up to which a critic is wrong about nearly all pairs: the generator moves away from what it knows."""
IDLE_CHANGE = 0.01
"""Change of the critic's loss over these looks, relative to the loss or to a tenth, below which it stands still."""

IGNORED_LABELS = 0.45
"""Agreement of generated samples with their labels beyond guessing, relative to real ones, below which they mean
little."""
LOW_LIKENESS = 0.3
"""Precision or recall, relative to that of real samples, below which a person sees the difference at once."""
GAINED = 0.05  # gain of such a share over the window with which a run still gets better


def winning_critic(history: History) -> str | None:
    """Find a critic that is always right, while the samples are no better than before training."""
    now = history[-1]
    certain = min(now.real_accuracy, now.fake_accuracy) >= ALWAYS_RIGHT
    if now.growing or not certain or not has_gained_less(now, NOTHING_GAINED):
        return None
    return (
        f"The critic is right on {now.real_accuracy:.0%} of real and {now.fake_accuracy:.0%} of generated samples, and "
        f"the samples are no better than before training: {now.quality_name} is {now.quality:.3g} and was "
        f"{now.untrained_quality:.3g}."
    )


def idle_critic(history: History) -> str | None:
    """Find a critic that never learned to tell real from generated samples, and so teaches the generator nothing."""
    now, recent = history[-1], history[-IDLE_LOOKS:]
    if len(recent) < IDLE_LOOKS or any(item.growing for item in recent) or not has_gained_less(now, NOTHING_GAINED):
        return None
    losses = [item.critic_loss for item in recent]
    best = max(item.critic_accuracy for item in history)
    if best <= OUTRUN_ACCURACY and losses[-1] > losses[0]:
        return (
            f"The critic learns nothing, or far too slowly: it was right at most {best:.0%} of the time at every look, "
            f"less than by guessing, its loss has grown to {now.critic_loss:.3g}, and the samples are no better than "
            "before training."
        )
    moves = max(losses) - min(losses) > IDLE_CHANGE * max(*(abs(loss) for loss in losses), 0.1)
    if moves or any(item.critic_accuracy > IDLE_ACCURACY for item in recent):
        return None
    return (
        f"The critic learns nothing: its loss has stayed at {now.critic_loss:.3g} for {IDLE_LOOKS} looks, it is right "
        f"{now.critic_accuracy:.0%} of the time, and the samples are no better than before training."
    )


def ignored_labels(history: History) -> str | None:
    """Find samples that have little to do with the labels they were asked for, and do not come closer to them."""
    now = history[-1]
    if now.label_agreement is None:
        return None
    guessing = 1.0 / max(now.regions, 1)
    low = now.label_agreement < guessing + IGNORED_LABELS * (1.0 - guessing)
    if not low or not _stays(history, "label_agreement"):
        return None
    return (
        f"The generated samples show the labels that they were asked for only {now.label_agreement:.0%} as often as "
        f"real samples do (guessing: {guessing:.0%}), and not more often than before."
    )


def low_precision(history: History) -> str | None:
    """Find samples that are unlike the data, and do not come closer to them."""
    now = history[-1]
    if not _stays_low(history, "precision"):
        return None
    return (
        f"The generated samples are unlike the data: {now.precision:.0%} as many as of other real samples lie among "
        "real ones, and not more than before."
    )


def low_recall(history: History) -> str | None:
    """Find samples that leave out much of the data, and do not cover more of it."""
    now = history[-1]
    if not _stays_low(history, "recall"):
        return None
    return (
        f"The generated samples lack much of the data's variety or detail: {now.recall:.0%} as many real samples lie "
        "among them as among other real ones, and not more than before."
    )


def _stays_low(history: History, name: Literal["precision", "recall"]) -> bool:
    """Say whether precision or recall is low at the last look, and has not grown."""
    value: float | None = getattr(history[-1], name)
    return value is not None and value < LOW_LIKENESS and _stays(history, name)


def _stays(history: History, name: str) -> bool:
    """Say whether a share has not grown over the last looks, or since the first one, of fully grown networks."""
    grown = [item for item in history if not item.growing]
    if history[-1].growing or len(grown) < FIRST_LOOKS:
        return False
    recent = [value for item in grown[-1 - GAIN_WINDOW :] if (value := getattr(item, name)) is not None]
    return len(recent) > 1 and recent[-1] <= recent[0] + GAINED * (len(recent) - 1) / GAIN_WINDOW
