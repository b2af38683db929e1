"""``ganserve report``: one page about a run, for people."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ganserve_training.command_line import parse
from ganserve_training.errors import ConfigError, TrainingError
from ganserve_training.report import write_report


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportArguments:
    """Of which run, and where to."""

    run: Annotated[Path, tyro.conf.Positional]
    """The run's folder, such as runs/digits; it may still be training."""
    out: Path | None = None
    """The file; by default report.html in the run's folder."""


def main(argv: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    try:
        arguments = parse(
            ReportArguments,
            argv,
            "ganserve report",
            description="Write one self-contained HTML page: samples over time, curves with their diagnoses, metrics.",
        )
        path = write_report(arguments.run, arguments.out)
    except BrokenPipeError:
        raise  # Whoever read the output has seen enough; the command line ends quietly.
    except (TrainingError, OSError) as error:
        sys.stderr.write(f"ganserve report: error: {error}\n")
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        return 130
    sys.stdout.write(f"{path}: {path.stat().st_size / 1e6:.1f} MB, opens in any browser\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
