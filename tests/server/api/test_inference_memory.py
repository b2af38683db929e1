"""Test that the answers of ModelStreamInfer count as memory that their caller holds."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from in_process import in_process_server
from open_inference import raw_request
from stubs import TIMEOUT_S
from tiny_packages import TinyModel, build_tiny_package

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

SAMPLE_BYTES = 256 * 256 * 3


def draws(count: int) -> service_pb2.ModelInferRequest:
    request = raw_request("tiny", {}, request_id=str(count))
    request.parameters["count"].int64_param = count
    return request


async def answers(stub: Any, requests: list[service_pb2.ModelInferRequest]) -> AsyncGenerator[Any]:
    """Send each request of a stream after the answer to the one before."""
    stream = stub.ModelStreamInfer(timeout=TIMEOUT_S)
    for request in requests:
        await stream.write(request)
        yield await stream.read()
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF


def test_the_largest_answer_of_a_stream_is_held(tmp_path: Path) -> None:
    build_tiny_package(tmp_path, model=TinyModel(shape=(256, 256, 3), label_names=()))

    async def main() -> None:
        async with in_process_server(tmp_path) as server:
            budget, stub = server.server.gate.budget, service_pb2_grpc.GRPCInferenceServiceStub(server.channel)
            got: list[tuple[str, str, int]] = []
            async with contextlib.aclosing(answers(stub, [draws(2), draws(3), draws(1), draws(300)])) as stream:
                async for answer in stream:
                    got.append((answer.infer_response.id, answer.error_message, budget.held_bytes))
                    if len(got) == 3:
                        budget.size = budget.held_bytes + 2**22
            assert [request for request, _, _ in got] == ["2", "3", "1", "300"]
            first, second, third, _ = (held for _, _, held in got)
            assert second - first == 3 * SAMPLE_BYTES, "the samples by which the answer is larger, three times"
            assert third == second
            assert "[RESOURCE_EXHAUSTED] the server has no memory for this request now" in got[3][1]
            async with asyncio.timeout(TIMEOUT_S):
                while budget.held_bytes:  # noqa: ASYNC110 - there is no event
                    await asyncio.sleep(0.002)

    asyncio.run(main())
