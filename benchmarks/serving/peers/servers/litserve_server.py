"""Serve a generator with LitServe: litserve_server.py GENERATOR_FILE PORT, for JSON in and bytes out at /predict.

LitServe joins at most 64 requests, whatever their samples. It waits 1 ms for others: with no wait at all, its worker
keeps a core busy even without requests.
"""

from __future__ import annotations

import sys
from typing import Any

import litserve
from fastapi import Response
from generator import MAX_BATCH_SIZE, Generator


class Gan(litserve.LitAPI):
    """Answer {"n": …, "label": …, "seed": …} with the bytes of the samples."""

    def __init__(self, file: str, **options: Any) -> None:
        super().__init__(**options)
        self._file = file

    def setup(self, _device: str) -> None:
        self._generator = Generator(self._file)

    def decode_request(self, request: dict[str, int]) -> tuple[int, int, int]:
        return request["n"], request["label"], request["seed"]

    def batch(self, inputs: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
        return inputs

    def predict(self, requests: list[tuple[int, int, int]]) -> list[Any]:
        return self._generator.samples(requests)

    def unbatch(self, output: list[Any]) -> list[Any]:
        return output

    def encode_response(self, output: Any) -> Response:
        shape = ",".join(map(str, output.shape))
        return Response(output.tobytes(), media_type="application/octet-stream", headers={"X-Shape": shape})


if __name__ == "__main__":
    api = Gan(sys.argv[1], max_batch_size=MAX_BATCH_SIZE, batch_timeout=0.001)
    litserve.LitServer(api, accelerator="cpu", devices=1, workers_per_device=1).run(
        host="127.0.0.1", port=int(sys.argv[2]), num_api_servers=1, generate_client_file=False, log_level="warning"
    )
