"""The command `ganserve score`: score pictures or vectors with a model's critic."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganserve import Client, Scores
from ganserve._calls.score_inputs import ScoreInputs, pictures_in
from ganserve._cli.progress import Progress
from ganserve._cli.shared import ModelArguments, command, label_of, say, say_json, table
from ganserve._command_line.options import flag
from ganserve._errors import InvalidRequest
from ganserve._results.input_source import Source

_EXAMPLES = (
    "ganserve score sevens.png               # a grid of `ganserve sample`: it knows its samples and labels",
    "ganserve score samples/                 # each picture of a folder",
    "ganserve score my-digit.png --label 7   # any picture of the model's size",
    "ganserve score points.csv               # vectors of `ganserve sample`: .csv, .npz or .npy",
)


@dataclass(frozen=True, kw_only=True)
class ScoreArguments(ModelArguments):
    """Score samples with a model's critic: the higher, the more it takes them for real data, not for its generator's.

    The critic knows nothing about samples that are neither. The column "unlike" counts those that differ from the
    training data; - means that the package cannot tell.
    """

    files: tuple[Path, ...] = flag(positional=True, metavar="FILE [FILE ...]")
    """Pictures, folders of pictures, or samples as numbers: .npy, .npz, .csv."""
    label: str | None = flag(None, example="7")
    """The samples' label, by name or index. Without it, the labels that files of `ganserve sample` carry."""
    model: str | None = flag(None, last=True, example="digits")
    """The model's name. Without it, the model that drew the file's samples, if the file names it, else the
    environment variable GANSERVE_MODEL, else the server's only model."""
    json: bool = False
    """Print the score of each sample, as JSON."""


def _score(arguments: ScoreArguments) -> int:
    files = _expand(arguments.files)
    with Client(arguments.target, timeout_s=arguments.timeout_s) as client:
        results = []
        with Progress(len(files)) as progress:
            for done, file in enumerate(files):
                if len(files) > 1:
                    progress.show(done, f"{done:,} of {len(files):,} files")
                results.append((file, _score_file(client, file, arguments)))
    if arguments.json:
        say_json([_facts(file, scores) for file, scores in results])
    else:
        header = ("file", "label", "samples", "score", "lowest", "highest", "probability", "unlike", "critic")
        say(table(header, [row for file, scores in results for row in _rows(file, scores)]))
    return 0


def _score_file(client: Client, file: Path, arguments: ScoreArguments) -> Scores:
    label: str | int | None = arguments.label
    if arguments.label is not None and arguments.label.isdecimal():
        model = arguments.model if arguments.model is not None else ScoreInputs.read(file, None).model
        label = label_of(arguments.label, client.model(model, arguments.version).label_names)
    return client.score(file, label, model=arguments.model, version=arguments.version)


def _expand(files: Sequence[Path]) -> list[Path]:
    """Return the files, with each folder replaced by its pictures."""
    if not files:
        raise InvalidRequest.of("FILE", "is missing; expected one picture at least, such as sevens.png")
    expanded: list[Path] = []
    for file in files:
        if str(file) == "-":
            raise InvalidRequest.of("FILE", "is '-', and nothing is read from stdin; expected a file or a folder")
        expanded += pictures_in(file, Source("FILE", file=str(file))) if file.is_dir() else [file]
    return expanded


def _facts(file: Path, scores: Scores) -> dict[str, Any]:
    names = ("model", "version", "labels", "scores", "probabilities", "typicality", "out_of_distribution")
    return {"file": str(file), **{name: getattr(scores, name) for name in names}}


def _rows(file: Path, scores: Scores) -> list[list[str]]:
    """Return a row for each label of a file's samples, with means over the samples."""
    by_label: dict[str | int | None, list[int]] = {}
    for i, score in enumerate(scores):
        by_label.setdefault(score.label, []).append(i)
    rows = []
    for label in sorted(by_label, key=str):
        chosen = by_label[label]
        values = scores.scores[chosen]
        rows.append(
            [
                str(file),
                "-" if label is None else str(label),
                str(len(chosen)),
                f"{values.mean():.3f}",
                f"{values.min():.3f}",
                f"{values.max():.3f}",
                f"{scores.probabilities[chosen].mean():.3f}",
                "-" if scores.out_of_distribution is None else str(scores.out_of_distribution[chosen].sum()),
                f"{scores.model} {scores.version}",
            ]
        )
    return rows


COMMAND = command("score", ScoreArguments, _score, _EXAMPLES)
main = COMMAND.main
