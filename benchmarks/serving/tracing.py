"""Measure what traces cost.

    python benchmarks/serving/tracing.py [--rounds 9] [--seconds 2] [--json FILE]

Servers of the same models run side by side: two without traces, which shows the noise, one that samples no call, one
that samples a tenth, and one that samples all and sends the spans to a collector in another process. A client process
loads one after the other, round by round. Ratios are medians of the rounds' ratios to the first server, of the server's
CPU time for a request.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import cpu_seconds, load, machine, server
from packages import write_generator_package

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))

from collector import grpc_collector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

QUIET = ["--log-level", "error", "--access-log", "off"]
LOADS = {"tiny n=1 C=16": ("tiny", 1, 16), "conv8 n=64 C=4": ("conv8", 64, 4)}
RATIOS = {"none": None, "none again": None, "0 sampled": "0", "0.1 sampled": "0.1", "1 sampled": "1"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="rounds of the cost")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of each load")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, collecting() as endpoint:
        for name in {model for model, *_ in LOADS.values()}:
            write_generator_package(Path(folder), name)
        loads = cost(Path(folder), endpoint, arguments.rounds, arguments.seconds)
    report = {"machine": machine(), "loads": loads}
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    print("| load | traces | server CPU ms a request | of none | quartiles |\n|---|---|---|---|---|")
    for name, servers in loads.items():
        for traces, figures in servers.items():
            low, ratio, high = figures["ratios"]
            print(f"| {name} | {traces} | {figures['cpu_ms']:.2f} | {ratio:.2f} | {low:.2f} to {high:.2f} |")


@contextlib.contextmanager
def collecting() -> Iterator[str]:
    """Run a collector in another process, and return its endpoint."""
    ours, its = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=collect, args=(its,))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send(None)
        process.join()


def collect(pipe: Connection) -> None:
    with grpc_collector() as collector:
        collector.requests = _Nothing()  # type: ignore[assignment] # keep no spans
        pipe.send(collector.endpoint)
        pipe.recv()


class _Nothing(list[Any]):
    def append(self, _: object) -> None: ...


def cost(models: Path, endpoint: str, rounds: int, seconds: float) -> dict[str, dict[str, dict[str, Any]]]:
    result: dict[str, dict[str, dict[str, Any]]] = {}
    with contextlib.ExitStack() as stack:
        servers = {}
        for name, ratio in RATIOS.items():
            traces = [] if ratio is None else ["--otlp-endpoint", endpoint, "--trace-ratio", ratio]
            servers[name] = stack.enter_context(server(models, [*QUIET, *traces]))
        for name, (model, count, concurrency) in LOADS.items():
            milliseconds: dict[str, list[float]] = {name: [] for name in servers}
            for turn in range(rounds + 1):
                # Each round begins with another one, so that none always follows the same.
                order = [*servers][turn % len(servers) :] + [*servers][: turn % len(servers)]
                for traces in order:
                    process, address = servers[traces]
                    before = cpu_seconds(process.pid)
                    done = load(address, model, count, concurrency, seconds)
                    if turn:  # the first round warms up
                        milliseconds[traces].append((cpu_seconds(process.pid) - before) * 1e3 / done["requests"])
            result[name] = {
                traces: {
                    "cpu_ms": statistics.median(values),
                    "ratios": quartiles([one / none for one, none in zip(values, milliseconds["none"], strict=True)]),
                }
                for traces, values in milliseconds.items()
            }
    return result


def quartiles(values: list[float]) -> list[float]:
    return statistics.quantiles(values, n=4) if len(values) > 1 else values * 3


if __name__ == "__main__":
    main()
