"""The command `ganserve package`: wrap ONNX files made elsewhere as a package."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ganserve._command_framework.command import Command
from ganserve._command_framework.options import UsageError, flag
from ganserve._command_framework.process import BAD_USAGE, DONE, FAILED
from ganserve_export.commands.wording import as_json, describe_difference, describe_ranking
from ganserve_export.errors import BadUsageError, ExportError
from ganserve_export.from_onnx.onnx_options import OnnxOptions

if TYPE_CHECKING:
    from ganserve_export.from_onnx.package_onnx import Packaged


MOST_NUMBERED = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Options(OnnxOptions):
    """Wrap ONNX files that were made elsewhere as the next version of a model.

    The command adds pre- and post-processing to the generator and the critic, so that they work as in every package:
    latents and labels -> uint8 images or float32 vectors -> scores and probabilities. It compares the wrapped graphs
    with the originals on random inputs, and publishes the whole package or nothing. If names, types, shapes and values
    leave something unclear, it asks. It makes graphs with a fixed batch accept any batch, and computes noise from the
    latents. It refuses networks that cannot be served, such as those with statistics across the batch.
    """

    generator: Path = flag(positional="GENERATOR")
    """The generator's ONNX file: latents [N, Z] or [N, Z, 1, 1], and labels if it takes them -> samples."""
    critic: Path | None = flag(None, positional="CRITIC")
    """The critic's ONNX file: samples, and labels if it takes them -> one value a sample. Without it, the
    server cannot score."""
    out: Path = flag(aliases=("-o",))
    """The model's folder, <repository>/<name>; the package becomes <out>/<next version>."""
    labels: str | None = flag(None, metavar="A,B,…|FILE|COUNT")
    """Names of the labels in the order of their indices: a,b,c, a text file with one a line, or their number, such as
    10, for the names 0, 1 and so on."""
    json: bool = False
    """Print the result as JSON."""


def _package(options: Options) -> int:
    for file in filter(None, (options.generator, options.critic)):
        if not file.exists():
            raise UsageError(f"{file}: no such file. Give an ONNX file.")
    label_names = () if options.labels is None else read_labels(options.labels)
    # Only now: torch and onnxruntime take seconds, --help must not.
    from ganserve_export.from_onnx.package_onnx import package_onnx
    from ganserve_training.run.command_progress import shown_steps

    reading = OnnxOptions(**{item.name: getattr(options, item.name) for item in fields(OnnxOptions)})
    reading = replace(reading, label_names=label_names)
    with shown_steps() as steps:
        packaged = package_onnx(options.generator, options.critic, options.out, reading, steps)
    sys.stdout.write(as_json(packaged) if options.json else _as_text(packaged, options))
    return DONE


def read_labels(text: str) -> tuple[str, ...]:
    """Read label names from "a,b,c", from a UTF-8 text file with one a line, or from their number: 0, 1 and so on.

    Raises:
        ExportError: The file cannot be read, or a name is empty or occurs twice.
    """
    path = Path(text)
    if "," in text and not _is_file(path):
        names = tuple(name.strip() for name in text.split(","))
    elif text.isdecimal() and 1 < int(text) <= MOST_NUMBERED and not _is_file(path):
        names = tuple(map(str, range(int(text))))
    else:
        try:
            names = tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").strip().splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise BadUsageError(
                f"--labels {text} is neither names such as a,b,c nor their number nor a text file that can be "
                "read, one name a line"
            ) from error
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or not names or not all(names):
        what = f"{repeated[0]!r} occurs twice" if repeated and repeated[0] else "a name is empty"
        raise BadUsageError(f"--labels {text}: {what}; labels are distinct names, in the order of their indices")
    return names


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a list of names may be longer than a file's name may be
        return False


def _as_text(packaged: Packaged, options: Options) -> str:
    batches = ", ".join(map(str, packaged.generator.batch_sizes))
    files = options.generator.name if options.critic is None else f"{options.generator.name} and {options.critic.name}"
    lines = [
        f"{packaged.name} version {packaged.version}, from {files}, made elsewhere",
        f"  generator  {packaged.generator_is}",
    ]
    if packaged.critic is not None:
        lines.append(f"  critic     {packaged.critic_is}")
    lines.append(f"verified against the originals on random inputs at batch {batches}; largest differences:")
    lines.append(f"  generator  {describe_difference(packaged.generator)}")
    if packaged.critic is not None:
        lines.append(f"  critic     {describe_difference(packaged.critic)}")
        if packaged.typicality is not None:
            lines.append(f"  typicality {describe_difference(packaged.typicality)}")
        if packaged.calibration is not None:
            lines.append(f"the critic {describe_ranking(packaged.calibration)}")
        else:
            lines.append(
                "probabilities are sigmoid(score), which suits cross-entropy losses only: --data calibrates them"
            )
            if options.score_higher == "auto":
                lines.append("real samples are assumed to score higher: --data checks that")
        if packaged.typicality is None:
            lines.append("samples unlike the data are not found: --data, with 20 held-out samples or more, fits that")
    else:
        lines.append("without a critic, so the server cannot score")
    if packaged.truncation_absence:
        lines.append(f"truncation is refused: {packaged.truncation_absence}")
    return "\n".join([*lines, f"published {packaged.folder}\n"])


COMMAND = Command(
    name="package",
    arguments=Options,
    action=_package,
    examples=(
        "ganserve package dcgan.onnx --range -1..1 --out models/faces",
        "ganserve package g.onnx d.onnx --labels cat,dog --range 0..1 --out models/pets",
        "ganserve package g.onnx d.onnx --labels labels.txt --range -1..1 --data photos/ --out models/photos",
    ),
    exit_codes={BadUsageError: BAD_USAGE, ExportError: FAILED},
    interrupted="interrupted; nothing was published",
)
main = COMMAND.main
