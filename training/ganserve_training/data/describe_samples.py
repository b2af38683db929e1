"""Describe the samples of a run in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganserve_training.data.labels import printable

if TYPE_CHECKING:
    from ganserve_training.data.config import DataConfig
    from ganserve_training.data.samples import Samples

_NAMED = 6


def describe_samples(training: Samples, config: DataConfig) -> str:
    """Return one line about the training samples, the held-out ones, and the files that were skipped."""
    info, origin = training.info, training.origin
    what = f"{'image' if info.is_image else 'vector'}{'' if len(training) == 1 else 's'}"
    names = info.label_names
    labels = f" of {len(names):,} label{'' if len(names) == 1 else 's'} ({_listed(names)})" if names else ""
    held_out = f", {origin.total - len(training):,} held out" if origin.total else ""
    how = origin.in_words(ignoring_labels=config.labels == "ignore")
    passed_over = "; ".join(map(str, origin.passed_over))
    return (
        f"data: {len(training):,} {what}{labels} to learn from{held_out}; {config}{f', {how}' if how else ''}."
        f"{f' Passed over: {passed_over}.' if passed_over else ''}"
    )


def _listed(names: tuple[str, ...]) -> str:
    names = tuple(map(printable, names))
    return ", ".join(names) if len(names) <= _NAMED else f"{', '.join(names[: _NAMED - 2])}, … {names[-1]}"
