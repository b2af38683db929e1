"""The command `ganserve import`: package the weights of a StyleGAN2 that other code trained."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ganserve._command_framework.command import Command
from ganserve._command_framework.options import UsageError, flag
from ganserve._command_framework.process import BAD_USAGE, DONE, FAILED
from ganserve_export.commands.package import read_labels
from ganserve_export.commands.wording import as_json, describe_difference, describe_ranking
from ganserve_export.errors import BadUsageError, ExportError

if TYPE_CHECKING:
    from ganserve_export.from_weights.import_weights import Imported


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Make the next version of a model from the weights of a StyleGAN2 that other code trained.

    The command reads network pickles (.pkl) of stylegan2-ada-pytorch and stylegan3, and checkpoints (.pt) of
    rosinality/stylegan2-pytorch and lucidrains/stylegan2-pytorch. It runs no code in them, and refuses a file that
    holds more than weights. It loads the weights into ganserve's own networks, compares those with a second
    implementation in NumPy, and verifies the graphs like those of every package. Requests can use truncation in W,
    style mixing and noise.
    """

    file: Path = flag(positional="FILE")
    """The network pickle or checkpoint."""
    out: Path | None = flag(None, aliases=("-o",))
    """The model's folder, <repository>/<name>; the package becomes <out>/<next version>."""
    as_run: Path | None = flag(None, metavar="RUN")
    """Write a training run with these weights, to continue training on --data. Without --out, write no package."""
    labels: str | None = flag(None, metavar="A,B,…|FILE|COUNT")
    """Names of the labels in the order of their indices, if the network takes labels: a,b,c, or a text file with one a
    line. Default: 0, 1, 2 and so on."""
    truncation: float | None = flag(None, metavar="PSI")
    """Truncation psi for requests that set none, 0 to 1, such as 0.7. Default: 1, no truncation."""
    data: str | None = flag(None, metavar="SOURCE|PATH")
    """Real data to calibrate the critic's probabilities and to learn what is typical. Default: sigmoid of the score.
    With --as-run, the data to train on."""
    generator_only: bool = False
    """Leave the critic out: the server then cannot score."""
    json: bool = False
    """Print the result as JSON."""


def _import(options: Options) -> int:
    if not options.file.exists():
        raise UsageError(f"FILE {options.file}: no such file. Give a network pickle or a checkpoint.")
    if options.out is None and options.as_run is None:
        raise UsageError("--out: missing. Give the model's folder, such as models/faces, or --as-run RUN.")
    if options.as_run is not None and (options.data is None or options.generator_only):
        raise UsageError(
            f"--as-run {options.as_run}: training needs --data and the critic. Give --data PATH, without "
            "--generator-only."
        )
    label_names = () if options.labels is None else read_labels(options.labels)
    # Only now: torch and onnxruntime take seconds, --help must not.
    from ganserve_export.from_weights.import_weights import ImportOptions, import_weights
    from ganserve_training.run.command_progress import shown_steps

    choices = ImportOptions(
        label_names=label_names,
        generator_only=options.generator_only,
        data=options.data,
        truncation=options.truncation,
    )
    if options.as_run is not None:
        from ganserve_export.from_weights.as_run import import_as_run

        assert options.data is not None
        with shown_steps() as steps:
            begun = import_as_run(options.file, options.as_run, options.data, steps)
        text = f"{begun.run} begins with the weights of {options.file.name}. Go on training:\n  {begun.command}\n"
        sys.stdout.write(as_json(begun) if options.json and options.out is None else "" if options.json else text)
    if options.out is not None:
        with shown_steps() as steps:
            imported = import_weights(options.file, options.out, choices, steps)
        sys.stdout.write(as_json(imported) if options.json else _as_text(imported, options))
    return DONE


def _as_text(imported: Imported, options: Options) -> str:
    batches = ", ".join(map(str, imported.generator.batch_sizes))
    lines = [
        f"{imported.name} version {imported.version}, from {options.file.name} ({imported.origin})",
        f"  {imported.networks}",
        f"the networks agree with their NumPy form to {imported.numpy_difference:.1e} of their values",
        f"verified against PyTorch on random inputs at batch {batches}; largest differences:",
        f"  generator  {describe_difference(imported.generator)}",
    ]
    if imported.critic is not None:
        lines.append(f"  critic     {describe_difference(imported.critic)}")
    if imported.typicality is not None:
        lines.append(f"  typicality {describe_difference(imported.typicality)}")
    if imported.calibration is not None:
        lines.append(f"the critic {describe_ranking(imported.calibration)}")
    elif imported.critic is not None:
        lines.append("probabilities are sigmoid(score): --data calibrates them")
    else:
        lines.append(f"without a critic, so the server cannot score: {imported.critic_absence}")
    return "\n".join([*lines, f"published {imported.folder}\n"])


COMMAND = Command(
    name="import",
    arguments=Options,
    action=_import,
    examples=(
        "ganserve import ffhq.pkl --out models/faces",
        "ganserve import network-snapshot-025000.pkl --out models/pets --labels cat,dog --truncation 0.7",
        "ganserve import checkpoint/550000.pt --out models/churches --data churches/",
        "ganserve import models/default/model_150.pt --out models/flowers",
        "ganserve import ffhq.pkl --as-run runs/my-faces --data my-faces/",
    ),
    exit_codes={BadUsageError: BAD_USAGE, ExportError: FAILED},
    interrupted="interrupted; nothing was published",
)
main = COMMAND.main
