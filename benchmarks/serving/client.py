"""Keeps some requests for samples in flight: client.py ADDRESS MODEL COUNT CONCURRENCY SECONDS.

Prints how many samples came, in how many seconds, and the CPU seconds that this took here.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time

import grpc
import uvloop

from ganserve.v1 import gan_service_pb2, gan_service_pb2_grpc


async def main(address: str, model: str, count: int, concurrency: int, seconds: float) -> None:
    seeds = itertools.count()
    drawn = 0

    async def loop(stub: gan_service_pb2_grpc.GanServiceAsyncStub) -> None:
        nonlocal drawn
        while time.perf_counter() < stop:
            request = gan_service_pb2.SampleRequest(model=model, count=count, seed=next(seeds), label_indices=[0])
            response = await stub.Sample(request)
            drawn += response.samples.tensor.shape[0]

    channels = [
        grpc.aio.insecure_channel(
            address, options=[("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        )
        for _ in range(concurrency)
    ]
    stubs = [gan_service_pb2_grpc.GanServiceStub(channel) for channel in channels]
    stop = time.perf_counter() + 60
    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    start, cpu = time.perf_counter(), time.process_time()
    stop = start + seconds
    await asyncio.gather(*(loop(stub) for stub in stubs))
    print(drawn, time.perf_counter() - start, time.process_time() - cpu)
    await asyncio.gather(*(channel.close() for channel in channels))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])))
