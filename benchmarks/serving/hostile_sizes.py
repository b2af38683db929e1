"""Send requests whose fields have up to 100,000 entries to every RPC: the event loop must stay free.

    python benchmarks/serving/hostile_sizes.py [--requests 100000] [--seed 0] [--json FILE]

Every repeated field, map, string and bytes field of every message is found by the protocol's descriptors
(tests/support/growing_requests.py) and sent with 1 to 100,000 entries or bytes, alone and with other fields that fit.
Two processes send. The goals: no hold of the event loop over 50 ms, no INTERNAL, UNKNOWN or UNAVAILABLE answer.
"""

from __future__ import annotations

import argparse
import collections
import json
import multiprocessing
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc
from common import HERE, machine, memory_mib, serving

sys.path.insert(0, str(HERE.parents[1] / "tests" / "support"))
from growing_requests import RPCS, Growing, growing_fields
from hostile import METHODS
from stubs import OPTIONS
from tiny_packages import build_tiny_repository

PROCESSES = 2
MOST_ENTRIES = 100_000
GOAL_MS = 50.0
_POOL = 600  # different requests of a process
_BAD = {"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    answers: collections.Counter[str] = collections.Counter()
    unexpected: list[str] = []
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        models, held = build_tiny_repository(Path(folder) / "models"), Path(folder) / "held.json"
        command = [str(HERE / "watched_server.py"), str(held), "--models", str(models), "--port", "0"]
        with serving([*command, "--provider", "cpu", "--poll-s", "0", "--log-level", "error"]) as (server, address):
            time.sleep(6)  # the watch begins
            share = arguments.requests // PROCESSES
            jobs = [(address, arguments.seed * PROCESSES + index, share) for index in range(PROCESSES)]
            with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
                for counts, found in pool.starmap(send, jobs):
                    answers.update(counts)
                    unexpected += found
            if server.poll() is not None:
                unexpected.append(f"the server ended with {server.returncode}")
            memory = memory_mib(server.pid)
        longest = json.loads(held.read_text())
    seconds = time.perf_counter() - began
    print(f"{sum(answers.values()):,} requests to {len(RPCS)} RPCs in {seconds:.0f} s, {memory:.0f} MiB at the end")
    print(", ".join(f"{count:,} {status}" for status, count in answers.most_common()))
    met = "met" if longest["held_ms"] <= GOAL_MS else "missed"
    print(f"longest hold of the loop {longest['held_ms']:.0f} ms (goal {GOAL_MS:g} ms: {met})")
    print(f"longest hold that the server's own work can explain {longest['caused_ms']:.0f} ms")
    print(f"longest CPU time of the loop between two ticks {longest['cpu_ms']:.0f} ms")
    print(f"unexpected: {len(unexpected) or 'nothing'}", *unexpected[:10], sep="\n")
    if arguments.json:
        report: dict[str, Any] = {"machine": machine(), "command": sys.argv, "answers": answers, "seconds": seconds}
        report |= {"loop": longest, "memory_mib": memory, "unexpected": unexpected}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    if unexpected:
        sys.exit(1)


def send(address: str, seed: int, count: int) -> tuple[dict[str, int], list[str]]:
    source = random.Random(seed)
    fields = [field for rpc in RPCS for field in growing_fields(rpc)]
    pool = [one_request(source, source.choice(fields)) for _ in range(min(_POOL, count))]
    answers: collections.Counter[str] = collections.Counter()
    unexpected = []
    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        for _ in range(count):
            name, rpc, request = source.choice(pool)
            status, details = call(channel, rpc, request)
            answers[status] += 1
            if status in _BAD:
                unexpected.append(f"{name} with {len(request)} bytes: {status} {details}")
    return dict(answers), unexpected


def one_request(source: random.Random, field: Growing) -> tuple[str, str, bytes]:
    size = int(MOST_ENTRIES ** source.random())
    fitting = source.random() < 0.5 and "Unload" not in field.rpc
    return f"{field} x {size}", field.rpc, field.request(size, fitting=fitting)


def call(channel: grpc.Channel, rpc: str, request: bytes) -> tuple[str, str]:
    method = METHODS[rpc]
    kinds = (
        (channel.unary_unary, channel.unary_stream),
        (channel.stream_unary, channel.stream_stream),
    )
    kind: Any = kinds[method.client_streaming][method.server_streaming]
    try:
        answer = kind(rpc)(iter([request]) if method.client_streaming else request, timeout=60)
        if method.server_streaming:
            for _ in answer:
                pass
    except grpc.RpcError as error:
        return error.code().name, error.details() or ""
    return "OK", ""


if __name__ == "__main__":
    main()
