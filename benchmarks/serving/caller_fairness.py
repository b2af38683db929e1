"""Measure how long a caller waits while another one keeps 1,400 calls in flight.

    python benchmarks/serving/caller_fairness.py [--model conv8] [--calls 1400] [--connections 4] [--seconds 10]
      [--json FILE]

One client requests one sample at a time from 127.0.0.2, first alone, then while a second process keeps calls of one
sample with PRIORITY_HIGH in flight from 127.0.0.1. A batch is the time of a model call of 64 samples on one core,
measured alone. The goal: the median grows by at most 3 batches. The machine must be quiet.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from common import HERE, machine, server
from overhead import BATCH, bare
from packages import write_generator_package

sys.path.insert(0, str(HERE.parents[1] / "tests" / "support"))
from ganserve.v1 import gan_service_pb2, gan_service_pb2_grpc
from relay import relay

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

GOAL_BATCHES = 3.0
_OPTIONS = [("grpc.use_local_subchannel_pool", 1)]
# What a server may answer to so many calls.
_EXPECTED = (
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNAVAILABLE,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("g32", "conv8"), default="conv8")
    parser.add_argument("--calls", type=int, default=1400)
    parser.add_argument("--connections", type=int, default=4, help="of the caller with many calls")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        package = write_generator_package(Path(folder), arguments.model)
        batch_ms = BATCH / bare(package, 1, 1, spinning=False)(2.0).samples_per_s * 1e3
        with server(Path(folder), []) as (_, address):
            alone, beside = asyncio.run(measure(address, arguments))
    growth = (beside["p50_ms"] - alone["p50_ms"]) / batch_ms
    print(f"a batch of {BATCH} takes {batch_ms:.1f} ms\n")
    print("| n=1, C=1 | requests | p50 ms | p99 ms |\n|---|---|---|---|")
    for name, seen in (("alone", alone), (f"beside {arguments.calls} calls", beside)):
        print(f"| {name} | {seen['requests']} | {seen['p50_ms']:.1f} | {seen['p99_ms']:.1f} |")
    met = "met" if growth <= GOAL_BATCHES else "missed"
    print(f"\np50 grows by {growth:.2f} batches (goal: at most {GOAL_BATCHES:g}): {met}")
    if arguments.json:
        report = {"machine": machine(), "command": sys.argv, "batch_ms": batch_ms, "growth": growth}
        arguments.json.write_text(json.dumps(report | {"alone": alone, "beside": beside}, indent=1) + "\n")


async def measure(address: str, arguments: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    seconds = arguments.seconds
    context = multiprocessing.get_context("spawn")
    begun, over = context.Event(), context.Event()
    async with relay(address) as other, grpc.aio.insecure_channel(other, options=_OPTIONS) as channel:
        stub = gan_service_pb2_grpc.GanServiceStub(channel)
        alone = await latencies(stub, seconds)
        flooding = context.Process(target=flood, args=(address, arguments.calls, arguments.connections, begun, over))
        flooding.start()
        if not await asyncio.to_thread(begun.wait, 60):
            raise RuntimeError("the flood did not begin within 60 s")
        beside = await latencies(stub, seconds)
        over.set()
        await asyncio.to_thread(flooding.join)
    return alone, beside


async def latencies(stub: Any, seconds: float) -> dict[str, Any]:
    request = gan_service_pb2.SampleRequest(count=1, label_indices=[0])
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        await stub.Sample(request, timeout=60)
        taken.append((time.perf_counter() - began) * 1e3)
    median, tail = np.percentile(taken, (50, 99))
    return {"requests": len(taken), "p50_ms": median, "p99_ms": tail}


def flood(address: str, calls: int, connections: int, begun: Event, over: Event, model: str = "") -> None:
    asyncio.run(_flood(address, calls, connections, begun, over, model))


async def _flood(address: str, calls: int, connections: int, begun: Event, over: Event, model: str) -> None:
    request = gan_service_pb2.SampleRequest(
        model=model, count=1, label_indices=[0], priority=gan_service_pb2.PRIORITY_HIGH
    )

    async def loop(stub: Any) -> None:
        while not over.is_set():
            try:
                await stub.Sample(request, timeout=60)
            except grpc.aio.AioRpcError as error:
                if error.code() not in _EXPECTED:
                    raise
            begun.set()

    channels = [grpc.aio.insecure_channel(address, options=_OPTIONS) for _ in range(connections)]
    stubs = [gan_service_pb2_grpc.GanServiceStub(channel) for channel in channels]
    await asyncio.gather(*(loop(stubs[index % connections]) for index in range(calls)))
    await asyncio.gather(*(channel.close() for channel in channels))


if __name__ == "__main__":
    main()
