"""Test that streams continue after a broken connection, without losing or repeating samples."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ganserve import BestOf, Client, SampleBatch
from ports import free_port
from server_process import ServerProcess, running_server
from tiny_packages import build_tiny_package

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Api

FIELDS = ("samples", "indices", "labels", "scores", "probabilities", "latents")


@contextlib.contextmanager
def successor(models: Path, killed: ServerProcess) -> Iterator[ServerProcess]:
    """Kill a server, and start another one on its port while the block runs."""
    killed.process.kill()
    killed.process.wait()
    server = ServerProcess(models, "--port", killed.address.rpartition(":")[2])
    try:
        yield server
    finally:
        server.stop()


def rest(api: Api, stream: Any) -> list[Any]:
    results = []
    with contextlib.suppress(StopIteration):
        while True:
            results.append(api.next(stream))
    return results


@pytest.mark.parametrize(
    "label",
    [
        pytest.param(None, id="no label", marks=pytest.mark.slow),
        pytest.param("one", id="one", marks=pytest.mark.slow),
        pytest.param([i % 3 for i in range(20_000)], id="each"),
    ],
)
def test_a_server_killed_in_mid_stream(
    connect: Callable[..., Api], repository: Path, tmp_path: Path, label: Any
) -> None:
    newer = shutil.copytree(repository, tmp_path / "newer")
    build_tiny_package(newer, "tiny", 3)  # streams that began with version 2 must not get it
    ask: dict[str, Any] = {"model": "tiny", "offset": 3, "return_scores": True, "return_latents": True}
    with running_server(repository, "--port", str(free_port())) as first:
        api = connect(first.address)
        stream = api.stream(20_000, label, chunk_size=700, **ask)
        batches = [api.next(stream) for _ in range(4)]
        with successor(newer, first) as second:
            batches += rest(api, stream)
            second.wait_until_serving()  # the client may have buffered the rest
            assert {batch.version for batch in batches} == {2}
            joined = SampleBatch.concatenate(batches)
            assert joined.indices.tolist() == list(range(3, 20_003))
            expected = api.sample(20_000, label, seed=stream.seed, version=2, **ask)
            for name in FIELDS:
                np.testing.assert_array_equal(getattr(joined, name), getattr(expected, name))
            assert joined.label_names == expected.label_names


def test_selections_and_scores_go_on_too(connect: Callable[..., Api], repository: Path) -> None:
    """Request again the scores that were due."""
    with running_server(repository, "--port", str(free_port())) as first:
        api = connect(first.address)
        selecting = api.stream(3_000, model="tiny", select=BestOf(4), chunk_size=200)
        batches = [api.next(selecting) for _ in range(2)]
        items = [api.sample(5, model="tiny", seed=seed) for seed in range(40)]
        scoring = api.score_stream(items)
        scores = [api.next(scoring) for _ in range(3)]
        with successor(repository, first) as second:
            scores += rest(api, scoring)
            batches += rest(api, selecting)
            second.wait_until_serving()  # the client may have buffered the rest
            expected = api.sample(3_000, model="tiny", seed=selecting.seed, select=BestOf(4))
            expected_scores = [api.score(item) for item in items]
    joined = SampleBatch.concatenate(batches)
    np.testing.assert_array_equal(joined.samples, expected.samples)
    assert joined.selection == expected.selection
    assert len(scores) == 40
    for got, wanted in zip(scores, expected_scores, strict=True):
        np.testing.assert_array_equal(got.scores, wanted.scores)
        assert got.labels == wanted.labels


def test_another_server_continues_without_a_pause(connect: Callable[..., Api], repository: Path, server: str) -> None:
    with running_server(repository) as first:
        api = connect([first.address, server])
        stream = api.stream(2_000_000, model="tiny", seed=4, chunk_size=500)  # more than the client buffers
        batches = [api.next(stream)]
        assert stream._endpoint.target == first.address
        first.process.kill()
        while stream._endpoint.target == first.address:
            batches.append(api.next(stream))
        api.end(stream)
    assert stream._endpoint.target == server
    drawn = SampleBatch.concatenate(batches)
    with Client(server) as client:
        expected = client.sample(len(drawn), model="tiny", seed=4)
    np.testing.assert_array_equal(drawn.samples, expected.samples)


def test_streams_of_a_draining_server_continue_at_another(
    connect: Callable[..., Api], repository: Path, server: str
) -> None:
    with running_server(repository, "--drain-timeout-s", "1") as first:
        api = connect([first.address, server])
        stream = api.stream(2_000_000, model="tiny", seed=6, chunk_size=2_000)
        had = len(api.next(stream))
        assert stream._endpoint.target == first.address
        first.terminate()
        while stream._endpoint.target == first.address:  # chunks in flight still come from the draining server
            batch = api.next(stream)
            assert batch.offset == had
            had += len(batch)
        assert stream._endpoint.target == server
        api.end(stream)
