"""The command `ganserve export-onnx`: export a run as a verified model package."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ganserve._command_framework.command import Command
from ganserve._command_framework.options import UsageError, flag
from ganserve._command_framework.process import BAD_USAGE, DONE, FAILED
from ganserve_export.commands.wording import as_json, describe_difference, describe_ranking
from ganserve_export.errors import BadUsageError, ExportError

if TYPE_CHECKING:
    from ganserve_export.from_run.export import Exported


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Export a checkpoint of a training run as the next version of a model.

    The generator (EMA weights) and the critic become ONNX graphs with their pre- and post-processing inside. Export
    compares them with PyTorch on fresh random inputs and publishes all of the package or nothing. It folds or freezes
    parametrizations, fades and batch statistics, and leaves out a packed critic, which judges several samples together.
    It imports networks of your own again: export where you trained, with the same PYTHONPATH, or add --trust.
    """

    run: Path = flag(positional="RUN")
    """Folder of the training run."""
    out: Path = flag(aliases=("-o",))
    """The model's folder, <repository>/<name>; the package becomes <out>/<next version>."""
    checkpoint: Literal["auto", "latest", "best"] = "auto"
    """Checkpoint of the run. auto: the latest, or the best if the quality declined after it."""
    data: str | None = None
    """The place of the data, if they were moved since training; their held-out part calibrates the critic."""
    generator_only: bool = False
    """Leave the critic out: the server then cannot score."""
    precision: Literal["float32", "float16"] = "float32"
    """Number format of the networks. float16 is half as large and faster on GPUs, but slower on CPUs."""
    trust: bool = False
    """Import the classes that the run's configuration names even if you have not trained with them on this machine."""
    json: bool = False
    """Print the result as JSON."""


def _export(options: Options) -> int:
    if not options.run.exists():
        raise UsageError(f"RUN {options.run}: no such folder. Give a run's, such as runs/digits.")
    # Only now: torch and onnxruntime take seconds, --help must not.
    from ganserve_export.from_run.export import export_run
    from ganserve_training.run.command_progress import shown_steps

    with shown_steps() as steps:
        exported = export_run(
            options.run,
            options.out,
            checkpoint=options.checkpoint,
            data=options.data,
            generator_only=options.generator_only,
            precision=options.precision,
            steps=steps,
            trust=options.trust,
        )
    sys.stdout.write(as_json(exported) if options.json else _as_text(exported))
    return DONE


def _as_text(exported: Exported) -> str:
    from ganserve_export.package.calibration import MIN_SAMPLES

    batches = ", ".join(map(str, exported.generator.batch_sizes))
    lines = [
        f"{exported.name} version {exported.version}, from step {exported.step:,}",
        *([f"the networks compute in {exported.precision}"] if exported.precision != "float32" else []),
        f"verified against PyTorch on random inputs at batch {batches}; largest differences:",
        f"  generator  {describe_difference(exported.generator)}",
    ]
    if exported.critic is not None:
        lines.append(f"  critic     {describe_difference(exported.critic)}")
    if exported.typicality is not None:
        lines.append(f"  typicality {describe_difference(exported.typicality)}")
    if exported.calibration is not None:
        lines.append(f"the critic {describe_ranking(exported.calibration)}")
    elif exported.critic is not None:
        lines.append(
            f"the critic is not calibrated, as fewer than {MIN_SAMPLES} real samples are held out: its probabilities "
            "are sigmoid(score); train with more data, or more of --data.held-out-fraction"
        )
    else:
        lines.append(f"without its critic, so the server cannot score: {exported.critic_absence}")
    if exported.metrics_problem:
        lines.append(f"without the figures of `ganserve evaluate`: {exported.metrics_problem}")
    if exported.truncation_absence:
        lines.append(f"truncation is refused: {exported.truncation_absence}")
    return "\n".join([*lines, f"published {exported.folder}\n"])


COMMAND = Command(
    name="export-onnx",
    arguments=Options,
    action=_export,
    examples=(
        "ganserve export-onnx runs/digits --out models/digits",
        "ganserve export-onnx runs/faces --out models/faces --checkpoint best --generator-only --json",
    ),
    exit_codes={BadUsageError: BAD_USAGE, ExportError: FAILED},
    interrupted="interrupted; nothing was published",
)
main = COMMAND.main
