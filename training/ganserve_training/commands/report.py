"""The command `ganserve report`: write one web page about a run, or about several."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from ganserve._command_framework.command import Command
from ganserve._command_framework.options import UsageError, flag
from ganserve._command_framework.process import BAD_USAGE, DONE, FAILED
from ganserve_training.errors import ConfigError, TrainingError


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportArguments:
    """Write one self-contained HTML page about a run, or about several side by side.

    A run's page has samples over time beside real ones, curves with their diagnoses, and metrics. A page of several has
    their metrics, samples of the same seed, curves and differing options.
    """

    runs: tuple[Path, ...] = flag(positional="RUN")
    """Folders of runs, such as runs/digits; they may still be training."""
    out: Path | None = flag(None, aliases=("-o",), metavar="FILE.html")
    """The file. Without it, report.html in the run's folder, or comparison.html in this folder for several runs."""
    json: bool = False
    """Print what was written as JSON."""


def _report(arguments: ReportArguments) -> int:
    for run in arguments.runs:
        if not run.exists():
            raise UsageError(f"RUN {run}: no such folder. Give a run's, such as runs/digits.")
    # Only now: torch and plotly take seconds, --help and refusals must not.
    from ganserve_training.report import write_comparison, write_report
    from ganserve_training.run.command_progress import shown_steps

    with shown_steps() as steps:
        if len(arguments.runs) == 1:
            path = write_report(arguments.runs[0], arguments.out, steps=steps)
        else:
            path = write_comparison(arguments.runs, arguments.out, steps=steps)
    if arguments.json:
        names = [str(run) for run in arguments.runs]
        facts = {"run": names[0]} if len(names) == 1 else {"runs": names}
        sys.stdout.write(json.dumps({**facts, "report": str(path), "bytes": path.stat().st_size}) + "\n")
    else:
        sys.stdout.write(f"{path}: {path.stat().st_size / 1e6:.1f} MB, opens in any browser\n")
    return DONE


COMMAND = Command(
    name="report",
    arguments=ReportArguments,
    action=_report,
    examples=(
        "ganserve report runs/digits",
        "ganserve report runs/digits --out digits.html --json",
        "ganserve report runs/a runs/b        # side by side, in comparison.html",
    ),
    exit_codes={ConfigError: BAD_USAGE, TrainingError: FAILED},
)
main = COMMAND.main
