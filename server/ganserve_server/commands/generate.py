"""The command `ganserve generate`: draw millions of samples without a server, here or on a Ray cluster."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ganserve._command_framework.options import UsageError, flag
from ganserve._command_framework.process import DONE, complain, printable
from ganserve._sample_options import read_controls, read_selection
from ganserve_server.commands.bulk_options import BulkArguments, bulk_command, check_place
from ganserve_server.error_text import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ganserve_server.bulk.sample_job import SampleJob
    from ganserve_server.bulk.tasks import Outcome
    from ganserve_server.models.manifest_checks import ModelInfo

_EXAMPLES = (
    "ganserve generate --count 1000000 --out digits-1m                   # Parquet, on all cores",
    "ganserve generate -n 50000 --label 0 --label 1 -o pairs --seed 7    # labels in turns",
    "ganserve generate -n 100000 --format png -o pictures                # folders of pictures",
    "ganserve generate -n 100000000 --format webdataset --ray auto --out s3://bucket/digits",
)
_MOST_INDEX = 2**48


@dataclass(frozen=True, kw_only=True)
class GenerateArguments(BulkArguments):
    """Draw samples from a model package without a server, and write them to files called shards.

    After Ctrl-C, a full disk or a crash, run the same command again: it keeps finished shards and makes the others,
    with the same bytes as without the interruption. It refuses a changed request.
    """

    count: int = flag(aliases=("-n",))
    """Number of samples."""
    out: str = flag(aliases=("-o",), metavar="PATH_OR_URL")
    """Folder for the shards: a new one, or that of the same job. Or a URL that fsspec can write to, such as
    s3://bucket/name."""
    format: Literal["parquet", "webdataset", "png"] = "parquet"
    """parquet: a row for each sample, as Hugging Face reads it. webdataset: tar archives. png: for each shard, a folder
    of pictures and a table."""
    encoding: Literal["png", "jpeg", "webp", "raw"] | None = None
    """Format of pictures in the shards. raw: pixels, as a list in Parquet, as .npy in archives. Without it, png."""
    mark: bool = flag(True)
    """Say in each picture that it is generated, and what it takes to draw it again, as XMP, for `ganserve verify`."""
    label: tuple[str, ...] = flag((), metavar="LABEL")
    """Label of the samples, by name or index; several take turns. Without it, a conditional model draws each sample's
    label."""
    labels: Path | None = flag(None, metavar="FILE")
    """File with a label for each sample: a .npy of indices, or text with one label a line."""
    seed: int | None = None
    """Seed of the samples: those of `ganserve sample` with the same seed. Without it, a random one, which the job
    keeps."""
    offset: int = 0
    """Index of the first sample within the seed's sequence."""
    truncation: float | None = None
    """Less varied, more typical samples. Style-based generators take psi, 0 (the mean) to 1 (no truncation). For others
    it restricts each latent value to [-FLOAT, FLOAT]."""
    control: tuple[str, ...] = flag((), metavar="NAME=FLOAT")
    """Set a control of the model; repeat it for several. The others are drawn at random."""
    select: str | None = flag(None, metavar="RULE:N")
    """Draw more samples and let the critic choose: best-of:N, or rejection:N."""
    scores: bool = False
    """Write the critic's score of each sample, and the probability that it is real rather than this generator's."""
    latents: bool = False
    """Write each sample's latent."""
    shard_size: int = 0
    """Samples in a shard. 0: about 64 MiB of pixels, at most 50,000 samples, or 10,000 as png."""


def _generate(arguments: GenerateArguments) -> int:
    _check(arguments)
    controls = tuple(sorted(read_controls(arguments.control).items()))
    select = None if arguments.select is None else read_selection(arguments.select)
    config, elsewhere = arguments.config(), arguments.elsewhere()
    # onnxruntime takes a third of a second to import; refusals do not wait for it.
    from ganserve_server.bulk.model import find_package
    from ganserve_server.bulk.sample_job import SampleJob, default_shard_size
    from ganserve_server.bulk.sample_task import SampleTask
    from ganserve_server.bulk.store import open_store
    from ganserve_server.bulk.tasks import read_job, run_task
    from ganserve_server.models.latents import draw_seed

    package = find_package(config, arguments.model, arguments.version)
    encoding = _encoding(arguments, package.info)
    labels = _labels(arguments, package.info)
    store = open_store(arguments.out)
    with store.locked():
        found = (read_job(store) or {}).get("job", {})
        seed = arguments.seed if arguments.seed is not None else found.get("seed", draw_seed())
        job = SampleJob(
            count=arguments.count,
            seed=seed,
            offset=arguments.offset,
            labels=labels,
            truncation=arguments.truncation,
            controls=controls,
            select=select,
            scores=arguments.scores,
            latents=arguments.latents,
            form=arguments.format,
            encoding=encoding,
            mark=arguments.mark,
            shard_size=arguments.shard_size or default_shard_size(package.info, arguments.format),
        )
        task = SampleTask.of(job, package, config)
        outcome = run_task(task, task.description, job.shards(), package, config, store, elsewhere)
    for note in outcome.notes:
        complain(f"ganserve generate: {note}")
    sys.stdout.write(f"{printable(_summary(job, package.info, outcome, store.place))}\n")
    return DONE


def _check(arguments: GenerateArguments) -> None:
    """Refuse numbers out of range and what cannot go together, before anything is loaded."""
    if not 1 <= arguments.count <= _MOST_INDEX:
        raise UsageError(f"--count {arguments.count}: must be 1 to 2^48.")
    if not 0 <= arguments.offset <= _MOST_INDEX - arguments.count:
        raise UsageError(f"--offset {arguments.offset}: must be 0 to 2^48 less --count.")
    if arguments.seed is not None and not 0 <= arguments.seed < 2**64:
        raise UsageError(f"--seed {arguments.seed}: must be 0 to 2^64 - 1.")
    if arguments.version is not None and arguments.version < 1:
        raise UsageError(f"--version {arguments.version}: must be at least 1.")
    if arguments.shard_size < 0:
        raise UsageError(f"--shard-size {arguments.shard_size}: must be at least 1, or 0 to choose for you.")
    if arguments.label and arguments.labels is not None:
        raise UsageError(f"--labels {arguments.labels}: cannot go with --label. Give one of the two.")
    check_place("--out", arguments.out)
    if arguments.format == "png" and arguments.encoding not in (None, "png"):
        raise UsageError(f"--encoding {arguments.encoding}: cannot go with --format png. Leave it out.")


def _encoding(arguments: GenerateArguments, info: ModelInfo) -> str:
    if len(info.sample_shape) == 3:
        return arguments.encoding or "png"
    if arguments.format == "png":
        raise UsageError(f"--format png: model {info.name!r} makes vectors. Use --format parquet or webdataset.")
    if arguments.encoding not in (None, "raw"):
        raise UsageError(f"--encoding {arguments.encoding}: model {info.name!r} makes vectors. Leave it out.")
    return "raw"


def _labels(arguments: GenerateArguments, info: ModelInfo) -> NDArray[np.int64] | None:
    from ganserve_server.bulk.label_file import read_labels
    from ganserve_server.bulk.sample_job import label_numbers

    if arguments.labels is not None:
        return read_labels(arguments.labels, arguments.count, info)
    return label_numbers(info, arguments.label) if arguments.label else None


def _summary(job: SampleJob, info: ModelInfo, outcome: Outcome, place: str) -> str:
    what = f"{counted(job.count, 'sample', ',')} of {info.name} version {info.version} with seed {job.seed}"
    where = f"{'is' if job.count == 1 else 'are'} in {place}, {counted(len(job.shards()), 'shard', ',')}"
    if not outcome.samples:
        return f"{what} {where} already"
    rate = outcome.samples / max(outcome.seconds, 1e-3)
    made = f"made {outcome.samples:,} in {outcome.seconds:.1f} s, {rate:,.0f} a second"
    before = f"; {counted(outcome.found, 'shard', ',')} {'was' if outcome.found == 1 else 'were'} there"
    return f"{what} {where}; {made}{before if outcome.found else ''}"


COMMAND = bulk_command("generate", GenerateArguments, _generate, _EXAMPLES)
main = COMMAND.main
