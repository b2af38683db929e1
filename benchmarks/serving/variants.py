"""Compare servers with different flags, and bare onnxruntime, by turns.

    python benchmarks/serving/variants.py --flags "" --flags "--provider openvino --bfloat16"
    python benchmarks/serving/variants.py --flags "" --flags "--lone-threads 1" --loads 1x1 8x1 64x1 1x64 64x4

A server for each --flags runs from the beginning, each with the same model of `packages.py`, and a `client.py` process
loads one after the other, round by round; so other programs disturb all of them alike. A load NxC is C requests of N
samples in flight. For loads with C = 1 bare onnxruntime runs in between: a loop of `session.run` with N samples on all
cores, whose threads spin (onnxruntime's default) or do not. Figures are medians over the rounds; ratios are medians of
the rounds' ratios to the first server. CPU time is that of the server's process. A server that does not start, or
fails, gets a line with its reason in place of figures.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
from common import FailedError, cpu_seconds, load, machine, memory_mib, server
from packages import SHAPES, write_generator_package

if TYPE_CHECKING:
    from collections.abc import Callable

BARE = {"bare onnxruntime, spinning": "1", "bare onnxruntime": "0"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flags", action="append", required=True, help="flags of a server, in one string")
    parser.add_argument("--model", default="g32", choices=SHAPES)
    sizes = "NxC: samples a request, requests in flight"
    parser.add_argument("--loads", nargs="+", type=load_size, default=["64x4"], metavar="NxC", help=sizes)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="length of a trial")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error(f"--rounds {arguments.rounds}: must be at least 1")
    with tempfile.TemporaryDirectory() as folder:
        report = {"machine": machine(), "command": sys.argv} | measure(Path(folder), arguments)
    sys.stdout.write(table(report))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return int(bool(report["failures"]))


def load_size(text: str) -> str:
    """Return a load NxC as it is; raise what argparse expects if it is none."""
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"{text}: is not NxC, such as 64x4")
    return text


def measure(models: Path, arguments: argparse.Namespace) -> dict[str, object]:
    package = write_generator_package(models, arguments.model)
    loops = {name: bare(package / "generator.onnx", spinning) for name, spinning in BARE.items()}
    rounds: dict[str, dict[str, list[dict[str, float]]]] = {size: defaultdict(list) for size in arguments.loads}
    failures: dict[str, str] = {}
    memory: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        servers = {}

        def give_up(flags: str, reason: FailedError) -> None:
            failures[flags] = str(reason)
            print(f"{flags or 'defaults'}: {reason}", file=sys.stderr, flush=True)
            servers.pop(flags, None)
            for figures in rounds.values():
                figures.pop(flags, None)

        for flags in dict.fromkeys(arguments.flags):
            try:
                servers[flags] = stack.enter_context(server(models, flags.split()))
            except FailedError as reason:
                give_up(flags, reason)
        for index in range(arguments.rounds + 1 if servers else 0):  # the first round warms up
            for size, figures in rounds.items():
                n, concurrency = map(int, size.split("x"))
                for flags, (process, address) in list(servers.items()):
                    before = cpu_seconds(process.pid)
                    try:
                        done = load(address, arguments.model, n, concurrency, arguments.seconds)
                    except FailedError as reason:
                        give_up(flags, reason)
                        continue
                    done["cpu_ms"] = (cpu_seconds(process.pid) - before) * 1e3 / done["requests"]
                    done["per_s"] = done["requests"] / done["seconds"]
                    if index:
                        figures[flags].append(done)
                for name, loop in loops.items() if concurrency == 1 else ():
                    done = loop(n, arguments.seconds)
                    if index:
                        figures[name].append(done)
        for flags, (process, _) in servers.items():
            memory[flags] = memory_mib(process.pid)
    return {"model": arguments.model, "rounds": rounds, "memory_mib": memory, "failures": failures}


def bare(graph: Path, spinning: str) -> Callable[[int, float], dict[str, float]]:
    """Return a function that runs N samples a call on all cores for a number of seconds."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    width = session.get_inputs()[0].shape[1]

    def run(n: int, seconds: float) -> dict[str, float]:
        feed = {"latents": np.random.default_rng(0).standard_normal((n, width)).astype(np.float32)}
        feed["labels"] = np.zeros(n, np.int64)
        times = []
        start, cpu = time.perf_counter(), time.process_time()
        while (began := time.perf_counter()) - start < seconds:
            session.run(["samples"], feed)
            times.append(time.perf_counter() - began)
        cpu_ms = (time.process_time() - cpu) * 1e3 / len(times)
        return {"per_s": len(times) / sum(times), "p50_ms": statistics.median(times) * 1e3, "cpu_ms": cpu_ms}

    return run


def table(report: dict[str, object]) -> str:
    lines = ["| load | variant | requests/s | p50 ms | CPU ms a request | rate, of the first | p50, of the first |"]
    lines.append("|---|---|---|---|---|---|---|")
    for size, figures in report["rounds"].items():
        if not figures:  # no server is left
            continue
        first = next(iter(figures.values()))
        for name, done in figures.items():
            middle = {key: statistics.median(one[key] for one in done) for key in ("per_s", "p50_ms", "cpu_ms")}
            ratios = [
                statistics.median(a[key] / b[key] for a, b in zip(done, first, strict=True))
                for key in ("per_s", "p50_ms")
            ]
            shown = f"{middle['per_s']:,.1f} | {middle['p50_ms']:.2f} | {middle['cpu_ms']:.2f}"
            lines.append(f"| {size} | {name or 'defaults'} | {shown} | {ratios[0]:.2f} | {ratios[1]:.2f} |")
    memory = ", ".join(f"{name or 'defaults'}: {mib:.0f}" for name, mib in report["memory_mib"].items())
    failures = "".join(f"{flags or 'defaults'}: {reason}\n" for flags, reason in report["failures"].items())
    return "\n".join(lines) + f"\n\nMiB at the end: {memory or 'no server is left'}.\n{failures}"


if __name__ == "__main__":
    sys.exit(main())
