"""The command `ganserve score`: score pictures or vectors with a model's critic."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganserve import Client, Scores
from ganserve._calls.score_inputs import ScoreInputs, pictures_in
from ganserve._command_framework.options import flag
from ganserve._commands.progress import Progress
from ganserve._commands.shared import ModelArguments, command, label_of, say, say_json, table
from ganserve._errors import InvalidRequest
from ganserve._results.input_source import NeedsFittingError, Source
from ganserve._results.picture_file import PictureFile
from ganserve._results.tables import SUFFIXES
from ganserve._types import Labels

_EXAMPLES = (
    "ganserve score sevens.png               # a grid of `ganserve sample`: it knows its samples and labels",
    "ganserve score samples/                 # each picture of a folder",
    "ganserve score my-digit.png --label 7   # any picture of the model's size",
    "ganserve score photo.jpg --fit          # a picture of another size, cut and resized",
    "ganserve score points.csv               # vectors of `ganserve sample`: .csv, .npz or .npy",
)


@dataclass(frozen=True, kw_only=True)
class ScoreArguments(ModelArguments):
    """Score samples with a model's critic: the higher, the more it takes them for real data, not for its generator's.

    A probability is that of a sample to be real rather than this generator's. The critic knows nothing about samples
    that are neither. The column "unlike" counts those that differ from the training data; - means that the package
    cannot tell.
    """

    files: tuple[Path, ...] = flag(positional="FILE")
    """Pictures, folders of pictures, or samples as numbers: .npy, .npz, .csv."""
    label: str | None = flag(None)
    """The samples' label, by name or index. Without it, the labels that files of `ganserve sample` carry."""
    model: str | None = flag(None, last=True)
    """The model's name. Without it, the model that drew the file's samples, if the file names it, else the
    environment variable GANSERVE_MODEL, else the server's only model."""
    fit: bool = False
    """Cut and resize pictures of another size to the model's, and convert their colours. Such scores say less: the
    critic has never seen resized pictures."""
    json: bool = False
    """Print the score of each sample, as JSON."""


def _score(arguments: ScoreArguments) -> int:
    files = expand(arguments.files)
    warnings.filterwarnings("ignore", "Image size .* exceeds limit")  # Pillow's; ours refuses such pictures.
    with Client(arguments.target, timeout_s=arguments.timeout_s, **arguments.connection) as client:
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
    if arguments.fit and file.suffix.lower() not in SUFFIXES:
        return _score_fitted(client, PictureFile.read(file, "FILE"), arguments)
    label: str | int | None = arguments.label
    if arguments.label is not None and arguments.label.isdecimal():
        model = arguments.model if arguments.model is not None else ScoreInputs.read(file, None).model
        label = label_of(arguments.label, client.model(model, arguments.version).label_names)
    try:
        return client.score(file, label, model=arguments.model, version=arguments.version)
    except NeedsFittingError as error:
        (violation,) = error.violations
        raise InvalidRequest.of("FILE", f"{violation.description}; or add --fit to cut and resize it") from error


def _score_fitted(client: Client, picture: PictureFile, arguments: ScoreArguments) -> Scores:
    info = client.model(arguments.model if arguments.model is not None else picture.model, arguments.version)
    if info.sample.kind != "image":
        raise InvalidRequest.of("--fit", f"is for pictures, and model {info.name!r} scores {info.sample}")
    label: Labels | None = None
    if arguments.label is not None:
        label = label_of(arguments.label, info.label_names)
    elif info.critic_takes_labels and picture.labels is not None:
        label = list(picture.labels)
    images, _ = picture.samples(info.sample.shape, fit=True)
    return client.score(images, label, model=info.name, version=info.version)


def expand(files: Sequence[Path], *, deep: bool = False) -> list[Path]:
    """Return the files, with each folder replaced by its pictures, and with `deep` those of folders in it."""
    if not files:
        raise InvalidRequest.of("FILE", "is missing; expected one picture at least, such as sevens.png")
    expanded: list[Path] = []
    for file in files:
        if str(file) == "-":
            raise InvalidRequest.of("FILE", "is '-', and nothing is read from stdin; expected a file or a folder")
        expanded += pictures_in(file, Source("FILE", file=str(file)), deep=deep) if file.is_dir() else [file]
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
