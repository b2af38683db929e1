"""`ganserve evaluate`: how good a model's samples are, as a table or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import tyro

from ganserve_training.cli.flags import in_flags
from ganserve_training.cli.parsing import parse
from ganserve_training.errors import ConfigError, TrainingError
from ganserve_training.evaluation.options import EvaluationOptions
from ganserve_training.run.folder import Which

if TYPE_CHECKING:
    from ganserve_training.evaluation.evaluate import FeatureLoader
    from ganserve_training.evaluation.subjects import Subject

PackageOpener: TypeAlias = "Callable[[Path], Subject | None]"
"""Opens an exported model package; None: the path is none."""

_EXAMPLES = (
    "ganserve evaluate runs/digits                      # a run: the figures are saved in its metrics.json, too",
    "ganserve evaluate models/digits --json             # an exported package, as JSON",
    "ganserve evaluate runs/faces --metrics fid kid --features inception.pt --feature-side-px 299",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateArguments:
    """What to judge."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run's folder, such as runs/digits, or a model package's: models/digits or models/digits/1."""
    measurement: Annotated[EvaluationOptions, tyro.conf.OmitArgPrefixes]
    """What to compare with what."""
    checkpoint: Which = "auto"
    """Which of a run's checkpoints. auto: the latest, but the best where the quality declined after it."""
    json: bool = False
    """Print one JSON object instead of a table."""


def main(
    argv: Sequence[str],
    *,
    open_package: PackageOpener = lambda path: None,  # noqa: ARG005
    load_features: FeatureLoader | None = None,
) -> int:
    """Run the command; returns its exit status.

    Args:
        argv: The command's arguments.
        open_package: Opens model packages; ganserve_export has it.
        load_features: Makes features of ONNX files; ganserve_export has it.
    """
    try:
        arguments = parse(
            EvaluateArguments,
            argv,
            "ganserve evaluate",
            description="Judge samples of a run's averaged generator, and save the figures in RUN/metrics.json; or "
            "judge those of an exported model package, through onnxruntime.",
            examples=_EXAMPLES,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
        # Only now: torch takes seconds, --help and refusals must not.
        from ganserve_training.evaluation.evaluate import evaluate, evaluate_run
        from ganserve_training.evaluation.table import show
        from ganserve_training.run.progress_bar import shown_steps

        package = open_package(arguments.model)
        with shown_steps() as steps:
            if package is None:
                evaluation = evaluate_run(
                    arguments.model,
                    arguments.measurement,
                    which=arguments.checkpoint,
                    load_features=load_features,
                    steps=steps,
                )
            else:
                evaluation = evaluate(package, arguments.measurement, load_features=load_features, steps=steps)
    except BrokenPipeError:
        raise  # Whoever read the output has seen enough; the command line ends quietly.
    except (TrainingError, OSError) as error:
        sys.stderr.write(f"ganserve evaluate: error: {in_flags(str(error), EvaluationOptions)}\n")
        return 2 if isinstance(error, ConfigError) or not arguments.model.exists() else 1
    except KeyboardInterrupt:
        return 130
    if arguments.json:
        kind = "run" if package is None else "package"
        sys.stdout.write(json.dumps({kind: str(arguments.model), **evaluation.to_dict()}) + "\n")
    else:
        show(str(arguments.model), evaluation)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
