"""Serve a generator with KServe's Python server: kserve_server.py GENERATOR_FILE PORT, for the Open Inference Protocol.

Its Python server joins no requests (its batcher is another program, for Kubernetes), so a queue in the model does. It
runs on uvloop, which KServe takes for HTTP when it is installed, without the log lines of each request. It listens on
all addresses: KServe has no option for another one.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import kserve
import uvloop
from generator import Generator, JoiningQueue, free_ports


class Gan(kserve.Model):
    """Answer rows of requests."""

    def __init__(self, file: str) -> None:
        super().__init__("gan")
        self._generator = Generator(file)
        self._queue: JoiningQueue | None = None
        self.ready = True

    async def predict(self, payload: kserve.InferRequest, *_: Any, **__: Any) -> kserve.InferResponse:
        """Return the samples of one request."""
        if self._queue is None:
            self._queue = JoiningQueue(self._generator)
        rows = payload.inputs[0].as_numpy()
        samples = await self._queue.samples(len(rows), int(rows[0, 1]), int(rows[0, 0]))
        output = kserve.InferOutput("samples", list(samples.shape), "UINT8")
        output.set_data_from_numpy(samples, binary_data=True)
        return kserve.InferResponse(payload.id, self.name, [output], use_binary_outputs=True)


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.set_event_loop(asyncio.new_event_loop())  # KServe sets up this one, and runs another one
    (http_port,) = free_ports(1)
    server = kserve.ModelServer(
        http_port=http_port, grpc_port=int(sys.argv[2]), workers=1, enable_latency_logging=False
    )
    for name in ("kserve", "kserve.trace", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
    server.start([Gan(sys.argv[1])])
