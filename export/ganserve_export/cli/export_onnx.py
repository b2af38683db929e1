"""`ganserve export-onnx`: a training run -> a verified model package."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from ganserve._command_line import UsageError, parse
from ganserve_export.cli.wording import describe_difference, describe_ranking
from ganserve_export.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ganserve_export.from_run.export import Exported

PROG = "ganserve export-onnx"
DESCRIPTION = """Export a checkpoint of a training run as the next version of a model.

The generator (EMA weights) and the critic become ONNX graphs with their pre- and post-processing inside, are compared
with PyTorch on fresh random inputs, and are published whole or not at all. Parametrizations, fades and batch statistics
are folded or frozen; a packed critic, which judges several samples together, is left out. Networks of your own are
imported again: export where you trained, with the same PYTHONPATH."""
_EXAMPLES = (
    "ganserve export-onnx runs/digits --out models/digits",
    "ganserve export-onnx runs/faces --out models/faces --checkpoint best --generator-only --json",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Options of the command."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the training run."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="PATH")]
    """The model's folder, <repository>/<name>; the package becomes <out>/<next version>."""
    checkpoint: Literal["auto", "latest", "best"] = "auto"
    """Which of the run's checkpoints. auto: the latest, but the best where the quality declined after it."""
    generator_only: bool = False
    """Leave the critic out: the server then cannot score."""
    precision: Literal["float32", "float16"] = "float32"
    """What the networks compute in. float16 is half as large and, on GPUs, faster; it is slower on CPUs."""
    json: bool = False
    """Print the result as JSON."""


def main(argv: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    try:
        options = parse(
            Options,
            argv,
            PROG,
            examples=_EXAMPLES,
            description=DESCRIPTION,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
        # Only now: torch and onnxruntime take seconds, --help must not.
        from ganserve_export.from_run.export import export_run
        from ganserve_training.run.progress_bar import shown_steps

        with shown_steps() as steps:
            exported = export_run(
                options.run,
                options.out,
                checkpoint=options.checkpoint,
                generator_only=options.generator_only,
                precision=options.precision,
                steps=steps,
            )
    except UsageError as error:
        sys.stderr.write(f"{PROG}: error: {error}\n")
        return 2
    except ExportError as error:
        sys.stderr.write(f"{PROG}: error: {error}\n")
        return 1 if options.run.exists() else 2
    except KeyboardInterrupt:
        sys.stderr.write(f"{PROG}: interrupted; nothing was published\n")
        return 130
    sys.stdout.write(_as_json(exported) if options.json else _as_text(exported))
    return 0


def _as_json(exported: Exported) -> str:
    return json.dumps(dataclasses.asdict(exported), indent=2, default=str) + "\n"


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
    if exported.calibration is not None:
        lines.append(f"the critic {describe_ranking(exported.calibration)}")
    elif exported.critic is not None:
        lines.append(
            f"the critic is not calibrated, as fewer than {MIN_SAMPLES} real samples are held out: its probabilities "
            "are sigmoid(score); train with more data, or more of --data.held-out-fraction"
        )
    else:
        lines.append(f"without its critic, so the server cannot score: {exported.critic_absence}")
    return "\n".join([*lines, f"published {exported.folder}\n"])
