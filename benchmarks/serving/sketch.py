"""Serve a generator with as little code as possible: sketch.py GENERATOR_FILE. Prints its HOST:PORT.

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
import numpy as np
import onnxruntime
import uvloop

from ganserve.v1 import gan_service_pb2, gan_service_pb2_grpc, tensor_pb2

_MAX_BATCH_SIZE = 64


class Sketch(gan_service_pb2_grpc.GanServiceServicer):
    """Implement `Sample` of `ganserve.v1.GanService`."""

    def __init__(self, file: str) -> None:
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._dimension = next(port.shape[1] for port in self._session.get_inputs() if port.name == "latents")
        self._waiting: asyncio.Queue[tuple[Any, int, asyncio.Future[Any]]] = asyncio.Queue()
        self._worker = asyncio.get_running_loop().create_task(self._work())

    async def Sample(self, request: gan_service_pb2.SampleRequest, _context: Any) -> gan_service_pb2.SampleResponse:
        latents = np.random.Generator(np.random.Philox(request.seed)).standard_normal(
            (request.count, self._dimension), np.float32
        )
        drawn: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((latents, request.label_indices[0], drawn))
        samples = await drawn
        response = gan_service_pb2.SampleResponse(model=request.model, version=1, seed=request.seed)
        tensor = response.samples.tensor
        tensor.data_type, tensor.data = tensor_pb2.DATA_TYPE_UINT8, samples.tobytes()
        tensor.shape.extend(samples.shape)
        return response

    async def _work(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            while not self._waiting.empty() and sum(len(latents) for latents, _, _ in batch) < _MAX_BATCH_SIZE:
                batch.append(self._waiting.get_nowait())
            counts = [len(latents) for latents, _, _ in batch]
            labels = np.repeat(np.array([label for _, label, _ in batch], np.int64), counts)
            feed = {"latents": np.concatenate([latents for latents, _, _ in batch]), "labels": labels}
            (samples,) = self._session.run(["samples"], feed)
            for (_, _, drawn), part in zip(batch, np.split(samples, np.cumsum(counts)[:-1]), strict=True):
                drawn.set_result(part)


async def main(file: str) -> None:
    server = grpc.aio.server()
    gan_service_pb2_grpc.add_GanServiceServicer_to_server(Sketch(file), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"serving on 127.0.0.1:{port}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
