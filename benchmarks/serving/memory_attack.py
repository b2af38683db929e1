"""Attack the memory of a server that is limited to 512 MiB, and call it from another address meanwhile.

    python benchmarks/serving/memory_attack.py [--seconds 10] [--limit-mib 512] [--json FILE]

Each attack runs for some seconds from 127.0.0.1: large answers that nobody reads, streams that nobody reads, half
requests, megabytes of labels, half of the largest requests at once, and 2,000 connections. A good client calls
`sample(1)` from 127.0.0.2. The goals: the server stays below its limit, the good client's 99th percentile below ten
times its quiet value, and none of its calls fails. The machine must be quiet.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import resource
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from common import HERE, machine, memory_mib

sys.path.insert(0, str(HERE.parents[1] / "tests" / "support"))
from ganserve.v1 import gan_service_pb2, gan_service_pb2_grpc
from half_requests import half_requests
from relay import relay
from server_process import running_server
from stubs import OPTIONS
from tiny_packages import TinyModel, build_tiny_package

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from multiprocessing.synchronize import Event

GOAL_TIMES = 10.0
_SAMPLE, _STREAM = "/ganserve.v1.GanService/Sample", "/ganserve.v1.GanService/StreamSamples"
_CONNECTIONS = 2000


def unread(address: str, over: Event, path: str, request: bytes, count: int) -> None:
    """Begin calls and read nothing."""
    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        calls = []
        while not over.is_set():
            if len(calls) < count:
                calls.append(channel.stream_stream(path)(iter([request])))
            time.sleep(0.02)


def unread_answers(address: str, over: Event) -> None:
    request = gan_service_pb2.SampleRequest(model="large", count=1200, seed=1)
    unread(address, over, _SAMPLE, request.SerializeToString(), 50)


def unread_streams(address: str, over: Event) -> None:
    request = gan_service_pb2.SampleRequest(model="large", count=10_000, seed=1)
    stream = gan_service_pb2.StreamSamplesRequest(request=request)
    unread(address, over, _STREAM, stream.SerializeToString(), 100)


def half_uploads(address: str, over: Event) -> None:
    with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
        for _ in range(20):
            stack.enter_context(half_requests(address, _SAMPLE, count=20, declared=2**24 - 100, sent=2**16 - 100))
        over.wait()


def many_labels(address: str, over: Event) -> None:
    request = gan_service_pb2.SampleRequest(model="tiny", count=1, label_indices=[0] * 15_000_000).SerializeToString()
    _repeat(address, over, request)


def large_requests(address: str, over: Event) -> None:
    request = gan_service_pb2.SampleRequest(model="tiny", count=1)
    request.latents.data = bytes(15 * 2**20)
    _repeat(address, over, request.SerializeToString())


def _repeat(address: str, over: Event, request: bytes) -> None:
    """Keep 32 calls in flight."""
    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        call: Any = channel.unary_unary(_SAMPLE)
        running = [call.future(request, timeout=60) for _ in range(32)]
        while not over.is_set():
            running = [call.future(request, timeout=60) if one.done() else one for one in running]
            time.sleep(0.01)


def many_connections(address: str, over: Event) -> None:
    host, _, port = address.rpartition(":")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100
    with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
        for _ in range(min(_CONNECTIONS, most)):
            connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        over.wait()


ATTACKS = (unread_answers, unread_streams, half_uploads, many_labels, large_requests, many_connections)


def check_running(process: BaseProcess) -> None:
    """Raise RuntimeError if a process has failed by itself; one that the server cut off may have ended."""
    if process.exitcode:
        raise RuntimeError(f"{process.name} ended by itself with {process.exitcode}: nothing was attacked")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each attack")
    parser.add_argument("--limit-mib", type=int, default=512)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        build_tiny_package(Path(folder), "tiny")
        build_tiny_package(Path(folder), "large", model=TinyModel(shape=(128, 128, 3), label_names=()))
        flags = ("--memory-limit-mib", str(arguments.limit_mib), "--stall-timeout-s", "5", "--poll-s", "0")
        with running_server(Path(folder), *flags) as server:
            pid, address = server.process.pid, server.address
            rounds = asyncio.run(attack(pid, address, arguments.seconds))
            ended, log = server.process.poll(), server.log
    quiet = rounds["quiet"]["p99_ms"]
    print("| attack | calls | failed | p50 ms | p99 ms | of quiet | most MiB |\n|---|---|---|---|---|---|---|")
    for name, seen in rounds.items():
        figures = f"{seen['p50_ms']:.1f} | {seen['p99_ms']:.1f} | {seen['p99_ms'] / quiet:.1f}"
        print(f"| {name} | {seen['calls']:.0f} | {seen['failed']:.0f} | {figures} | {seen['most_mib']:.0f} |")
    cut_off = [line for line in log.splitlines() if "did not" in line]
    print(f"{len(cut_off)} clients were cut off", *cut_off[:3], sep="\n")
    worst = max(seen["p99_ms"] for seen in rounds.values()) / quiet
    most = max(seen["most_mib"] for seen in rounds.values())
    failed = sum(seen["failed"] for seen in rounds.values())
    met = ended is None and most <= arguments.limit_mib and worst <= GOAL_TIMES and not failed
    verdict = "met" if met else "missed"
    print(f"p99 {worst:.1f} times its quiet value, {most:.0f} MiB, {failed:.0f} calls failed: {verdict}")
    if arguments.json:
        report = {"machine": machine(), "command": sys.argv, "rounds": rounds, "cut_off": len(cut_off)}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


async def attack(pid: int, address: str, seconds: float) -> dict[str, dict[str, float]]:
    """Return what a good client saw, quiet and during each attack."""
    context = multiprocessing.get_context("spawn")
    rounds = {}
    async with relay(address) as other, grpc.aio.insecure_channel(other, options=OPTIONS) as channel:
        stub = gan_service_pb2_grpc.GanServiceStub(channel)
        rounds["quiet"] = await good_client(pid, stub, seconds)
        for run in ATTACKS:
            over = context.Event()
            process = context.Process(target=run, args=(address, over), name=run.__name__, daemon=True)
            process.start()
            await asyncio.sleep(2)  # the process begins
            rounds[run.__name__] = await good_client(pid, stub, seconds)
            check_running(process)
            over.set()
            await asyncio.to_thread(process.join, 20)
            process.kill()
    return rounds


async def good_client(pid: int, stub: Any, seconds: float) -> dict[str, float]:
    request = gan_service_pb2.SampleRequest(model="tiny", count=1, label_indices=[0])
    taken, failed, most = [], 0, 0.0
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        try:
            await stub.Sample(request, timeout=10)
        except grpc.aio.AioRpcError as error:
            failed += 1
            print(error.code().name, error.details(), file=sys.stderr)
        taken.append((time.perf_counter() - began) * 1e3)
        most = max(most, memory_mib(pid))
        await asyncio.sleep(0.005)
    median, tail = np.percentile(taken, (50, 99))
    return {"calls": len(taken), "failed": failed, "p50_ms": median, "p99_ms": tail, "most_mib": most}


if __name__ == "__main__":
    main()
