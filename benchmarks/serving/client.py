"""Keep requests for samples in flight: client.py ADDRESS MODEL COUNT CONCURRENCY SECONDS.

Prints JSON: requests, samples, seconds, the client's CPU seconds, and the 50th and 99th percentile of the latencies in
ms. All requests share one event loop and at most four channels, like those of one application. The environment
variables CLIENT_CA and CLIENT_TOKEN name a file of authorities, to encrypt, and a token.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import uvloop

from ganserve.v1 import gan_service_pb2, gan_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

CHANNELS = 4
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]


async def main(address: str, model: str, count: int, concurrency: int, seconds: float) -> None:
    token, authorities = os.environ.get("CLIENT_TOKEN"), os.environ.get("CLIENT_CA")
    metadata = [("authorization", f"Bearer {token}")] if token else None
    if authorities:
        trusted = grpc.ssl_channel_credentials(Path(authorities).read_bytes())  # noqa: ASYNC240 - before all calls
        open_channel = functools.partial(grpc.aio.secure_channel, address, trusted, options=OPTIONS)
    else:
        open_channel = functools.partial(grpc.aio.insecure_channel, address, options=OPTIONS)
    channels = [open_channel() for _ in range(min(CHANNELS, concurrency))]
    await asyncio.gather(*(asyncio.wait_for(channel.channel_ready(), 60) for channel in channels))
    calls = [sample_call(channel, model, count, metadata) for channel in channels]
    print(json.dumps(await keep_in_flight(calls, concurrency, seconds)))
    await asyncio.gather(*(channel.close() for channel in channels))


def sample_call(
    channel: grpc.aio.Channel, model: str, count: int, metadata: Any = None, label: int = 0
) -> Callable[[int], Awaitable[Any]]:
    """Return a function that requests `count` samples of a label with a seed, and returns their tensor."""
    stub = gan_service_pb2_grpc.GanServiceStub(channel)

    async def call(seed: int) -> Any:
        request = gan_service_pb2.SampleRequest(model=model, count=count, seed=seed, label_indices=[label])
        response = await stub.Sample(request, metadata=metadata)
        return response.samples.tensor

    return call


async def keep_in_flight(
    calls: Sequence[Callable[[int], Awaitable[Any]]], concurrency: int, seconds: float
) -> dict[str, float]:
    """Call with seeds 0, 1, 2, …, `concurrency` calls at a time, shared out among `calls`; return the figures.

    A call returns something with the `shape` of its samples.
    """
    seeds = itertools.count()
    latencies: list[float] = []
    drawn = 0

    async def loop(call: Callable[[int], Awaitable[Any]]) -> None:
        nonlocal drawn
        while (began := time.perf_counter()) < stop:
            samples = await call(next(seeds))
            latencies.append(time.perf_counter() - began)
            drawn += samples.shape[0]

    start, cpu = time.perf_counter(), time.process_time()
    stop = start + seconds
    await asyncio.gather(*(loop(calls[index % len(calls)]) for index in range(concurrency)))
    median, tail = np.percentile(latencies, (50, 99)) * 1e3
    return {
        "requests": len(latencies),
        "samples": drawn,
        "seconds": time.perf_counter() - start,
        "cpu_s": time.process_time() - cpu,
        "p50_ms": median,
        "p99_ms": tail,
    }


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])))
