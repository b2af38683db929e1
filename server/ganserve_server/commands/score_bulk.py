"""The command `ganserve score-bulk`: score millions of samples without a server, here or on a Ray cluster."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from ganserve._command_framework.options import UsageError, flag
from ganserve._command_framework.process import DONE, complain, printable
from ganserve_server.commands.bulk_options import BulkArguments, bulk_command, check_place
from ganserve_server.error_text import counted

_EXAMPLES = (
    "ganserve score-bulk digits-1m --out digits-1m-scores        # what `ganserve generate` wrote",
    "ganserve score-bulk pictures/ --label 7 --out scores        # a folder of pictures, and folders in it",
    "ganserve score-bulk s3://bucket/tars --ray auto --out s3://bucket/scores",
)


@dataclass(frozen=True, kw_only=True)
class ScoreBulkArguments(BulkArguments):
    """Score the samples of files with a model's critic, and write the scores as Parquet.

    Each row is a sample: name, label, score, the probability that it is real rather than this generator's, typicality
    if the model has it, and the error if the sample cannot be scored. After Ctrl-C, a full disk or a crash, run the
    same command again: it keeps finished shards.
    """

    files: str = flag(positional="FILES")
    """Pictures, Parquet files or WebDataset archives: one file, a folder with its sub-folders, or a URL."""
    out: str = flag(aliases=("-o",), metavar="PATH_OR_URL")
    """Folder for the scores: a new one, or that of the same job. Or a URL that fsspec can write to."""
    label: str | None = None
    """Label of all samples, by name or index. Without it, each sample's own, from the column label, the file .cls,
    metadata.csv, or the name of the picture's folder."""


def _score(arguments: ScoreBulkArguments) -> int:
    check_place("FILES", arguments.files)
    check_place("--out", arguments.out)
    config, elsewhere = arguments.config(), arguments.elsewhere()
    # onnxruntime takes a third of a second to import; refusals do not wait for it.
    from ganserve_server.bulk.model import find_package
    from ganserve_server.bulk.parquet import count_missing
    from ganserve_server.bulk.sample_job import label_numbers
    from ganserve_server.bulk.scoring import ScoreTask
    from ganserve_server.bulk.sources import find_source
    from ganserve_server.bulk.store import open_store
    from ganserve_server.bulk.tasks import run_task

    package = find_package(config, arguments.model, arguments.version)
    info = package.info
    label = None if arguments.label is None else int(label_numbers(info, [arguments.label])[0])
    if label is not None and not info.critic_takes_labels:
        raise UsageError(f"--label {arguments.label}: the critic of model {info.name!r} takes no labels. Leave it out.")
    task = ScoreTask.of(find_source(arguments.files), label, package, config)
    store = open_store(arguments.out)
    samples = unscored = 0
    with store.locked():
        outcome = run_task(task, task.description, task.shards(), package, config, store, elsewhere)
        for shard in task.shards():
            with store.open(shard.name) as file:
                rows, missing = count_missing(file, "score")
            samples, unscored = samples + rows, unscored + missing
    for note in outcome.notes:
        complain(f"ganserve score-bulk: {note}")
    if unscored:
        complain(f"ganserve score-bulk: {unscored:,} of {samples:,} samples have no score: the column error says why")
    count, kind = len(task.source.files), "picture" if task.source.kind == "pictures" else "file"
    now = f"made {outcome.samples:,} in {outcome.seconds:.1f} s" if outcome.samples else "they were there already"
    files = counted(count, kind, ",")
    done = f"the scores of {files} by {info.name} version {info.version} are in {store.place}; {now}"
    sys.stdout.write(f"{printable(done)}\n")
    return DONE


COMMAND = bulk_command("score-bulk", ScoreBulkArguments, _score, _EXAMPLES)
main = COMMAND.main
