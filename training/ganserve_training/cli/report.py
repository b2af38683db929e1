"""`ganserve report`: one page about a run, for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ganserve_training.cli.parsing import parse
from ganserve_training.errors import ConfigError, TrainingError

_EXAMPLES = ("ganserve report runs/digits", "ganserve report runs/digits --out digits.html --json")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportArguments:
    """Of which run, and where to."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder, such as runs/digits; it may still be training."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="FILE.html")] = None
    """The file. Without it, report.html in the run's folder."""
    json: bool = False
    """Print what was written as JSON."""


def main(argv: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    try:
        arguments = parse(
            ReportArguments,
            argv,
            "ganserve report",
            description="Write one self-contained HTML page: samples over time, curves with their diagnoses, metrics.",
            examples=_EXAMPLES,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
        # Only now: torch and plotly take seconds, --help and refusals must not.
        from ganserve_training.report import write_report
        from ganserve_training.run.progress_bar import shown_steps

        with shown_steps() as steps:
            path = write_report(arguments.run, arguments.out, steps=steps)
    except BrokenPipeError:
        raise  # Whoever read the output has seen enough; the command line ends quietly.
    except (TrainingError, OSError) as error:
        sys.stderr.write(f"ganserve report: error: {error}\n")
        return 2 if isinstance(error, ConfigError) or not arguments.run.exists() else 1
    except KeyboardInterrupt:
        return 130
    if arguments.json:
        facts = {"run": str(arguments.run), "report": str(path), "bytes": path.stat().st_size}
        sys.stdout.write(json.dumps(facts) + "\n")
    else:
        sys.stdout.write(f"{path}: {path.stat().st_size / 1e6:.1f} MB, opens in any browser\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
