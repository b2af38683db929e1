"""Serve a generator with Ray Serve: ray_server.py GENERATOR_FILE PORT, for `ganserve.v1` behind Ray's gRPC proxy.

One replica joins up to 64 samples by `serve.batch`, and waits for none. Ray's gRPC proxy listens on all addresses: it
has no option for another one. Everything else of the cluster is on 127.0.0.1.
"""
# ruff: noqa: N802 - the method's name is the protocol's

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import ray
from generator import MAX_BATCH_SIZE, Generator, free_ports
from ray import serve
from ray.serve.config import HTTPOptions, gRPCOptions

from ganserve.v1 import gan_service_pb2, tensor_pb2


def samples(requests: list[gan_service_pb2.SampleRequest]) -> int:
    """Return how many samples a batch has."""
    return sum(request.count for request in requests)


@serve.deployment(max_ongoing_requests=256, health_check_period_s=5)
class Gan:
    """Implement `Sample` of `ganserve.v1.GanService`."""

    def __init__(self, file: str) -> None:
        self._generator = Generator(file)

    async def Sample(self, request: gan_service_pb2.SampleRequest) -> gan_service_pb2.SampleResponse:
        drawn = await self._drawn(request)
        response = gan_service_pb2.SampleResponse(model=request.model, version=1, seed=request.seed)
        tensor = response.samples.tensor
        tensor.data_type, tensor.data = tensor_pb2.DATA_TYPE_UINT8, drawn.tobytes()
        tensor.shape.extend(drawn.shape)
        return response

    @serve.batch(max_batch_size=MAX_BATCH_SIZE, batch_wait_timeout_s=0.0, batch_size_fn=samples)
    async def _drawn(self, requests: list[gan_service_pb2.SampleRequest]) -> list[Any]:
        return self._generator.samples([(one.count, one.label_indices[0], one.seed) for one in requests])


def main(file: str, port: int) -> None:
    (http_port,) = free_ports(1)
    ray.init(
        num_cpus=len(os.sched_getaffinity(0)),
        num_gpus=0,
        include_dashboard=False,
        object_store_memory=80 * 2**20,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
        _temp_dir=str(Path.cwd()),
    )
    serve.start(
        http_options=HTTPOptions(host="127.0.0.1", port=http_port),
        grpc_options=gRPCOptions(
            port=port, grpc_servicer_functions=["ganserve.v1.gan_service_pb2_grpc.add_GanServiceServicer_to_server"]
        ),
    )
    serve.run(Gan.bind(file), blocking=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
