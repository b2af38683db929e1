"""Say where the time of a lone call goes: what gRPC takes, what this server adds, and what computing takes.

    .venv/bin/python benchmarks/serving/lone_path.py [--rounds 5] [--calls 500] [--json FILE]

One client calls with one request in flight, by turns: an echo of an answer of the same size, a sketch of a server, and
`ganserve serve`, for a tiny graph and for g32. In between runs a loop of `session.run` of g32 with one sample on all
cores. For each call it counts the CPU time and the sleeps (voluntary switches) of the server's first thread, which runs
the event loop, of its other threads, and of the client. These change little beside other programs, unlike latencies.
The floor is the echo's latency and the loop's together: a server that adds nothing. Figures are medians of the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import grpc
import uvloop
from client import OPTIONS, sample_call
from common import echo, machine, server, sketch
from own_cost import answer
from packages import write_generator_package
from variants import bare

GRAPHS = ("tiny", "g32")
COLUMNS = ("loop_us", "loop_sleeps", "others_us", "others_sleeps", "client_us", "client_sleeps")
FLOOR_SECONDS = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=500, help="calls of a turn")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = {"machine": machine(), "command": sys.argv}
        report |= uvloop.run(measure(Path(folder), arguments.rounds, arguments.calls))
    sys.stdout.write(table(report))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


async def measure(models: Path, rounds: int, calls: int) -> dict[str, Any]:
    packages = {name: write_generator_package(models, name) for name in GRAPHS}
    loop = bare(packages["g32"] / "generator.onnx", "0")
    turns: dict[str, list[dict[str, float]]] = defaultdict(list)
    alone_ms: list[float] = []
    async with contextlib.AsyncExitStack() as stack:
        process, address = stack.enter_context(server(models, []))
        targets = {f"ganserve, {name}": (process.pid, address, name) for name in GRAPHS}
        for name in GRAPHS:
            reply = await asyncio.to_thread(answer, address, name, 1)
            for kind, started in ("echo", echo(reply)), ("sketch", sketch(packages[name])):
                other, place = stack.enter_context(started)
                targets[f"{kind}, {name}"] = other.pid, place, name
        for index in range(rounds + 1):  # the first round warms up
            for subject, target in targets.items():
                done = await turn(*target, calls)
                if index:
                    turns[subject].append(done)
            alone = loop(1, FLOOR_SECONDS)
            if index:
                alone_ms.append(alone["p50_ms"])
    return {"turns": turns, "alone_ms": alone_ms}


async def turn(pid: int, address: str, model: str, calls: int) -> dict[str, float]:
    """Call one by one, and return what a call took."""
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        await asyncio.wait_for(channel.channel_ready(), 60)
        call = sample_call(channel, model, 1)
        await call(0)
        before, own, latencies = threads(pid), threads(os.getpid()), []
        for seed in range(1, calls + 1):
            began = time.perf_counter()
            await call(seed)
            latencies.append(time.perf_counter() - began)
        spent, mine = since(before, threads(pid)), since(own, threads(os.getpid()))
    loop, everything, client = spent.get(pid, (0, 0)), summed(spent), summed(mine)
    each = (*loop, everything[0] - loop[0], everything[1] - loop[1], *client)
    figures = {name: value / calls for name, value in zip(COLUMNS, each, strict=True)}
    return {"p50_ms": statistics.median(latencies) * 1e3, **figures}


def threads(pid: int) -> dict[int, tuple[float, int]]:
    """Return the CPU time in µs and the voluntary switches of each thread of a process."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended
            used_ns = int((task / "schedstat").read_text().split()[0])
            switches = (task / "status").read_text().split("\nvoluntary_ctxt_switches:")[1].split()[0]
            found[int(task.name)] = used_ns / 1e3, int(switches)
    return found


def since(before: dict[int, tuple[float, int]], now: dict[int, tuple[float, int]]) -> dict[int, tuple[float, int]]:
    starts = {thread: before.get(thread, (0.0, 0)) for thread in now}
    return {thread: (used - starts[thread][0], slept - starts[thread][1]) for thread, (used, slept) in now.items()}


def summed(spent: dict[int, tuple[float, int]]) -> tuple[float, int]:
    return sum(used for used, _ in spent.values()), sum(slept for _, slept in spent.values())


def table(report: dict[str, Any]) -> str:
    lines = [
        "| | p50 ms | event loop: CPU µs | sleeps | other threads: CPU µs | sleeps | client: CPU µs | sleeps |",
        "|---|---|---|---|---|---|---|---|",
    ]
    p50 = {}
    for name, turns in report["turns"].items():
        middle = {key: statistics.median(one[key] for one in turns) for key in turns[0]}
        p50[name] = middle["p50_ms"]
        cells = [f"{middle[key]:,.0f}" if key.endswith("_us") else f"{middle[key]:.1f}" for key in COLUMNS]
        lines.append(f"| {name} | {middle['p50_ms']:.2f} | {' | '.join(cells)} |")
    alone = statistics.median(report["alone_ms"])
    floor, ours = (p50["echo, g32"] + alone) / alone, p50["ganserve, g32"] / alone
    lines += [
        "",
        f"One sample of g32 alone takes {alone:.2f} ms; the floor is {floor:.2f} of it, this server {ours:.2f}.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
