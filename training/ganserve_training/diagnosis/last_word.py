"""Say how a run went and how it stands, in one sentence: from its findings and their ends."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ganserve_training.diagnosis.findings import PERSISTENCE, Finding, Kind
from ganserve_training.diagnosis.sample_rules import LOW_LIKENESS
from ganserve_training.errors import DataError
from ganserve_training.run.logs import read_log
from ganserve_training.run.run_folder import RunFolder

_STATES: dict[Kind, str] = {
    "vanishing-gradients": "with vanishing gradients",
    "no-progress": "without progress",
    "idle-critic": "with a critic that learns nothing",
    "winning-critic": "with a critic that wins",
    "mode-collapse": "in mode collapse",
    "ignored-labels": "with samples that ignore their labels",
    "low-precision": "with samples unlike the data",
    "low-recall": "with samples that lack variety",
    "oscillation": "oscillating",
    "critic-overfitting": "with an overfitting critic",
    "divergence": "diverged",
    "decline": "in decline",
}
"""Ends of runs in which a trouble lasts, the worst first."""
_LAST_LOOKS = 3
"""Looks whose median precision and recall count for the end: a single look varies by a tenth."""
_AS_REAL = 0.85
"""Precision or recall, relative to real samples, from which `ganserve evaluate` calls it good."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Episode:
    """A condition of a run from the step at which it is reported to that at which it is over."""

    finding: Finding
    """The report of its begin."""
    end: Finding | None
    """The report of its end; None: it lasts."""

    @property
    def is_trouble(self) -> bool:
        """Say whether it is one; convergence is none."""
        return self.finding.kind != "convergence"

    @property
    def span(self) -> str:
        """Return its steps in words: "from step 600 to 1,400", or "since step 600"."""
        if self.end is None:
            return f"since step {self.finding.step:,}"
        return f"from step {self.finding.step:,} to {self.end.step:,}"


@dataclass(frozen=True, kw_only=True, slots=True)
class LastWord:
    """The last word of a run's monitor, as last_word.json has it."""

    step: int
    healthy: bool | None
    """True if no trouble lasts and the samples are not far from real ones; None: it is too early to say."""
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form."""
        return asdict(self)


def read_last_word(folder: RunFolder) -> LastWord | None:
    """Return the last word of a run's folder; for a run that has not ended, a word about it so far.

    None: the monitor has not looked.

    Raises:
        ConfigError: config.json is not a configuration.
        DataError: Another file is damaged.
    """
    config, log, written = folder.read_config(), read_log(folder.log), _written(folder.last_word)
    step = int(log[-1]["step"]) if log else 0
    if written is not None and written.step >= step:  # Else the run trains longer.
        return written
    looks = read_log(folder.observations)
    findings = [Finding(**record) for record in read_log(folder.diagnosis)]
    if config is None or not log or not (looks or findings):
        return None
    cures = read_log(folder.cures)
    return last_word(step, looks, findings, cures, ended=step >= config.steps)  # Older versions wrote no last word.


def _written(path: Path) -> LastWord | None:
    try:
        return LastWord(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged: delete it") from error


def episodes(findings: Sequence[Finding]) -> list[Episode]:
    """Return what findings tell, oldest first: each begin with its end."""
    made: list[Episode] = []
    for finding in findings:
        if not finding.over:
            made.append(Episode(finding=finding, end=None))
            continue
        for place, episode in enumerate(made):
            if episode.finding.kind == finding.kind and episode.end is None:
                made[place] = Episode(finding=episode.finding, end=finding)
    return made


def last_word(
    step: int,
    looks: Sequence[Mapping[str, Any]],
    findings: Sequence[Finding],
    cures: Sequence[Mapping[str, Any]] = (),
    *,
    ended: bool = True,
) -> LastWord:
    """Return the last word about a run at `step`; `ended`: it trains no more.

    `looks` are the lines of observations.jsonl, `cures` those of cures.jsonl.
    """
    verb = "Ends" if ended else "So far"
    told = episodes(findings)
    if not told and len(looks) < PERSISTENCE:
        often = "once" if len(looks) == 1 else f"{len(looks)} times"
        needs = f"the monitor looked {often}, and needs {PERSISTENCE} looks"
        return LastWord(step=step, healthy=None, sentence=f"{verb} unjudged: {needs}.")
    troubles = [episode for episode in told if episode.is_trouble]
    lasting: dict[Kind, Episode] = {}
    for episode in troubles:
        if episode.end is None:
            lasting.setdefault(episode.finding.kind, episode)
    converged = next((item for item in told if not item.is_trouble and item.end is None), None)
    shares = _short_of_real(looks)
    short = " and ".join(f"{share:.0%} of the {name}" for name, share in shares.items())
    unlike = converged is None and any(share < LOW_LIKENESS for share in shares.values())
    if lasting:
        kinds = [kind for kind in _STATES if kind in lasting]
        state = " and ".join(f"{_STATES[kind]} {lasting[kind].span}" for kind in kinds)
    elif unlike:
        state = f"with {short} of real samples"
    else:
        state = "healthy" if converged is None else f"healthy, converged {converged.span}"
        state += f", with {short} of real samples" if short else ""
    past = [f"{item.finding.kind.replace('-', ' ')} {item.span}" for item in troubles if item.end is not None]
    counts = Counter(f"{cure['kind'].replace('-', ' ')} at step {cure['step']:,}" for cure in cures)
    healed = [f"{what} ({count} times)" if count > 1 else what for what, count in counts.items()]
    parts = [f"{verb} {state}", ", ".join(past), f"healed of {' and '.join(healed)}" if healed else ""]
    sentence = "; ".join(filter(None, parts))
    healthy = False if lasting or (unlike and ended) else None if unlike else True
    return LastWord(step=step, healthy=healthy, sentence=f"{sentence}.")


def _short_of_real(looks: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return precision and recall of the last looks where real samples have clearly more."""
    short = {}
    for name in ("precision", "recall"):
        values = [value for look in looks[-_LAST_LOOKS:] if isinstance(value := look.get(name), float)]
        if values and median(values) < _AS_REAL:
            short[name] = median(values)
    return short
