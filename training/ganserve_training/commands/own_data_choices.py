"""Choose size, channels and labels from facts about a user's data, and say why."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ganserve_training.config.data_rules import FEW_SAMPLES
from ganserve_training.data.labels import printable
from ganserve_training.data.survey import Survey
from ganserve_training.run.time_estimate import in_words

MOST_SECONDS = 600.0
"""Time of a whole run that is short enough for a first look."""
SMALLEST_SIDE, LARGEST_SIDE = 8, 64
_LARGEST_OF_FEW = 32
_LARGEST_OF_UNKNOWN = 32
"""Where the time is not known."""
_ALWAYS = 16
"""Sides up to this are chosen without a look at the time."""
_LEAST_OF_A_LABEL = 10
_ALMOST_NONE = 50
"""Pictures below which a generator learns little but these."""
_NAMED = 8
_ALPHA = ("gray-alpha", "rgba")


@dataclass(frozen=True, slots=True)
class Choice:
    """A value for an option, and what to say about it."""

    option: str
    value: str
    words: str


def choose_size(found: Survey, seconds: Callable[[int], float | None]) -> Choice:
    """Return the side of the pictures that networks see: a power of two near theirs, as large as the time allows.

    Args:
        found: The data.
        seconds: Returns the time that a run takes with pictures of this side; None: unknown.
    """
    # The nearest on a logarithmic scale: 28 -> 32, 22 -> 16, 100 -> 128, of which 64 is chosen.
    side = min(LARGEST_SIDE, max(SMALLEST_SIDE, 2 ** round(math.log2(found.middle_side))))
    why = ""
    if side > _LARGEST_OF_FEW and found.count < FEW_SAMPLES:
        side, why = _LARGEST_OF_FEW, f", as {found.count:,} pictures are few"
    while side > _ALWAYS:
        needed = seconds(side)
        if needed is None:
            side = min(side, _LARGEST_OF_UNKNOWN)
            break
        if needed <= MOST_SECONDS:
            break
        why = f", as a run of usual length at {side} x {side} would take about {in_words(needed)} here"
        side //= 2
    return Choice("--data.size", str(side), f"{side} x {side} pixels{why}")


def choose_channels(found: Survey) -> Choice:
    """Return the channels that networks see: colours if any picture has them, and alpha laid over white."""
    name = "rgb" if {"rgb", "rgba"} & set(found.channels) else "gray"
    alpha = sum(found.channels[kind] for kind in _ALPHA)
    words = f"{name}, transparent parts over white" if alpha else name
    return Choice("--data.channels", name, words)


def choose_labels(found: Survey) -> Choice:
    """Return whether to use the labels."""
    few = found.labels and (not found.can_split or found.count / len(found.labels) < _LEAST_OF_A_LABEL)
    if found.label_problem:
        why = f"without labels, as {found.label_problem}"
    elif not found.labels:
        why = "without labels"
    elif len(found.labels) == 1:
        why = f"without labels, as all have the same, {printable(next(iter(found.labels)))}"
    elif few:
        why = f"without labels, as {len(found.labels):,} are too many for {found.count:,} {_samples(found)}"
    else:
        return Choice("--data.labels", "use", "by label")
    return Choice("--data.labels", "ignore", why)


def describe(found: Survey) -> str:
    """Return one line about what was found."""
    parts = [f"{found.count:,} {_samples(found)}"]
    if found.labels:
        count = len(found.labels)
        parts[0] += f" of {count:,} label{'' if count == 1 else 's'} ({_counted(found.labels)})"
    if found.how:
        parts.append(found.how)
    if found.values:
        parts.append(f"{found.values:,} values each")
    else:
        low, high = found.sides[0], found.sides[-1]
        span = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        parts.append(f"{span} pixel{'' if high == 1 else 's'} on the shorter side")
        kinds = found.channels.most_common()
        parts.append(kinds[0][0] if len(kinds) == 1 else ", ".join(f"{count:,} {name}" for name, count in kinds))
    if found.bad is not None:
        parts.append(f"{len(found.bad.files):,} more can't be read")
    if found.count < _ALMOST_NONE and not found.values:
        parts.append("so few that samples will be near copies of them")
    return f"found: {'; '.join(parts)}."


def _samples(found: Survey) -> str:
    return f"{'vector' if found.values else 'picture'}{'' if found.count == 1 else 's'}"


def _counted(labels: dict[str, int]) -> str:
    if len(labels) <= _NAMED:
        return ", ".join(f"{printable(name)} {count:,}" for name, count in labels.items())
    names, low, high = list(map(printable, labels)), min(labels.values()), max(labels.values())
    return f"{', '.join(names[:3])}, … {names[-1]}; {f'{low:,}' if low == high else f'{low:,} to {high:,}'} each"
