"""Serve a generator with BentoML: bentoml_server.py GENERATOR_FILE PORT, for JSON in and bytes out at /sample.

BentoML's adaptive batching joins up to 64 samples (rows), and waits as long as it finds worth while. It splits requests
to fill a batch, so the bytes are made after it has joined them again. It imports this file once more in its own worker,
and writes no line for each request.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import bentoml
import numpy as np
from bentoml.validators import ContentType, DType
from generator import MAX_BATCH_SIZE, Generator
from pydantic import BeforeValidator

FILE = "GENERATOR_FILE"
LONGEST_WAIT_MS = 60_000  # it refuses requests that it expects to take longer

Rows = Annotated[np.ndarray, DType("int64")]
Bytes = Annotated[bytes, BeforeValidator(np.ndarray.tobytes), ContentType("application/octet-stream")]


@bentoml.service(
    name="gan",
    workers=1,
    traffic={"timeout": 60, "max_concurrency": 256},
    logging={"access": {"enabled": False}},
)
class Gan:
    """Answer rows of requests."""

    def __init__(self) -> None:
        self._generator = Generator(os.environ[FILE])

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH_SIZE, max_latency_ms=LONGEST_WAIT_MS)
    def sample(self, rows: Rows) -> Bytes:
        return self._generator.samples_of_rows(rows)


def main(file: str, port: str) -> None:
    os.environ[FILE] = file
    here = Path(__file__)
    command = [sys.executable, "-m", "bentoml", "serve", f"{here.stem}:Gan", "--working-dir", str(here.parent)]
    os.execv(sys.executable, [*command, "--host", "127.0.0.1", "--port", port])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
