"""The command `ganserve report`: write one web page about a run."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from ganserve._command_line.command import BAD_USAGE, DONE, FAILED, Command
from ganserve._command_line.options import UsageError, flag
from ganserve_training.errors import ConfigError, TrainingError


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportArguments:
    """Write one self-contained HTML page: samples over time, curves with their diagnoses, metrics."""

    run: Path = flag(positional=True, metavar="RUN")
    """The run's folder, such as runs/digits; it may still be training."""
    out: Path | None = flag(None, aliases=("-o",), metavar="FILE.html")
    """The file. Without it, report.html in the run's folder."""
    json: bool = False
    """Print what was written as JSON."""


def _report(arguments: ReportArguments) -> int:
    if not arguments.run.exists():
        raise UsageError(f"RUN {arguments.run}: no such folder. Give a run's, such as runs/digits.")
    # Only now: torch and plotly take seconds, --help and refusals must not.
    from ganserve_training.report import write_report
    from ganserve_training.run.command_progress import shown_steps

    with shown_steps() as steps:
        path = write_report(arguments.run, arguments.out, steps=steps)
    if arguments.json:
        facts = {"run": str(arguments.run), "report": str(path), "bytes": path.stat().st_size}
        sys.stdout.write(json.dumps(facts) + "\n")
    else:
        sys.stdout.write(f"{path}: {path.stat().st_size / 1e6:.1f} MB, opens in any browser\n")
    return DONE


COMMAND = Command(
    name="report",
    arguments=ReportArguments,
    action=_report,
    examples=("ganserve report runs/digits", "ganserve report runs/digits --out digits.html --json"),
    exit_codes={ConfigError: BAD_USAGE, TrainingError: FAILED},
)
main = COMMAND.main
