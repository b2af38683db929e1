"""Measure what `ganserve generate` adds to bare onnxruntime.

    python benchmarks/serving/bulk.py [--model g32] [--samples 4096] [--trials 5] [--json FILE]

Bare: loops of `session.run` with 64 samples a call on the same file, one thread for each core, or one call of all
threads. Bulk: shards written as `ganserve generate` writes them, with the model loaded. The trials alternate, so that
other programs affect all of them alike. CPU time is that of the whole process, for 64 samples. Ratios are medians of
the trials' ratios to the better bare loop; beside other programs, only that of CPU times says something.
The files stay until the end: beside thousands that were removed a moment ago, ext4 makes new ones ten times as slowly.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
from packages import SHAPES, write_generator_package

from ganserve_server.bulk.model import find_package, load_model
from ganserve_server.bulk.run import make_shards
from ganserve_server.bulk.sample_job import SampleJob, default_shard_size
from ganserve_server.bulk.sample_task import SampleTask
from ganserve_server.bulk.store import open_store
from ganserve_server.settings import ServerConfig

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = 64
CORES = len(os.sched_getaffinity(0))
FORMS = (("parquet", "png"), ("parquet", "raw"), ("webdataset", "png"), ("png", "png"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(SHAPES), default="g32")
    parser.add_argument("--samples", type=int, default=4096)
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder, "models")
        write_generator_package(models, arguments.model)
        trials = subjects(models, arguments.model, arguments.samples, Path(folder))
        figures: dict[str, list[tuple[float, float]]] = {name: [] for name in trials}
        for _ in range(arguments.trials):
            for name, trial in trials.items():
                figures[name].append(measured(trial, arguments.samples))
    report(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def subjects(models: Path, name: str, samples: int, folder: Path) -> dict[str, Callable[[], object]]:
    graph = str(models / name / "1" / "generator.onnx")
    trials: dict[str, Callable[[], object]] = {
        "bare, 1 call of all threads": bare(graph, samples, 1, CORES),
        f"bare, {CORES} calls of 1 thread": bare(graph, samples, CORES, 1),
    }
    config = ServerConfig(models=models, provider="cpu")
    package = find_package(config, name, None)
    model = load_model(config, package)
    for form, encoding in FORMS:
        size = default_shard_size(package.info, form)
        job = SampleJob(count=samples, seed=1, form=form, encoding=encoding, shard_size=size)
        worker = SampleTask.of(job, package, config).open(model)

        def trial(job: SampleJob = job, worker: object = worker) -> None:
            out = tempfile.mkdtemp(dir=folder)
            asyncio.run(make_shards(worker, open_store(out), job.shards(), lambda _: None))  # type: ignore[arg-type]

        trials[f"bulk, {form}, {encoding}"] = trial
    return trials


def bare(graph: str, samples: int, calls: int, threads: int) -> Callable[[], object]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    latents = np.random.default_rng(0).standard_normal((BATCH, session.get_inputs()[0].shape[1]), np.float32)
    feed = {"latents": latents, "labels": np.arange(BATCH) % 10}

    def loop(times: int) -> None:
        for _ in range(times):
            session.run(None, feed)

    def trial() -> None:
        workers = [threading.Thread(target=loop, args=(samples // BATCH // calls,)) for _ in range(calls)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    return trial


def measured(trial: Callable[[], object], samples: int) -> tuple[float, float]:
    """Return the wall time and the CPU time of 64 samples, in ms."""
    wall, used = time.perf_counter(), time.process_time()
    trial()
    share = samples / BATCH / 1e3
    return (time.perf_counter() - wall) / share, (time.process_time() - used) / share


def report(figures: dict[str, list[tuple[float, float]]]) -> None:
    loops = [name for name in figures if name.startswith("bare")]
    print(f"{'':32} ms of 64 samples   CPU   of bare: rate   CPU")
    for name, trials in figures.items():
        wall, used = (statistics.median(trial[i] for trial in trials) for i in (0, 1))
        ratios = [
            statistics.median(min(figures[loop][at][i] for loop in loops) / trial[i] for at, trial in enumerate(trials))
            for i in (0, 1)
        ]
        print(f"{name:32} {wall:16.1f} {used:5.1f} {ratios[0]:15.2f} {ratios[1]:5.2f}")


if __name__ == "__main__":
    main()
