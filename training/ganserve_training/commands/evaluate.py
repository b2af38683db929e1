"""Measure how good a model's samples are, as a table or JSON: `ganserve evaluate` without ONNX, for runs alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ganserve._command_framework.command import Command
from ganserve._command_framework.options import UsageError, flag
from ganserve._command_framework.process import BAD_USAGE, DONE, FAILED
from ganserve_training.errors import ConfigError, TrainingError
from ganserve_training.evaluation.options import EvaluationOptions
from ganserve_training.run.run_folder import Which

if TYPE_CHECKING:
    from ganserve_training.evaluation.evaluate import Subject
    from ganserve_training.evaluation.yardsticks import FeatureLoader

PackageOpener: TypeAlias = "Callable[[Path], Subject | None]"
"""Opens an exported model package; None: the path is something else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateArguments(EvaluationOptions):
    """Judge samples of runs or of exported model packages, one or several side by side.

    A run's samples come from its averaged generator, and the figures are saved in RUN/metrics.json. A package runs
    through onnxruntime.
    """

    models: tuple[Path, ...] = flag(positional="MODEL")
    """Folders of runs, such as runs/digits, or of model packages: models/digits or models/digits/1."""
    checkpoint: Which = "auto"
    """Checkpoint of a run. auto: the latest, or the best if the quality declined after it."""
    trust: bool = False
    """Import the classes that a run's configuration names even if you have not trained with them on this machine."""
    json: bool = False
    """Print one JSON object instead of a table."""


def _evaluate(
    arguments: EvaluateArguments, open_package: PackageOpener | None = None, load_features: FeatureLoader | None = None
) -> int:
    for model in arguments.models:
        if not model.exists():
            raise UsageError(f"MODEL {model}: no such folder. Give a run's or a package's, such as runs/digits.")
    # Only now: torch takes seconds, --help and refusals must not.
    from ganserve_training.evaluation.evaluate import evaluate, evaluate_run
    from ganserve_training.evaluation.show import show
    from ganserve_training.evaluation.table import Named
    from ganserve_training.evaluation.yardsticks import Yardsticks
    from ganserve_training.run.command_progress import shown_steps

    options = EvaluationOptions(**{item.name: getattr(arguments, item.name) for item in fields(EvaluationOptions)})
    yardsticks = Yardsticks(options, load_features)
    found: list[tuple[str, Named]] = []
    for model in arguments.models:
        package = open_package(model) if open_package else None
        with shown_steps() as steps:
            if package is None:
                evaluation = evaluate_run(
                    model,
                    options,
                    which=arguments.checkpoint,
                    steps=steps,
                    yardsticks=yardsticks,
                    trust=arguments.trust,
                )
            else:
                evaluation = evaluate(package, options, steps=steps, yardsticks=yardsticks)
        found.append(("run" if package is None else "package", Named(str(model), evaluation)))
    if arguments.json:
        facts = [{kind: model.name, **model.evaluation.to_dict()} for kind, model in found]
        sys.stdout.write(json.dumps(facts[0] if len(facts) == 1 else {"models": facts}, allow_nan=False) + "\n")
    else:
        show([model for _, model in found])
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
            "ganserve evaluate runs/a runs/b models/c           # side by side",
            "ganserve evaluate runs/faces --metrics fid kid --features inception.pt --feature-side-px 299",
        ),
        exit_codes={ConfigError: BAD_USAGE, TrainingError: FAILED, export_error: FAILED},
    )


COMMAND = command()
main = COMMAND.main
