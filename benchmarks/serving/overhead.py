"""What the server adds to bare onnxruntime, on one machine in one run.

    python benchmarks/serving/overhead.py [--package DIR]... [--trials 5] [--seconds 2] [--json FILE]

Bare: a loop of `session.run` with 64 samples a call on the package's generator.onnx, for each of a few thread settings.
Server: a `ganserve serve` process with its defaults, asked by a client process that keeps 4 requests of 64 samples in
flight over gRPC. Trials of all alternate, so that what else the machine does hits all alike; the table has medians, the
ratio is to the best bare setting. Without --package: the generators of `packages.py`, random weights.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
from google.protobuf import json_format
from packages import SHAPES, write_generator_package

from ganserve.v1 import model_spec_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BATCH = 64
CONCURRENCY = 4
CLIENT = Path(__file__).with_name("client.py")
ROOT = Path(__file__).parents[2]

# name: (calls at a time, threads of each, spinning)
BARE = {
    "bare, 1 call of 1 thread": (1, 1, False),
    "bare, 1 call of all threads": (1, 0, False),
    "bare, 1 call of all threads, spinning": (1, 0, True),
    "bare, a call of 1 thread for each core": (len(os.sched_getaffinity(0)), 1, False),
}
SERVER = f"server, n={BATCH}, {CONCURRENCY} concurrent"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", type=Path, action="append", default=[], help="folder of a model package")
    parser.add_argument("--trials", type=int, default=5)
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
        results = {
            path.parent.name: measure(path, arguments.trials, arguments.seconds, arguments.serve_flags.split())
            for path in folders
        }
    report = {"machine": machine(), "command": sys.argv, "batch": BATCH, "concurrency": CONCURRENCY, "models": results}
    sys.stdout.write(table(report))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


def measure(package: Path, trials: int, seconds: float, flags: list[str]) -> dict[str, object]:
    """Returns samples/s of each way and the ratio of the server to the best bare one."""
    ways: dict[str, Callable[[float], float]] = {
        name: bare(package, calls, threads, spinning=spinning) for name, (calls, threads, spinning) in BARE.items()
    }
    rates: dict[str, list[float]] = {}
    with server(package.parent.parent, flags) as address:
        ways[SERVER] = lambda s: client(address, package.parent.name, s)
        for way in ways.values():
            way(0.3)
        for _ in range(trials):
            for name, way in ways.items():
                rates.setdefault(name, []).append(way(seconds))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    best = max(BARE, key=lambda name: medians[name])
    ratios = [server / max(bares) for server, *bares in zip(rates[SERVER], *(rates[name] for name in BARE), strict=True)]
    return {
        "samples_per_s": medians,
        "trials": rates,
        "best_bare": best,
        "ratio": medians[SERVER] / medians[best],
        "ratio_median_of_trials": statistics.median(ratios),
    }


def bare(package: Path, calls: int, threads: int, *, spinning: bool) -> Callable[[float], float]:
    """Returns a function that runs bare onnxruntime for some seconds and returns samples/s."""
    spec = json_format.Parse((package / "manifest.json").read_text(), model_spec_pb2.ModelSpec())
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    session = onnxruntime.InferenceSession(
        package / spec.generator.file, options, providers=["CPUExecutionProvider"]
    )
    random = np.random.default_rng(0)
    feed = {"latents": random.standard_normal((BATCH, spec.latent.dimension)).astype(np.float32)}
    if spec.label_names:
        feed["labels"] = np.arange(BATCH, dtype=np.int64) % len(spec.label_names)

    def run(seconds: float) -> float:
        counts = [0] * calls
        start = time.perf_counter()

        def loop(index: int) -> None:
            while time.perf_counter() - start < seconds:
                session.run(["samples"], feed)
                counts[index] += BATCH

        workers = [threading.Thread(target=loop, args=(index,)) for index in range(calls)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return sum(counts) / (time.perf_counter() - start)

    return run


@contextlib.contextmanager
def server(models: Path, flags: list[str]) -> Iterator[str]:
    command = [sys.executable, "-m", "ganserve_server", "--models", str(models), "--port", "0", "--provider", "cpu"]
    process = subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("serving on "):
                yield line.split()[-1]
                return
        raise RuntimeError("the server ended before it served")
    finally:
        process.terminate()
        process.wait()


def client(address: str, model: str, seconds: float) -> float:
    command = [sys.executable, CLIENT, address, model, str(BATCH), str(CONCURRENCY), str(seconds)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def machine() -> dict[str, object]:
    names = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg(),
        "onnxruntime": onnxruntime.__version__,
        "python": platform.python_version(),
    }


def table(report: dict[str, object]) -> str:
    lines = []
    for model, result in report["models"].items():
        lines += [f"### {model}", "", "| way | samples/s | of the best bare |", "|---|---|---|"]
        best = result["samples_per_s"][result["best_bare"]]
        lines += [f"| {name} | {rate:,.0f} | {rate / best:.2f} |" for name, rate in result["samples_per_s"].items()]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
