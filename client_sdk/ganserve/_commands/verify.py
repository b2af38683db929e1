"""The command `ganserve verify`: draw a picture's samples again, and compare."""

import warnings
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ganserve import Client, InvalidRequest, PictureVerdict
from ganserve._command_framework.options import flag
from ganserve._command_framework.process import DONE, FAILED
from ganserve._commands.progress import Progress
from ganserve._commands.sample import selection_of
from ganserve._commands.score import expand
from ganserve._commands.shared import ModelArguments, command, label_of, say, say_json
from ganserve._sample_options import read_controls

_EXAMPLES = (
    "ganserve verify sevens.png                       # reads the mark, draws the samples again, and compares",
    "ganserve verify x.jpg --model digits --seed 42   # the mark was removed: tries the first samples of the seed",
    "ganserve verify samples/ --json                  # everything that the pictures say, and how far they are",
)
_TITLES = {
    "exact": "EXACT",
    "near": "NEAR",
    "changed": "CHANGED",
    "different": "DIFFERENT",
    "unknown": "UNKNOWN",
}


@dataclass(frozen=True, kw_only=True)
class VerifyArguments(ModelArguments):
    """Read the marks of pictures, draw their samples again from their seeds, and compare.

    EXACT: equal bit for bit. NEAR: equal within the loss of JPEG or WebP. CHANGED: a changed copy. DIFFERENT: another
    picture. UNKNOWN: the sample cannot be drawn again. UNREADABLE: one of several files is no picture. The exit code is
    0 if all are EXACT or NEAR, else 1. A mark does not prove the origin: anybody can write one. A valid C2PA manifest
    shows who signed the file.
    """

    files: tuple[Path, ...] = flag(positional="FILE")
    """PNG, JPEG or WebP pictures, and folders of them, which are searched with the folders in them."""
    seed: int | None = None
    """Seed of the picture. Without it, the mark's. Options override the mark."""
    index: int | None = None
    """Index of the sample in the seed's sequence. Without it, the mark's, else the command tries the first 64."""
    label: str | None = None
    """Label of the sample, by name or index. Without it, the mark's, else the command tries each."""
    truncation: float | None = None
    """Truncation of the sample. Without it, the mark's, else none."""
    control: tuple[str, ...] = flag((), metavar="NAME=FLOAT")
    """Value of a control; repeat it for several. Without it, the mark's, else none."""
    select: str | None = flag(None, metavar="RULE:N")
    """The critic's selection: best-of:N or rejection:N. Without it, the mark's, else none."""
    model: str | None = flag(None, last=True)
    """The model's name. Without it, the mark's, else the environment variable GANSERVE_MODEL, else the server's only
    model."""
    version: int | None = flag(None, last=True)
    """The model's version. Without it, the mark's, else the latest ready one."""
    json: bool = False
    """Print everything about each picture as JSON."""


def _verify(arguments: VerifyArguments) -> int:
    files = expand(arguments.files, deep=True)
    controls = read_controls(arguments.control) or None
    select = selection_of(arguments.select)
    warnings.filterwarnings("ignore", "Image size .* exceeds limit")  # Pillow's; ours refuses such pictures.
    results: list[tuple[Path, PictureVerdict | str]] = []
    with Client(arguments.target, timeout_s=arguments.timeout_s, **arguments.connection) as client:
        label: str | int | None = arguments.label
        if arguments.label is not None and arguments.label.isdecimal():
            label = label_of(arguments.label, client.model(arguments.model, arguments.version).label_names)
        with Progress(len(files)) as progress:
            for done, file in enumerate(files):
                if len(files) > 1:
                    progress.show(done, f"{done:,} of {len(files):,} files")
                try:
                    verdict: PictureVerdict | str = client.verify(
                        file,
                        model=arguments.model,
                        version=arguments.version,
                        seed=arguments.seed,
                        index=arguments.index,
                        label=label,
                        truncation=arguments.truncation,
                        controls=controls,
                        select=select,
                    )
                except InvalidRequest as error:
                    wrong = error.violations[0]
                    if len(files) == 1 or wrong.field != "picture":
                        raise
                    verdict = wrong.description
                results.append((file, verdict))
    if arguments.json:
        say_json([{"file": str(file), **_facts(verdict)} for file, verdict in results])
    else:
        say("\n".join(line for file, verdict in results for line in _lines(file, verdict)))
    matching = (isinstance(verdict, PictureVerdict) and verdict.matches for _, verdict in results)
    return DONE if all(matching) else FAILED


def _lines(file: Path, verdict: PictureVerdict | str) -> list[str]:
    if isinstance(verdict, str):
        return [f"UNREADABLE {file}: {verdict}"]
    lines = [f"{_TITLES[verdict.likeness]:9}  {file}: {verdict.reason}"]
    if (mark := verdict.mark) is not None:
        package = {"same": "the server's package", "replaced": "another package than the server's"}
        said = [f"{mark.model} version {mark.version}" if mark.model else "generated"]
        if mark.seed is not None:
            said.append(f"seed {mark.seed}")
        if mark.index is not None:
            said.append(f"sample {mark.index}")
        if mark.label_index is not None:
            said.append(f"label {mark.label or mark.label_index}")
        if mark.samples > 1:
            said.append(f"{mark.samples} samples")
        if mark.package_sha256:
            said.append(f"package {mark.package_sha256[:12]}… ({package.get(verdict.package, 'not compared')})")
        lines.append(f"           the mark says: {', '.join(said)}")
    elif verdict.source_type:
        lines.append(f"           the file says: {verdict.source_type.rpartition('/')[2]}")
    if (manifest := verdict.manifest) is not None:
        problems = f" ({', '.join(manifest.problems)})" if manifest.problems else ""
        lines.append(f"           C2PA: {manifest.state}, signed by {manifest.issuer or 'an unknown issuer'}{problems}")
    return lines + [f"           note: {note}" for note in verdict.notes]


def _facts(verdict: PictureVerdict | str) -> dict[str, Any]:
    if isinstance(verdict, str):
        return {"likeness": "unreadable", "reason": verdict}
    facts = {field.name: getattr(verdict, field.name) for field in fields(verdict)}
    if verdict.mark is not None:
        facts["mark"] = asdict(verdict.mark) | {
            "latents": len(verdict.mark.latents) // 4,
            "w": len(verdict.mark.w) // 4,
        }
    return facts


COMMAND = command("verify", VerifyArguments, _verify, _EXAMPLES)
main = COMMAND.main
