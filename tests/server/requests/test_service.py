"""Test the service in a process that never loads gRPC."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ganserve_server.engine.parallelism import choose_parallelism, usable_cores
from ganserve_server.engine.providers import CPU, CUDA
from ganserve_server.error_text import listed, shown

if TYPE_CHECKING:
    from pathlib import Path

WITHOUT_GRPC = """
import asyncio, sys
from pathlib import Path
from ganserve.v1 import gan_service_pb2
from ganserve_server.queue.options import BatchConfig
from ganserve_server.engine.sessions import EngineConfig
from ganserve_server.errors import InvalidRequestError
from ganserve_server.service import GanService
from ganserve_server.models.repository import Repository

repository = Repository(
    Path(sys.argv[1]),
    EngineConfig(provider="CPUExecutionProvider", threads=1),
    BatchConfig(max_batch_size=8, max_queued_samples=100, workers=2),
)
repository.load()
gan = GanService(repository)

async def main():
    request = gan_service_pb2.SampleRequest(model="tiny", count=20, seed=1, return_scores=True)
    whole = await gan.sample(request)
    stream = gan_service_pb2.StreamSamplesRequest(request=request, chunk_size=7)
    parts = [response.chunk async for response in gan.stream_samples(stream)]
    assert b"".join(part.samples.tensor.data for part in parts) == whole.samples.tensor.data
    assert [score for part in parts for score in part.scores] == list(whole.scores)
    try:
        await gan.sample(gan_service_pb2.SampleRequest(model="tiny"))
    except InvalidRequestError as error:
        assert [violation.field for violation in error.violations] == ["count"]
    else:
        raise AssertionError("a request for no samples was taken")
    assert len(gan.list_models().models) == 6
    assert gan.get_model(gan_service_pb2.GetModelRequest(model="tiny")).spec.version == 2

asyncio.run(main())
repository.close()
assert "grpc" not in sys.modules
"""


def test_the_core_serves_without_grpc(repository: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_GRPC, str(repository)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("provider", "asked", "chosen"),
    [
        (CPU, (3, 2), (3, 2)),
        (CPU, (1, 0), (1, usable_cores())),
        (CPU, (0, 0), (min(16, usable_cores()), max(1, usable_cores() // min(16, usable_cores())))),
        (CUDA, (0, 0), (2, 1)),
        (CUDA, (2, 0), (2, 1)),
    ],
)
def test_parallelism(provider: str, asked: tuple[int, int], chosen: tuple[int, int]) -> None:
    assert choose_parallelism(provider, *asked) == chosen


def test_long_values_and_lists_are_cut_in_messages() -> None:
    assert shown("seven") == "'seven'"
    assert len(shown("x" * 10**6)) < 120
    assert listed(["a", "b"]) == "a, b"
    assert listed([f"model{index}" for index in range(1000)]).endswith("… (1000 in all)")
    assert len(listed(["x" * 200] * 1000)) < 350
