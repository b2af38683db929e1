"""`ganserve package`: ONNX files that were made elsewhere -> a verified model package."""

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

    from ganserve_export.from_onnx.package_onnx import Packaged

PROG = "ganserve package"
DESCRIPTION = """Wrap ONNX files that were made elsewhere as the next version of a model.

The generator, and the critic if there is one, get pre- and post-processing, so that they speak as every package does:
latents and labels -> uint8 images or float32 vectors -> scores and probabilities. The wrapped graphs are compared with
the originals on random inputs, and published whole or not at all. What does not follow from names, types and shapes is
asked for; what cannot be served (a fixed batch, noise inside, statistics across the batch) is refused."""
_EXAMPLES = (
    "ganserve package dcgan.onnx --range -1..1 --out models/faces",
    "ganserve package g.onnx d.onnx --labels cat,dog --range 0..1 --out models/pets",
    "ganserve package g.onnx d.onnx --labels labels.txt --range -1..1 --data photos/ --out models/photos",
)


Name = Annotated[str | None, tyro.conf.arg(metavar="NAME")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Options of the command."""

    generator: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="GENERATOR")]
    """The generator's ONNX file: latents [N, Z] or [N, Z, 1, 1], and labels if it takes them -> samples."""
    critic: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[CRITIC]")] = None
    """The critic's ONNX file: samples, and labels if it takes them -> one value a sample. Without it, no scores."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="PATH")]
    """The model's folder, <repository>/<name>; the package becomes <out>/<next version>."""
    labels: Annotated[str | None, tyro.conf.arg(metavar="A,B,…|FILE")] = None
    """Names of the labels in the order of their indices: a,b,c, or a text file with one a line."""
    range: Literal["-1..1", "0..1", "0..255"] | None = None
    """What black and white are, where images are floats."""
    layout: Literal["auto", "nchw", "nhwc"] = "auto"
    """Of the generator's images. auto: the channels are the axis of 1 to 4."""
    latent_distribution: Literal["normal", "uniform"] = "normal"
    """What latents are drawn from: the standard normal distribution, or uniformly from [-1, 1)."""
    latents: Name = None
    """Name of the generator's input for latents, where that is in doubt."""
    labels_input: Name = None
    """Name of the generator's input for labels: integers [N] or [N, 1], or one-hot [N, K]."""
    output: Name = None
    """Name of the generator's output."""
    critic_samples: Name = None
    """Name of the critic's input for samples."""
    critic_labels: Name = None
    """Name of the critic's input for labels."""
    critic_scores: Name = None
    """Name of the critic's output."""
    critic_output: Literal["auto", "score", "probability"] = "auto"
    """What the critic's output is. auto: a probability if it ends in a sigmoid, else a score."""
    score_higher: Literal["real", "generated"] = "real"
    """Which samples the critic gives higher outputs."""
    data: Annotated[str | None, tyro.conf.arg(metavar="SOURCE|PATH")] = None
    """Real data whose held-out samples calibrate the critic's probabilities: a source such as digits, or a file or
    folder. Without it, probability = sigmoid(score)."""
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
        label_names = () if options.labels is None else read_labels(options.labels)
        # Only now: torch and onnxruntime take seconds, --help must not.
        from ganserve_export.from_onnx.options import OnnxOptions
        from ganserve_export.from_onnx.package_onnx import package_onnx

        names = {field.name for field in dataclasses.fields(OnnxOptions)} - {"label_names"}
        understood = OnnxOptions(label_names=label_names, **{name: getattr(options, name) for name in names})
        packaged = package_onnx(options.generator, options.critic, options.out, understood)
    except UsageError as error:
        sys.stderr.write(f"{PROG}: error: {error}\n")
        return 2
    except ExportError as error:
        sys.stderr.write(f"{PROG}: error: {error}\n")
        return 1 if all(file.exists() for file in (options.generator, options.critic) if file is not None) else 2
    except KeyboardInterrupt:
        sys.stderr.write(f"{PROG}: interrupted; nothing was published\n")
        return 130
    sys.stdout.write(_as_json(packaged) if options.json else _as_text(packaged, options))
    return 0


def read_labels(text: str) -> tuple[str, ...]:
    """Label names from "a,b,c" or from a UTF-8 text file with one a line.

    Raises:
        ExportError: The file cannot be read, or a name is empty or occurs twice.
    """
    path = Path(text)
    if "," in text and not path.is_file():
        names = tuple(name.strip() for name in text.split(","))
    else:
        try:
            names = tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").strip().splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise ExportError(
                f"--labels {text} is neither names such as a,b,c nor a text file that can be read, one name a line"
            ) from error
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or not names or not all(names):
        what = f"{repeated[0]!r} occurs twice" if repeated and repeated[0] else "a name is empty"
        raise ExportError(f"--labels {text}: {what}; labels are distinct names, in the order of their indices")
    return names


def _as_json(packaged: Packaged) -> str:
    return json.dumps(dataclasses.asdict(packaged), indent=2, default=str) + "\n"


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
        if packaged.calibration is not None:
            lines.append(f"the critic {describe_ranking(packaged.calibration)}")
        else:
            lines.append("probabilities are not calibrated, but sigmoid(score): --data calibrates them")
    else:
        lines.append("without a critic, so the server cannot score")
    return "\n".join([*lines, f"published {packaged.folder}\n"])
