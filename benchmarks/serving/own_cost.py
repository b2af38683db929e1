"""Compare the server with bare onnxruntime, a bare gRPC echo and a sketch of a server, in one run.

    python benchmarks/serving/own_cost.py [--rounds 5] [--seconds 3] [--json FILE] [--serve-flags "--workers 1"]

`tiny` is two dense layers, so the server's own cost remains; `g32` is a 32x32x3 generator. One asyncio client keeps C
requests of n samples in flight over at most four channels; client and server share the machine's cores. The echo
(`echo.py`) answers the same requests with fixed bytes of the same size, by grpc.aio and uvloop alone. The sketch
(`sketch.py`) is the smallest server that computes real answers. Bare is a loop of `session.run` with 64 samples a call
on all cores, without spinning. Rounds alternate; figures are medians. `peers` compares with other model servers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import grpc
from common import cpu_seconds, echo, load, machine, memory_mib, server, sketch
from overhead import bare
from packages import write_generator_package

from ganserve import Client
from ganserve.v1 import gan_service_pb2, gan_service_pb2_grpc

LOADS = {"tiny": [(1, 1), (1, 16), (1, 64)], "g32": [(1, 1), (1, 64), (64, 4)]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a trial")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve-flags", default="", help="flags for `ganserve serve`, in one string")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder)
        report = {"machine": machine(), "command": sys.argv} | measure(models, arguments)
    sys.stdout.write(table(report))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


def measure(models: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    packages = {name: write_generator_package(models, name) for name in LOADS}
    loop = bare(packages["g32"], 1, 0, spinning=False)
    rates: dict[str, list[float]] = defaultdict(list)
    measured: dict[str, list[dict[str, float]]] = defaultdict(list)
    began = time.perf_counter()
    with server(models, arguments.serve_flags.split()) as (process, address):
        start_s = time.perf_counter() - began
        answers = {(name, n): answer(address, name, n) for name, loads in LOADS.items() for n, _ in loads}
        for index in range(arguments.rounds + 1):  # the first round warms up
            seconds = arguments.seconds if index else min(0.5, arguments.seconds)
            figures: dict[str, dict[str, float]] = {}
            for name, loads in LOADS.items():
                for n, concurrency in loads:
                    before = cpu_seconds(process.pid)
                    done = load(address, name, n, concurrency, seconds)
                    done["server_cpu_s"] = cpu_seconds(process.pid) - before
                    figures[f"{name} n={n} C={concurrency}"] = done
                    with echo(answers[name, n]) as (_, other):
                        figures[f"echo {name} n={n} C={concurrency}"] = load(other, name, n, concurrency, seconds)
                    if name == "tiny":
                        with sketch(packages[name]) as (_, other):
                            figures[f"sketch {name} n={n} C={concurrency}"] = load(other, name, n, concurrency, seconds)
            if index:
                rates["bare g32"].append(loop(seconds).samples_per_s)
                for key, done in figures.items():
                    rates[key].append(done["requests"] / done["seconds"])
                    measured[key].append(done)
        memory = memory_mib(process.pid)
    return {"rates": rates, "measured": measured, "start_s": start_s, "memory_mib": memory}


def answer(address: str, name: str, count: int) -> bytes:
    """Return a real answer for the echo, once the server has loaded the model."""
    with Client(address) as client:
        client.wait_until_ready(600, model=name)
    with grpc.insecure_channel(address) as channel:
        request = gan_service_pb2.SampleRequest(model=name, count=count, seed=0, label_indices=[0])
        response = gan_service_pb2_grpc.GanServiceStub(channel).Sample(request, timeout=600)
        return response.SerializeToString()


def table(report: dict[str, Any]) -> str:
    rates, measured = report["rates"], report["measured"]
    lines = [
        f"Started in {report['start_s']:.1f} s with both models; {report['memory_mib']:.0f} MiB at the end.",
        "",
        "| load | requests/s | p50 / p99 ms | server CPU ms a request | of the sketch | of the echo |"
        " samples/s of bare onnxruntime |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, loads in LOADS.items():
        for n, concurrency in loads:
            key = f"{name} n={n} C={concurrency}"
            done = measured[key]
            rate = statistics.median(rates[key])
            against = [_against(rates, key, other) for other in ("sketch", "echo")]
            middle, tail = (statistics.median(one[part] for one in done) for part in ("p50_ms", "p99_ms"))
            cpu = statistics.median(one["server_cpu_s"] * 1e3 / one["requests"] for one in done)
            part = "-"
            if name == "g32":
                ratio = statistics.median(n * a / b for a, b in zip(rates[key], rates["bare g32"], strict=True))
                part = f"{n * rate:,.0f} of {statistics.median(rates['bare g32']):,.0f} ({ratio:.2f})"
            ours = f"{rate:,.0f} | {middle:.1f} / {tail:.1f} | {cpu:.2f}"
            lines.append(f"| {key} | {ours} | {' | '.join(against)} | {part} |")
    return "\n".join(lines) + "\n"


def _against(rates: dict[str, list[float]], key: str, other: str) -> str:
    """Return the rate of another server, and the ratio of ours to it, round by round."""
    if f"{other} {key}" not in rates:
        return "-"
    others = rates[f"{other} {key}"]
    part = statistics.median(a / b for a, b in zip(rates[key], others, strict=True))
    return f"{part:.2f} of {statistics.median(others):,.0f}"


if __name__ == "__main__":
    main()
