"""Measure what the server adds to bare onnxruntime.

    python benchmarks/serving/overhead.py [--package DIR]... [--trials 7] [--rounds 20] [--seconds 2] [--json FILE]

Bare: a loop of `session.run` with 64 samples a call on the package's generator.onnx, with several thread settings.
Server: a `ganserve serve` process with its defaults, and a client process that keeps 4 requests of 64 samples in
flight over gRPC; both share the machine's cores. The trials alternate, so that other programs affect all of them
alike. A round during which other processes used more than 5 % of the CPU time is repeated, up to --rounds in all; the
table shows the quietest rounds. Ratios are medians of the rounds' ratios to the best setting of one call at a time.
CPU time is that of 64 samples in all threads; the server's includes its client's, which is also shown in brackets.
Without --package, the generators of `packages.py` are measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from common import Bystanders, cpu_seconds, load, machine, server
from google.protobuf import json_format
from packages import SHAPES, write_generator_package

from ganserve.v1 import model_spec_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = 64
CONCURRENCY = 4

# name: (calls at a time, threads of each, spinning)
BARE = {
    "bare, 1 call of 1 thread": (1, 1, False),
    "bare, 1 call of all threads": (1, 0, False),
    "bare, 1 call of all threads, spinning": (1, 0, True),
    "bare, a call of 1 thread for each core": (len(os.sched_getaffinity(0)), 1, False),
}
QUIET = 0.05
SERVER = f"server, n={BATCH}, {CONCURRENCY} concurrent"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", type=Path, action="append", default=[], help="folder of a model package")
    parser.add_argument("--trials", type=int, default=7, help="quiet rounds to measure")
    parser.add_argument("--rounds", type=int, default=20, help="most rounds")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a trial")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--serve-flags", default="", help="flags for `ganserve serve`, in one string")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder)
        if arguments.package:
            for package in arguments.package:
                shutil.copytree(package, models / package.parent.name / package.name)
            folders = [models / package.parent.name / package.name for package in arguments.package]
        else:
            folders = [write_generator_package(models, name) for name in SHAPES]
        results = {path.parent.name: measure(path, arguments) for path in folders}
    report = {"machine": machine(), "command": sys.argv, "batch": BATCH, "concurrency": CONCURRENCY, "models": results}
    sys.stdout.write(table(report))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


def measure(package: Path, arguments: argparse.Namespace) -> dict[str, object]:
    """Return medians of samples/s of each way, their ratios and CPU times, over the quietest rounds."""
    ways: dict[str, Callable[[float], Trial]] = {
        name: bare(package, calls, threads, spinning=spinning) for name, (calls, threads, spinning) in BARE.items()
    }
    rounds: list[dict[str, Any]] = []
    with server(package.parent.parent, arguments.serve_flags.split()) as (process, address):
        ways[SERVER] = lambda seconds: client(process.pid, address, package.parent.name, seconds)
        for way in ways.values():
            way(0.3)
        while len(rounds) < arguments.rounds and sum(r["others"] <= QUIET for r in rounds) < arguments.trials:
            watch = Bystanders(process.pid)
            trials = {name: way(arguments.seconds) for name, way in ways.items()}
            rounds.append({"others": watch.share(), **trials})
    kept = sorted(rounds, key=lambda r: r["others"])[: arguments.trials]
    one_call = [name for name, (calls, _, _) in BARE.items() if calls == 1]
    best = max(one_call, key=lambda name: statistics.median(r[name].samples_per_s for r in kept))
    return {
        "samples_per_s": {name: statistics.median(r[name].samples_per_s for r in kept) for name in ways},
        "ratios": {
            name: statistics.median(r[name].samples_per_s / r[best].samples_per_s for r in kept) for name in ways
        },
        "cpu_ms": {name: statistics.median(r[name].cpu_ms for r in kept) for name in ways},
        "client_cpu_ms": statistics.median(r[SERVER].client_cpu_ms for r in kept),
        "best_bare": best,
        "others_share": {"kept": max(r["others"] for r in kept), "rounds": len(rounds)},
        "kept": [{name: asdict(r[name]) for name in ways} for r in kept],
    }


@dataclass(frozen=True)
class Trial:
    samples_per_s: float
    cpu_ms: float
    """For 64 samples, in all threads, the client's included."""
    client_cpu_ms: float = 0.0


def bare(package: Path, calls: int, threads: int, *, spinning: bool) -> Callable[[float], Trial]:
    """Return a function that runs bare onnxruntime for a number of seconds."""
    spec = json_format.Parse((package / "manifest.json").read_text(), model_spec_pb2.ModelSpec())
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    session = onnxruntime.InferenceSession(package / spec.generator.file, options, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    feed = {"latents": random.standard_normal((BATCH, spec.latent.dimension)).astype(np.float32)}
    if spec.label_names:
        feed["labels"] = np.arange(BATCH, dtype=np.int64) % len(spec.label_names)

    def run(seconds: float) -> Trial:
        counts = [0] * calls
        start, cpu = time.perf_counter(), time.process_time()

        def loop(index: int) -> None:
            while time.perf_counter() - start < seconds:
                session.run(["samples"], feed)
                counts[index] += BATCH

        workers = [threading.Thread(target=loop, args=(index,)) for index in range(calls)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        elapsed, cpu = time.perf_counter() - start, time.process_time() - cpu
        return Trial(sum(counts) / elapsed, cpu * 1e3 / (sum(counts) / BATCH))

    return run


def client(server_pid: int, address: str, model: str, seconds: float) -> Trial:
    before = cpu_seconds(server_pid)
    done = load(address, model, BATCH, CONCURRENCY, seconds)
    cpu = cpu_seconds(server_pid) - before + done["cpu_s"]
    batches = done["samples"] / BATCH
    return Trial(done["samples"] / done["seconds"], cpu * 1e3 / batches, done["cpu_s"] * 1e3 / batches)


def table(report: dict[str, object]) -> str:
    lines = []
    for model, result in report["models"].items():
        others = result["others_share"]
        lines += [
            f"### {model}",
            "",
            f"Other processes took at most {others['kept']:.0%} of the CPU time; rounds: {others['rounds']}.",
            "",
            "| way | samples/s | ratio | CPU ms for 64 samples |",
            "|---|---|---|---|",
        ]
        for name, rate in result["samples_per_s"].items():
            cpu = f"{result['cpu_ms'][name]:.2f}" + (f" ({result['client_cpu_ms']:.2f})" if name == SERVER else "")
            lines.append(f"| {name} | {rate:,.0f} | {result['ratios'][name]:.2f} | {cpu} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
