"""Test streams from a real server with both clients."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ganserve import AsyncClient, Client, DeadlineExceeded, RequestCancelled, SampleBatch
from server_process import running_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Api

    from server_process import ServerProcess


def test_a_stream_gives_the_same_samples_as_sample(api: Api) -> None:
    batches = api.batches(1000, model="tiny", seed=9, offset=5, chunk_size=300, return_scores=True, return_latents=True)
    assert [len(batch) for batch in batches] == [300, 300, 300, 100]
    assert [batch.offset for batch in batches] == [5, 305, 605, 905]
    joined = SampleBatch.concatenate(batches)
    whole = api.sample(1000, model="tiny", seed=9, offset=5, return_scores=True, return_latents=True)
    for name in ("samples", "indices", "labels", "scores", "probabilities", "latents"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    assert joined.label_names == whole.label_names
    assert (joined.seed, joined.model, joined.version) == (9, "tiny", 2)


def test_labels_per_sample_are_divided_among_the_chunks(api: Api) -> None:
    labels = [i % 3 for i in range(100)]
    batches = api.batches(100, labels, model="tiny", chunk_size=30)
    given = np.concatenate([batch.labels for batch in batches if batch.labels is not None])
    assert given.tolist() == labels


def test_the_seed_is_known_before_the_first_batch(api: Api) -> None:
    stream = api.stream(10, model="tiny")
    assert api.next(stream).seed == stream.seed


def test_the_repr_of_a_stream_shows_its_progress(api: Api) -> None:
    stream = api.stream(10, model="tiny", seed=3, chunk_size=4)
    kind = "AsyncSampleStream" if isinstance(api.client, AsyncClient) else "SampleStream"
    assert repr(stream) == f"{kind}(0 of 10 samples, seed=3, model='tiny')"
    api.next(stream)
    assert repr(stream) == f"{kind}(4 of 10 samples, seed=3, model='tiny')"
    api.end(stream)


def test_an_asyncio_stream_in_a_plain_loop_is_an_error(closed_port: str) -> None:
    client = AsyncClient(closed_port)
    for stream in (client.stream(10), client.score_stream([])):
        with pytest.raises(TypeError, match=r"Stream belongs to asyncio: use `async for`"):
            list(stream)  # type: ignore[call-overload]


def test_a_finished_stream_stays_finished(api: Api) -> None:
    stream = api.stream(3, model="tiny")
    assert len(api.next(stream)) == 3
    for _ in range(2):
        with pytest.raises(StopIteration):
            api.next(stream)


def test_closing_ends_the_call(api: Api) -> None:
    stream = api.stream(10**9, model="tiny", chunk_size=1000)
    api.next(stream)
    call = stream._open._rpc
    api.end(stream)
    api.end(stream)
    assert call.cancelled()
    with pytest.raises(StopIteration):
        api.next(stream)


def test_leaving_the_loop_ends_the_call(repository: Path) -> None:
    def leave(target: str) -> None:
        for batch in Client(target).stream(10**9, model="tiny"):
            assert len(batch)
            break
        with Client(target) as client, client.stream(10**9, model="tiny") as stream:
            next(stream)
        assert stream._open._rpc.cancelled()

    async def leave_async(target: str) -> None:
        client, other = AsyncClient(target), AsyncClient(target)
        async for batch in client.stream(10**9, model="tiny"):
            assert len(batch)
            break
        async with other, other.stream(10**9, model="tiny") as stream:
            await anext(stream)
        assert stream._open._rpc.cancelled()
        # A draining server waits for its calls: it exits with 0 if it cut off none.
        process.terminate()
        assert await asyncio.to_thread(process.wait) == 0
        assert "cut off" not in process.log

    with running_server(repository) as process:
        leave(process.address)
        asyncio.run(leave_async(process.address))


def test_the_deadline_applies_to_each_batch(connect: Callable[..., Api], own_server: ServerProcess) -> None:
    api = connect(own_server.address)
    stream = api.stream(10**9, model="tiny", timeout_s=60, chunk_size=50_000)
    api.next(stream)
    os.kill(own_server.process.pid, signal.SIGSTOP)
    stream._call.timeout_s = 1.0  # after the first batch, which takes longer on a busy machine
    try:
        with pytest.raises(DeadlineExceeded, match="no batch came within 1 s") as caught:
            _drain(api, stream)  # batches in flight when the server stopped still arrive
    finally:
        os.kill(own_server.process.pid, signal.SIGCONT)
    assert caught.value.request_id == stream._request_id
    with pytest.raises(StopIteration):
        api.next(stream)


def _drain(api: Api, stream: Any) -> None:
    while True:
        api.next(stream)


def test_closing_the_client_ends_its_streams(server: str) -> None:
    client = Client(server)
    stream = client.stream(10**9, model="tiny")
    next(stream)
    client.close()
    with pytest.raises(RequestCancelled):
        for _ in stream:
            pass


def test_closing_the_async_client_ends_its_streams(server: str) -> None:
    async def close() -> None:
        client = AsyncClient(server)
        stream = client.stream(10**9, model="tiny")
        await anext(stream)
        await client.close()
        with pytest.raises(RequestCancelled):
            async for _ in stream:
                pass

    asyncio.run(close())
