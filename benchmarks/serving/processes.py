"""Compare one server process with several on one port, by turns, and say what more cores would give.

    .venv/bin/python benchmarks/serving/processes.py [--processes 1 2] [--rounds 40] [--seconds 0.4] [--json FILE]

All servers run at once, and this process loads them in short turns, so that what else uses the machine disturbs them
alike. The CPU time of a server is that of all its processes. For comparison, as many servers of one process as the last
number says run on ports of their own. `cores_give` is the model of more cores.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import uvloop
from common import cpu_seconds, machine, server
from packages import SHAPES, write_generator_package

from ganserve.v1 import gan_service_pb2, gan_service_pb2_grpc

CORES = (2, 4, 8, 16)


@dataclass(frozen=True)
class Server:
    """A server and the connections to it."""

    pids: list[int]
    """Its processes, that which was started first."""
    stubs: list[gan_service_pb2_grpc.GanServiceAsyncStub]

    def cpu_s(self) -> list[float]:
        return [cpu_seconds(pid) for pid in self.pids]

    def loop_s(self) -> float:
        """Return the CPU time of the threads that run Python: the first of each process."""
        return sum(cpu_seconds(f"{pid}/task/{pid}") for pid in self.pids)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--model", default="tiny", choices=SHAPES)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=0.4, help="length of a turn")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = {"machine": machine(), "command": sys.argv} | uvloop.run(measure(Path(folder), arguments))
    sys.stdout.write(table(report))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


async def measure(models: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    write_generator_package(models, arguments.model)
    numbers, connections = arguments.processes, arguments.connections
    seeds = itertools.count()
    async with contextlib.AsyncExitStack() as stack:

        async def started(number: int, connections: int) -> Server:
            flags = [] if number == 1 else ["--processes", str(number)]
            process, address = stack.enter_context(server(models, flags))
            stubs = []
            for _ in range(connections):
                options = [("grpc.use_local_subchannel_pool", 1)]
                channel = await stack.enter_async_context(grpc.aio.insecure_channel(address, options=options))
                await asyncio.wait_for(channel.channel_ready(), 60)
                stubs.append(gan_service_pb2_grpc.GanServiceStub(channel))
            return Server(family(process.pid), stubs)

        servers = {str(number): await started(number, connections) for number in numbers}
        apart = [await started(1, max(1, connections // numbers[-1])) for _ in range(numbers[-1])]
        stubs = [stub for several in zip(*(one.stubs for one in apart), strict=True) for stub in several]
        servers[f"{numbers[-1]} servers"] = Server([pid for one in apart for pid in one.pids], stubs)
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
        for index in range(arguments.rounds + 1):  # the first round warms up
            for number, one in servers.items():
                done = await turn(one, arguments.model, arguments.concurrency, arguments.seconds, seeds)
                if index:
                    rounds[number].append(done)
        memory = {number: [memory_of(pid) for pid in one.pids] for number, one in servers.items()}
    return {"model": arguments.model, "concurrency": arguments.concurrency, "rounds": rounds, "memory_mib": memory}


async def turn(
    one: Server, model: str, concurrency: int, seconds: float, seeds: itertools.count[int]
) -> dict[str, float]:
    """Keep requests in flight for some seconds, and return what a request took."""
    latencies: list[float] = []

    async def loop(stub: gan_service_pb2_grpc.GanServiceAsyncStub) -> None:
        while (began := time.perf_counter()) < stop:
            await stub.Sample(gan_service_pb2.SampleRequest(model=model, count=1, seed=next(seeds), label_indices=[0]))
            latencies.append(time.perf_counter() - began)

    before, loop_before, own = one.cpu_s(), one.loop_s(), time.process_time()
    start = time.perf_counter()
    stop = start + seconds
    await asyncio.gather(*(loop(one.stubs[index % len(one.stubs)]) for index in range(concurrency)))
    took = time.perf_counter() - start
    own_s, loop_s = time.process_time() - own, one.loop_s() - loop_before
    spent = [end - start for start, end in zip(before, one.cpu_s(), strict=True)]
    count = len(latencies)
    return {
        "per_s": count / took,
        "p50_ms": float(np.median(latencies)) * 1e3,
        "p99_ms": float(np.percentile(latencies, 99)) * 1e3,
        "requests": count,
        "server_cpu_s": sum(spent),
        "loop_cpu_s": loop_s,
        "client_cpu_s": own_s,
        "busiest_cpu_s": max(spent),
    }


def family(pid: int) -> list[int]:
    """Return the ids of a server's processes: itself, and those that it runs."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def memory_of(pid: int) -> dict[str, float]:
    """Return a process's memory in MiB: resident, and with shared pages divided among their users."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return {name.lower(): int(fields[name].split()[0]) / 2**10 for name in ("Rss", "Pss")}


def cores_give(cores: int, cpu_s: float, loop_s: float) -> tuple[float, float]:
    """Return the requests/s of one process, and of one process for each core.

    A request takes `cpu_s` of a server's CPU time; `loop_s` of it in the one thread that runs a process's Python, so
    that a process answers at most one request in that time. The clients run elsewhere.
    """
    most = cores / cpu_s
    return min(1 / loop_s, most), most


def table(report: dict[str, Any]) -> str:
    rounds = report["rounds"]
    first = next(iter(rounds.values()))
    head = (
        *("processes", "requests/s", "p50 / p99 ms", "server CPU ms a request", "of it in Python's threads"),
        *("client CPU ms", "requests/s, of the first", "server CPU, of the first", "busiest process"),
    )
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    costs = {}
    for number, done in rounds.items():
        requests = sum(one["requests"] for one in done)
        cpu, loop, client = (
            sum(one[f"{kind}_cpu_s"] for one in done) / requests for kind in ("server", "loop", "client")
        )
        costs[number] = cpu, loop
        of_first = sum(one["requests"] for one in first)
        first_cpu = sum(one["server_cpu_s"] for one in first) / of_first
        middle = {key: statistics.median(one[key] for one in done) for key in ("per_s", "p50_ms", "p99_ms")}
        share = statistics.median(one["busiest_cpu_s"] / max(one["server_cpu_s"], 1e-9) for one in done)
        ratios = sorted(a["per_s"] / b["per_s"] for a, b in zip(done, first, strict=True))
        low, middle_ratio, high = (ratios[int(part * (len(ratios) - 1))] for part in (0.25, 0.5, 0.75))
        cells = (
            *(number, f"{middle['per_s']:,.0f}", f"{middle['p50_ms']:.1f} / {middle['p99_ms']:.1f}"),
            *(f"{cpu * 1e3:.3f}", f"{loop * 1e3:.3f}", f"{client * 1e3:.3f}"),
            *(f"{middle_ratio:.2f} ({low:.2f} to {high:.2f})", f"{cpu / first_cpu:.2f}", f"{share:.0%}"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| cores | one process, requests/s | one for each core | times |", "|---|---|---|---|"]
    alone, together = next(iter(costs.values())), list(costs.values())[-2]
    for cores in CORES:
        (one, _), (_, several) = cores_give(cores, *alone), cores_give(cores, *together)
        lines.append(f"| {cores} | {one:,.0f} | {several:,.0f} | {several / one:.1f} |")
    lines.append("")
    for number, processes in report["memory_mib"].items():
        each = ", ".join(f"{one['rss']:.0f} / {one['pss']:.0f}" for one in processes)
        lines.append(f"Memory of {number}, RSS / PSS in MiB of each process, a supervisor first: {each}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
