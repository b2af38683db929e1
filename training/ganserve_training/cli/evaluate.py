"""Measure how good a model's samples are, as a table or JSON: `ganserve evaluate` without ONNX, for runs alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ganserve._command_line.command import BAD_USAGE, DONE, FAILED, Command
from ganserve._command_line.options import UsageError, flag
from ganserve_training.errors import ConfigError, TrainingError
from ganserve_training.evaluation.options import EvaluationOptions
from ganserve_training.run.run_folder import Which

if TYPE_CHECKING:
    from ganserve_training.evaluation.evaluate import FeatureLoader, Subject

PackageOpener: TypeAlias = "Callable[[Path], Subject | None]"
"""Opens an exported model package; None: the path is something else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateArguments:
    """Judge samples of a run or of an exported model package.

    A run's samples come from its averaged generator, and the figures are saved in RUN/metrics.json. A package runs
    through onnxruntime.
    """

    model: Path = flag(positional=True, metavar="MODEL")
    """A run's folder, such as runs/digits, or a model package's: models/digits or models/digits/1."""
    measurement: EvaluationOptions = field(default_factory=EvaluationOptions, metadata={"flat": True})
    """The samples to compare, and the metrics."""
    checkpoint: Which = "auto"
    """Checkpoint of the run. auto: the latest, or the best if the quality declined after it."""
    trust: bool = False
    """Import the classes that a run's configuration names even if you have not trained with them on this machine."""
    json: bool = False
    """Print one JSON object instead of a table."""


def _evaluate(
    arguments: EvaluateArguments, open_package: PackageOpener | None = None, load_features: FeatureLoader | None = None
) -> int:
    if not arguments.model.exists():
        raise UsageError(f"MODEL {arguments.model}: no such folder. Give a run's or a package's, such as runs/digits.")
    # Only now: torch takes seconds, --help and refusals must not.
    from ganserve_training.evaluation.evaluate import evaluate, evaluate_run
    from ganserve_training.evaluation.table import show
    from ganserve_training.run.command_progress import shown_steps

    package = open_package(arguments.model) if open_package else None
    with shown_steps() as steps:
        if package is None:
            evaluation = evaluate_run(
                arguments.model,
                arguments.measurement,
                which=arguments.checkpoint,
                load_features=load_features,
                steps=steps,
                trust=arguments.trust,
            )
        else:
            evaluation = evaluate(package, arguments.measurement, load_features=load_features, steps=steps)
    if arguments.json:
        kind = "run" if package is None else "package"
        sys.stdout.write(json.dumps({kind: str(arguments.model), **evaluation.to_dict()}) + "\n")
    else:
        show(str(arguments.model), evaluation)
    return DONE


def command(
    open_package: PackageOpener | None = None,
    load_features: FeatureLoader | None = None,
    export_error: type[Exception] = TrainingError,
) -> Command:
    """Return the command.

    Args:
        open_package: Opens model packages; ganserve_export has it.
        load_features: Makes features of ONNX files; ganserve_export has it.
        export_error: The error that the two raise.
    """
    return Command(
        name="evaluate",
        arguments=EvaluateArguments,
        action=partial(_evaluate, open_package=open_package, load_features=load_features),
        examples=(
            "ganserve evaluate runs/digits                      # a run: saves the figures in its metrics.json, too",
            "ganserve evaluate models/digits --json             # an exported package, as JSON",
            "ganserve evaluate runs/faces --metrics fid kid --features inception.pt --feature-side-px 299",
        ),
        exit_codes={ConfigError: BAD_USAGE, TrainingError: FAILED, export_error: FAILED},
    )


COMMAND = command()
main = COMMAND.main
