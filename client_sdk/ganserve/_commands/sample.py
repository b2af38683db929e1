"""The command `ganserve sample`: draw samples as a picture, a folder, an archive or a table."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ganserve import BestOf, Client, ModelInfo, Rejection, SampleBatch, Selection
from ganserve._argument_checks import MAX_INDEX, check_integer
from ganserve._command_framework.options import flag
from ganserve._command_framework.process import DONE
from ganserve._commands.given_w import GivenW
from ganserve._commands.marking import MarkingArguments
from ganserve._commands.progress import Progress
from ganserve._commands.shared import ModelArguments, command, label_of, say, say_json
from ganserve._errors import InvalidRequest, MissingExtra
from ganserve._results.grid_layout import check_count
from ganserve._results.grid_picture import MAX_PIXELS
from ganserve._results.pictures import has_pillow
from ganserve._results.tables import SUFFIXES
from ganserve._results.whole_files import whole_file
from ganserve._sample_options import read_controls, read_selection
from ganserve._types import Encoding, Noise

_EXAMPLES = (
    "ganserve sample -n 64 --label 7 --out sevens.png    # one picture",
    "ganserve sample -n 40 --scores --captions --scale 3 --out x.png  # with labels and scores",
    "ganserve sample -n 1000 --out samples/              # a picture each, named for its index and label",
    "ganserve sample -n 50000 --seed 1 --out digits.npz  # a NumPy archive: samples, labels, seed",
    "ganserve sample -n 50 --control c0=0.5 -o half.png  # with a continuous code of InfoGAN",
    "ganserve sample -n 500 --out points.csv             # vectors as a table",
    "ganserve sample -n 4 --scores --json                # with the critic's scores",
    "ganserve sample -n 64 --select best-of:8 -o x.png   # the best of 8 for each of them",
    "ganserve sample --seed 1 --walk-to 2 -o walk.png    # 16 steps from one sample to another",
    "ganserve sample --seed 1 --mix-seed 2 --mix-from 4 -o mix.png  # StyleGAN: fine styles of other samples",
)


@dataclass(frozen=True, kw_only=True)
class SampleArguments(ModelArguments, MarkingArguments):
    """Draw samples from a model of a server, and write them."""

    count: int = flag(16, aliases=("-n",))
    """Number of samples."""
    label: str | None = flag(None)
    """Label of the samples, by name or index. Without it, a conditional model draws a label for each sample."""
    out: Path | None = flag(None, aliases=("-o",))
    """Output: NAME.png is one picture, NAME.npz a NumPy archive, NAME.npy the array of samples, NAME.csv a table of
    vectors, any other name a folder with a picture for each sample. Without it, nothing is written."""
    scale: int | None = None
    """Width and height of a sample's pixel in NAME.png. Without it, samples get at least 28 pixels wide."""
    captions: bool = False
    """Write labels, and scores with --scores, beside the samples in NAME.png."""
    seed: int | None = None
    """Seed of the samples: the same seed draws the same ones. Without it, a random one, which is printed."""
    offset: int = 0
    """Index of the first sample within the seed's sequence."""
    truncation: float | None = None
    """Less varied, more typical samples. Style-based generators take psi, 0 (the mean) to 1 (no truncation). For others
    it restricts each latent value to [-FLOAT, FLOAT]."""
    truncation_layers: int | None = None
    """Style-based generators: number of first layers to truncate. Without it, the model's own."""
    mix_seed: int | None = None
    """Style mixing: the samples of this seed give the styles of layer --mix-from and later ones."""
    mix_from: int | None = None
    """First layer with the styles of --mix-seed, at least 1 (layers count from 0). A higher one keeps more of the
    sample's own shape."""
    noise: Noise | None = None
    """Noise of a style-based generator: each sample's own, the same for all, or none. Without it, the model's own."""
    control: tuple[str, ...] = flag((), metavar="NAME=FLOAT")
    """Set a control of the model; repeat it for several. `ganserve models` lists the controls. The others are drawn at
    random."""
    select: str | None = flag(None, metavar="RULE:N")
    """Draw more samples and let the critic choose. best-of:N takes the one of N with the highest score; rejection:N the
    first that the critic judges real, of at most N."""
    walk_to: int | None = flag(None, metavar="SEED")
    """Draw --count steps from the first sample of --seed to the first of this seed, both included."""
    encoding: Encoding = "raw"
    """Format of samples on the wire. png: smaller and slower; jpeg, webp: with small losses; float32: images from 0 to
    1, in NAME.npz and NAME.npy too."""
    return_w: bool = False
    """Style-based generators: write the w's to NAME.npz too, for --w."""
    w: Path | None = flag(None, metavar="FILE")
    """Draw one sample from each w of a file: NAME.npz of --return-w, which also gives labels and seed, or NAME.npy,
    float32 [N, layers, values]."""
    scores: bool = False
    """Ask for the critic's scores too."""
    json: bool = False
    """Print the facts as JSON: model, seed, labels, scores, and the samples themselves if they are vectors."""


def _sample(arguments: SampleArguments) -> int:
    check_integer("--count", arguments.count, 1, MAX_INDEX)
    kind = _out_kind(arguments.out)
    if arguments.scale is not None:
        check_integer("--scale", arguments.scale, 1, MAX_PIXELS)
    for name, value in (("--scale", arguments.scale), ("--captions", arguments.captions)):
        if value and kind != "png":
            raise InvalidRequest.of(name, "is for one picture: add --out NAME.png")
    controls = read_controls(arguments.control)
    select = selection_of(arguments.select)
    if arguments.walk_to is not None:
        _check_walk(arguments)
    if arguments.return_w and kind != "npz":
        raise InvalidRequest.of("--return-w", "writes w's to an archive only: add --out NAME.npz")
    given = None if arguments.w is None else _given_w(arguments)
    count = arguments.count if given is None else len(given.w)
    mark = arguments.marking
    started = time.monotonic()
    with Client(arguments.target, timeout_s=arguments.timeout_s, **arguments.connection) as client:
        info = client.model(arguments.model, arguments.version)
        _check_model(info, kind, arguments, count)
        batches = []
        for batch in _with_progress(_draw(client, info, arguments, controls, select, given), count):
            if kind == "folder" and arguments.out is not None:
                batch.save(arguments.out, mark=mark)
            # Keep samples only for what is written at the end: there may be more than fit into memory.
            keep = kind in ("png", *_TABLES) or info.sample.kind == "vector"
            batches.append(batch if keep else replace(batch, samples=np.empty((len(batch), 0), np.uint8)))
    batch = SampleBatch.concatenate(batches)
    if arguments.out is not None and kind == "png":
        batch.save_grid(arguments.out, scale=arguments.scale, captions=arguments.captions, mark=mark)
    elif arguments.out is not None and kind in _TABLES:
        _TABLES[kind](batch, arguments.out)
    if arguments.json:
        say_json(_facts(batch, arguments))
    else:
        say(_summary(batch, info, arguments, time.monotonic() - started))
    return DONE


def _draw(
    client: Client,
    info: ModelInfo,
    arguments: SampleArguments,
    controls: dict[str, float],
    select: Selection | None,
    given: GivenW | None,
) -> Iterable[SampleBatch]:
    label = None if arguments.label is None else label_of(arguments.label, info.label_names)
    common: dict[str, Any] = {
        "model": info.name,
        "version": info.version,
        "noise": arguments.noise,
        "encoding": arguments.encoding,
        "return_scores": arguments.scores,
    }
    if given is not None:
        return given.draw(client, info, label, arguments.seed, return_w=arguments.return_w, **common)
    common |= {"truncation": arguments.truncation, "truncation_layers": arguments.truncation_layers}
    if arguments.walk_to is not None and arguments.seed is not None:
        return [client.interpolate(arguments.seed, arguments.walk_to, arguments.count, label, **common)]
    return client.stream(
        arguments.count,
        label,
        seed=arguments.seed,
        offset=arguments.offset,
        controls=controls,
        select=select,
        mix_seed=arguments.mix_seed,
        mix_from=arguments.mix_from,
        return_w=arguments.return_w,
        **common,
    )


def _out_kind(out: Path | None) -> str:
    """Return what `--out` asks for: "png", one of _TABLES, "folder" or "" for nothing."""
    if out is None:
        return ""
    if str(out) == "-":
        raise InvalidRequest.of("--out", "is '-', and samples are not written to stdout; expected a file or a folder")
    kinds = "NAME.png, NAME.npz, NAME.npy"
    suffix = out.suffix.lower()
    if out.is_dir() or not suffix:
        kind = "folder"
        if out.is_file():
            raise InvalidRequest.of(
                "--out", f"is {str(out)!r}, which is a file; expected a folder, {kinds} or NAME.csv"
            )
    elif suffix in (".png", *SUFFIXES):
        kind = suffix[1:]
        if not out.parent.is_dir():
            raise InvalidRequest.of("--out", f"is {str(out)!r}, and there is no folder {str(out.parent)!r}")
    else:
        raise InvalidRequest.of("--out", f"is {str(out)!r}; expected {kinds}, NAME.csv or a folder")
    if kind in ("png", "folder") and not has_pillow():
        raise MissingExtra.of("images", "Pillow", f"--out {out}")
    return kind


def _check_model(info: ModelInfo, kind: str, arguments: SampleArguments, count: int) -> None:
    """Refuse an `--out` that the model's samples cannot be written to."""
    start = f"is {str(arguments.out)!r}, and model {info.name!r} makes"
    if kind in ("png", "folder") and info.sample.kind != "image":
        raise InvalidRequest.of(
            "--out", f"{start} no pictures but {info.sample}; expected NAME.npz, NAME.npy or NAME.csv"
        )
    if kind == "csv" and info.sample.kind != "vector":
        raise InvalidRequest.of(
            "--out", f"{start} no vectors but {info.sample}; expected NAME.png, NAME.npz or a folder"
        )
    if kind == "png":
        height, width, *_ = info.sample.shape
        check_count(count, height, width, arguments.scale)
        if arguments.captions and not (info.label_names or arguments.scores):
            raise InvalidRequest.of(
                "--captions", f"has nothing to show, as model {info.name!r} has no labels; add --scores"
            )


def _save_npy(batch: SampleBatch, out: Path) -> None:
    with whole_file(out) as stream:
        np.save(stream, batch.samples, allow_pickle=False)


_TABLES: dict[str, Callable[[SampleBatch, Path], object]] = {
    "npz": SampleBatch.save_npz,
    "npy": _save_npy,
    "csv": SampleBatch.save_csv,
}


def selection_of(text: str | None) -> Selection | None:
    """Return the rule that --select names."""
    if text is None:
        return None
    method, number = read_selection(text)
    return BestOf(number) if method == "best-of" else Rejection(max_proposals=number)


def _check_walk(arguments: SampleArguments) -> None:
    check_integer("--count", arguments.count, 2, MAX_INDEX)
    if arguments.seed is None:
        raise InvalidRequest.of("--walk-to", "has no --seed to begin at; expected both")
    for name, given in (
        ("--offset", arguments.offset != 0),
        ("--control", bool(arguments.control)),
        ("--select", arguments.select is not None),
        ("--mix-seed", arguments.mix_seed is not None),
        ("--mix-from", arguments.mix_from is not None),
        ("--return-w", arguments.return_w),
    ):
        if given:
            raise InvalidRequest.of(name, "cannot go with --walk-to, which fixes every latent; leave it out")


def _given_w(arguments: SampleArguments) -> GivenW:
    """Read the file of --w, after refusing what cannot go with it."""
    for name, given in (
        ("--offset", arguments.offset != 0),
        ("--walk-to", arguments.walk_to is not None),
        ("--control", bool(arguments.control)),
        ("--select", arguments.select is not None),
        ("--truncation", arguments.truncation is not None),
        ("--truncation-layers", arguments.truncation_layers is not None),
        ("--mix-seed", arguments.mix_seed is not None),
        ("--mix-from", arguments.mix_from is not None),
    ):
        if given:
            raise InvalidRequest.of(name, "cannot go with --w, which fixes every w; leave it out")
    assert arguments.w is not None
    return GivenW.read(arguments.w)


def _with_progress(stream: Iterable[SampleBatch], count: int) -> Iterator[SampleBatch]:
    """Yield the batches and count their samples in a bar on the terminal."""
    done = 0
    with Progress(count) as progress:
        for batch in stream:
            done += len(batch)
            if done < count or done > len(batch):
                progress.show(done, f"{done:,} of {count:,} samples")
            yield batch


def _facts(batch: SampleBatch, arguments: SampleArguments) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "model": batch.model,
        "version": batch.version,
        "count": len(batch),
        "seed": batch.seed if arguments.walk_to is None else arguments.seed,
        "offset": batch.offset,
        "labels": batch.labels,
        "label_names": batch.label_names,
        "scores": batch.scores,
        "probabilities": batch.probabilities,
        "out": None if arguments.out is None else str(arguments.out),
    }
    if arguments.walk_to is not None:
        facts["walk_to"] = arguments.walk_to
    if batch.selection is not None:
        facts["selection"] = batch.selection
    if batch.samples.ndim == 2 and batch.samples.dtype == np.float32:
        facts["samples"] = batch.samples
    return facts


def _summary(batch: SampleBatch, info: ModelInfo, arguments: SampleArguments, seconds: float) -> str:
    label = "" if arguments.label is None else f" with label {arguments.label}"
    label += "".join(f" with {control}" for control in arguments.control)
    where = "" if arguments.out is None else f" -> {arguments.out}"
    again = f"--seed {batch.seed}" + (f" --offset {batch.offset}" if batch.offset else "")
    if arguments.walk_to is not None:
        again = f"--seed {arguments.seed} --walk-to {arguments.walk_to}"
    if arguments.w is not None:
        again = f"--w {arguments.w} --seed {batch.seed}"
    # Pictures are uint8 whatever the encoding.
    floats = arguments.encoding == "float32" and (arguments.out is None or arguments.out.suffix.lower() in SUFFIXES)
    sample = replace(info.sample, dtype="float32") if floats else info.sample
    drawn = f"{len(batch)} sample{'' if len(batch) == 1 else 's'}"
    lines = [
        f"{drawn} ({sample}) of {info.name} version {info.version}{label} in {seconds:.2f} s{where}",
        f"the same again: {again}",
    ]
    if (report := batch.selection) is not None:
        lines.append(
            f"critic: chose among {report.proposed:,} samples; of those chosen, it accepts {report.accepted:,}"
        )
    if batch.scores is not None and batch.probabilities is not None:
        lines.append(
            f"critic: mean score {batch.scores.mean():.3g} ({batch.scores.min():.3g} to {batch.scores.max():.3g}), "
            f"mean probability of being real {batch.probabilities.mean():.3f}"
        )
    return "\n".join(lines)


COMMAND = command("sample", SampleArguments, _sample, _EXAMPLES)
main = COMMAND.main
