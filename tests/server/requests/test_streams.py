"""Test StreamSamples: bounded chunks, one chunk ahead, and no work after the client leaves."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from ganserve.v1 import gan_service_pb2
from ganserve_server.requests.limits import Limits
from in_process import InProcess, in_process_server
from stubs import to_array
from tiny_packages import CONDITIONAL, TinyModel, build_tiny_package

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

# With 48 KiB a sample, the buffers of gRPC and the kernel hold only a few.
LARGE = TinyModel(shape=(128, 128, 3), label_names=(), latent_dimension=4)


def run(models: Path, scenario: Callable[[InProcess], Awaitable[None]], **options: object) -> None:
    async def main() -> None:
        async with in_process_server(models, **options) as server:
            await asyncio.wait_for(scenario(server), 60)

    asyncio.run(main())


def open_stream(server: InProcess, *, chunk_size: int = 0, **fields: object) -> grpc.aio.UnaryStreamCall:
    request = gan_service_pb2.SampleRequest(**fields)
    return server.gan.StreamSamples(gan_service_pb2.StreamSamplesRequest(request=request, chunk_size=chunk_size))


def computed(server: InProcess) -> int:
    return server.repository.resolve("", 0).generator.statistics.samples


async def read_to_the_end(stream: grpc.aio.UnaryStreamCall) -> None:
    async for _ in stream:
        pass


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - there is no event
        await asyncio.sleep(0.002)


async def settled(value: Callable[[], int]) -> int:
    """Wait until a number has been the same for half a second, and return it."""
    last, since = value(), time.monotonic()
    while time.monotonic() - since < 0.5:
        await asyncio.sleep(0.02)
        if value() != last:
            last, since = value(), time.monotonic()
    return last


async def nothing_runs(server: InProcess) -> None:
    """Wait for the end of all calls, after which nothing may be in the queue."""
    await until(lambda: server.server.calls.running == 0)
    assert server.repository.resolve("", 0).generator.queued_samples == 0


def test_the_server_does_not_compute_far_ahead_of_a_slow_reader(tmp_path: Path) -> None:
    build_tiny_package(tmp_path, model=LARGE)

    async def scenario(server: InProcess) -> None:
        call = open_stream(server, count=100_000, chunk_size=16, seed=1)
        first = await call.read()
        assert len(to_array(first.chunk.samples.tensor)) == 16
        ahead = await settled(lambda: computed(server))
        # The chunk that was read, one ahead, and some megabytes in the buffers of gRPC and the kernel.
        assert ahead * 48 * 2**10 < 24 * 2**20
        for _ in range(ahead // 16 + 50):
            await call.read()
        assert computed(server) > ahead, "it continues when the client reads"
        call.cancel()

    run(tmp_path, scenario)


def test_the_work_ends_when_its_client_leaves(tmp_path: Path) -> None:
    build_tiny_package(tmp_path)

    async def scenario(server: InProcess) -> None:
        call = open_stream(server, count=2**40, seed=1)
        await call.read()
        call.cancel()
        await nothing_runs(server)

    run(tmp_path, scenario)


def test_chunks_are_bounded_by_samples_and_bytes(tmp_path: Path) -> None:
    build_tiny_package(tmp_path, model=LARGE)

    async def scenario(server: InProcess) -> None:
        async def sizes(**fields: object) -> list[int]:
            return [len(to_array(r.chunk.samples.tensor)) async for r in open_stream(server, seed=1, **fields)]

        assert await sizes(count=50, chunk_size=20) == [20, 20, 10]
        most = Limits().max_chunk_bytes // (128 * 128 * 3)
        assert await sizes(count=most + 1, chunk_size=1000) == [most, 1]
        assert await sizes(count=1) == [1]
        assert (await sizes(count=300, chunk_size=0))[0] == min(most, 4 * 64)

    run(tmp_path, scenario)


def test_a_stream_slows_down_in_a_full_queue_and_does_not_break(tmp_path: Path) -> None:
    build_tiny_package(tmp_path)

    async def scenario(server: InProcess) -> None:
        async def total() -> int:
            stream = open_stream(server, count=2000, chunk_size=64, seed=1)
            return sum([len(r.chunk.label_indices) async for r in stream])

        # The first chunks need room in the queue; later ones enter even a full queue.
        results = await asyncio.gather(*(total() for _ in range(20)), return_exceptions=True)
        served = [result for result in results if not isinstance(result, BaseException)]
        refused = [result for result in results if isinstance(result, BaseException)]
        assert served
        assert set(served) == {2000}
        assert all(error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED for error in refused)

    run(tmp_path, scenario, max_queued_samples=64)


def test_streams_with_scores_latents_and_labels_of_each_sample(tmp_path: Path) -> None:
    build_tiny_package(tmp_path)
    labels = (np.arange(500) % 3).tolist()

    async def scenario(server: InProcess) -> None:
        stream = open_stream(
            server, count=500, chunk_size=90, seed=4, label_indices=labels, return_latents=True, return_scores=True
        )
        chunks = [response.chunk async for response in stream]
        assert [label for chunk in chunks for label in chunk.label_indices] == labels
        for chunk in chunks:
            samples = CONDITIONAL.samples(to_array(chunk.latents), np.array(chunk.label_indices))
            np.testing.assert_array_equal(to_array(chunk.samples.tensor), samples)
            scores = CONDITIONAL.scores(samples, np.array(chunk.label_indices))
            np.testing.assert_array_equal(np.float32(chunk.scores), scores)

    run(tmp_path, scenario)


def test_a_small_request_overtakes_a_stream(tmp_path: Path) -> None:
    build_tiny_package(tmp_path)

    async def scenario(server: InProcess) -> None:
        model = server.repository.resolve("", 0)
        compute, submit, gate = model._generator.run, model.generator.submit, threading.Event()
        calls: list[bool] = []  # Each call in order: does it compute the request, which alone has label 2?
        queued: list[int] = []

        def held(feed: dict[str, np.ndarray], worker: int) -> list[np.ndarray]:
            calls.append(bool((feed["labels"] == 2).any()))
            assert gate.wait(60)
            return compute(feed, worker)

        async def watched(work: Any, count: int, options: Any) -> Any:
            submitted = asyncio.ensure_future(submit(work, count, options))
            await asyncio.sleep(0)  # Now it is in the queue.
            queued.append(count)
            return await submitted

        model._generator.run, model.generator.submit = held, watched
        stream = open_stream(server, count=2**40, chunk_size=640, seed=1, label_indices=[0])
        reading = asyncio.ensure_future(read_to_the_end(stream))
        # The rest of the chunk, nine calls, is queued, but the request waits only for the running call.
        await until(lambda: len(calls) == 1 and model.generator.queued_samples >= 512)
        request = gan_service_pb2.SampleRequest(count=1, label_indices=[2])
        answer = asyncio.ensure_future(server.gan.Sample(request))
        await until(lambda: 1 in queued)
        gate.set()
        await answer
        assert calls.index(True) == 1
        stream.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading

    run(tmp_path, scenario)


def test_a_deadline_ends_a_stream(tmp_path: Path) -> None:
    build_tiny_package(tmp_path)

    async def scenario(server: InProcess) -> None:
        request = gan_service_pb2.StreamSamplesRequest(request=gan_service_pb2.SampleRequest(count=2**40))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in server.gan.StreamSamples(request, timeout=0.3):
                pass
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await nothing_runs(server)

    run(tmp_path, scenario)
