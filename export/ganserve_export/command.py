"""`ganserve export-onnx`: a training run -> a verified model package."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from ganserve_export._errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ganserve_export.exporter import Exported

PROG = "ganserve export-onnx"
DESCRIPTION = """Export the latest checkpoint of a training run as the next version of a model.

The generator (EMA weights) and the critic become ONNX graphs with their pre- and post-processing inside, are compared
with PyTorch on fresh random inputs, and are published whole or not at all.

Example: ganserve export-onnx runs/digits --out models/digits"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Options of the command."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of the training run."""
    out: Path
    """The model's folder, <repository>/<name>; the package becomes <out>/<next version>."""
    json: bool = False
    """Print the result as JSON."""


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    options = tyro.cli(Options, args=argv, prog=PROG, description=DESCRIPTION, config=(tyro.conf.FlagCreatePairsOff,))
    try:
        # Only now: torch and onnxruntime take seconds, --help must not.
        from ganserve_export.exporter import export_run

        exported = export_run(options.run, options.out)
    except ExportError as error:
        sys.stderr.write(f"{PROG}: error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(f"{PROG}: interrupted; nothing was published\n")
        return 130
    sys.stdout.write(_as_json(exported) if options.json else _as_text(exported))
    return 0


def _as_json(exported: Exported) -> str:
    return json.dumps(dataclasses.asdict(exported), indent=2, default=str) + "\n"


def _as_text(exported: Exported) -> str:
    generator, critic, calibration = exported.generator, exported.critic, exported.calibration
    batches = ", ".join(map(str, generator.batch_sizes))
    if calibration.informative:
        ranking = f"ranks held-out real samples above generated ones {calibration.auc:.0%} of the time (chance 50%)"
    else:
        ranking = (
            "does not rank held-out real samples above generated ones: all probabilities are 0.5 "
            "(it has trained too little, or has overfitted)"
        )
    return (
        f"{exported.name} version {exported.version}, from step {exported.step:,}\n"
        f"verified against PyTorch on random inputs at batch {batches}; largest differences:\n"
        f"  generator  {generator.largest:g} of 255 levels, in {generator.share:.3%} of the values "
        f"(allowed {generator.tolerance:g})\n"
        f"  critic     {critic.largest:.1e} (allowed {critic.tolerance:.1e})\n"
        f"the critic {ranking}\n"
        f"published {exported.folder}\n"
    )
