"""Serve a generator with as little code as possible: sketch.py GENERATOR_FILE [PORT]. Prints its HOST:PORT.

It has grpc.aio, uvloop, one queue, and onnxruntime on the event loop, for graphs that take no time; a seed gives
numpy's normal numbers. It has no checks, refusals, deadlines, counters or request IDs: the difference is the cost of a
service.
"""
# ruff: noqa: N802 - the method's name is the protocol's

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import uvloop
from peers.servers.generator import Generator, JoiningQueue

from ganserve.v1 import gan_service_pb2, gan_service_pb2_grpc, tensor_pb2


class Sketch(gan_service_pb2_grpc.GanServiceServicer):
    """Implement `Sample` of `ganserve.v1.GanService`."""

    def __init__(self, file: str) -> None:
        self._queue = JoiningQueue(Generator(file))

    async def Sample(self, request: gan_service_pb2.SampleRequest, _context: Any) -> gan_service_pb2.SampleResponse:
        samples = await self._queue.samples(request.count, request.label_indices[0], request.seed)
        response = gan_service_pb2.SampleResponse(model=request.model, version=1, seed=request.seed)
        tensor = response.samples.tensor
        tensor.data_type, tensor.data = tensor_pb2.DATA_TYPE_UINT8, samples.tobytes()
        tensor.shape.extend(samples.shape)
        return response


async def main(file: str, port: int = 0) -> None:
    server = grpc.aio.server()
    gan_service_pb2_grpc.add_GanServiceServicer_to_server(Sketch(file), server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print(f"serving on 127.0.0.1:{port}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], *map(int, sys.argv[2:])))
