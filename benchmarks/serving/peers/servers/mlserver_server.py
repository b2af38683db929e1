"""Serve a generator with MLServer: mlserver_server.py GENERATOR_FILE PORT WAIT_S, for the Open Inference Protocol.

Its adaptive batching joins at most 64 requests, whatever their samples; each batch waits WAIT_S for more. A sample
travels as one BYTES element: MLServer keeps tensors of numbers as lists. The model runs in the server's process,
without parallel workers.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import numpy as np
import uvloop
from generator import MAX_BATCH_SIZE, ROW, Generator, free_ports
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Gan(MLModel):
    """Answer rows of requests."""

    async def load(self) -> bool:
        self._generator = Generator(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        data = payload.inputs[0].data
        rows = np.array(getattr(data, "root", data), np.int64).reshape(-1, ROW)
        samples = [sample.tobytes() for sample in self._generator.samples_of_rows(rows)]
        output = ResponseOutput(name="samples", shape=[len(samples)], datatype="BYTES", data=samples)
        return InferenceResponse(model_name=self.name, outputs=[output])


async def main(file: str, port: int, wait_s: float) -> None:
    http_port, metrics_port = free_ports(2)
    settings = Settings(
        host="127.0.0.1",
        http_port=http_port,
        grpc_port=port,
        metrics_port=metrics_port,
        metrics_dir=str(Path.cwd()),
        parallel_workers=0,
        debug=False,
        load_models_at_startup=False,
    )
    model = ModelSettings(
        name="gan",
        implementation=Gan,
        max_batch_size=MAX_BATCH_SIZE,
        max_batch_time=wait_s,
        parameters=ModelParameters(uri=file),
    )
    await MLServer(settings).start([model])


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
