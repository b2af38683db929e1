"""Serve a generator with Triton's core (nvidia-pytriton): triton_server.py GENERATOR_FILE PORT, for its gRPC protocol.

Triton's dynamic batcher joins up to 64 samples, and waits for none.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from generator import MAX_BATCH_SIZE, ROW, Generator, free_ports
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

if TYPE_CHECKING:
    from collections.abc import Callable


def answer(generator: Generator) -> Callable[[list[Any]], list[dict[str, Any]]]:
    """Return the function that Triton calls with the requests of a batch."""

    def infer(requests: list[Any]) -> list[dict[str, Any]]:
        rows = [request["rows"] for request in requests]
        drawn = generator.samples([(len(one), int(one[0, 1]), int(one[0, 0])) for one in rows])
        return [{"samples": samples} for samples in drawn]

    return infer


def main(file: str, port: int) -> None:
    generator = Generator(file)
    http_port, metrics_port = free_ports(2)
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=http_port,
        grpc_address="127.0.0.1",
        grpc_port=port,
        metrics_address="127.0.0.1",
        metrics_port=metrics_port,
        exit_timeout_secs=5,
    )
    with Triton(config=config) as triton:
        triton.bind(
            "gan",
            infer_func=answer(generator),
            inputs=[Tensor(name="rows", dtype=np.int64, shape=(ROW,))],
            outputs=[Tensor(name="samples", dtype=np.uint8, shape=generator.sample_shape)],
            config=ModelConfig(max_batch_size=MAX_BATCH_SIZE, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
            strict=False,
        )
        triton.serve()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
