"""Test scoring streams with every client."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from ganserve import AsyncClient, Client, InvalidRequest, MessageTooLarge, ModelNotFound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Api

GRAY = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 1), np.uint8)


def test_each_item_gets_the_scores_of_score(api: Api, tmp_path: Path) -> None:
    batch = api.sample(4, "one", model="tiny", seed=1)
    Image.fromarray(GRAY[0, ..., 0]).save(tmp_path / "picture.png")
    items = [GRAY[:3], tmp_path / "picture.png", batch, Image.fromarray(GRAY[1, ..., 0]), list(GRAY[:2]), GRAY[2]]
    scored = api.scored(items, "one", model="tiny")
    assert [len(scores) for scores in scored] == [3, 1, 4, 1, 2, 1]
    for scores, item in zip(scored, items, strict=True):
        expected = api.score(item, "one", model="tiny")
        np.testing.assert_array_equal(scores.scores, expected.scores)
        np.testing.assert_array_equal(scores.probabilities, expected.probabilities)
        assert (scores.labels, scores.model, scores.version) == (expected.labels, "tiny", 2)


def test_the_batches_of_a_stream_can_be_scored(api: Api) -> None:
    streamed = api.stream(500, model="tiny", seed=3, chunk_size=30, return_scores=True)
    scored = api.scored(streamed)  # labels and model come with the batches
    expected = api.sample(500, model="tiny", seed=3, return_scores=True)
    assert [len(scores) for scores in scored] == [30] * 16 + [20]
    np.testing.assert_array_equal(np.concatenate([scores.scores for scores in scored]), expected.scores)


def test_labels_per_item_or_for_all(api: Api) -> None:
    scored = api.scored([GRAY[0], GRAY[1], GRAY[2:4]], ["two", 0, [1, 2]], model="tiny")
    assert [scores.labels for scores in scored] == [("two",), (0,), (1, 2)]
    scored = api.scored(iter(GRAY[:2]), np.int64(1), model="tiny")
    assert [scores.labels for scores in scored] == [(1,), (1,)]


def test_an_empty_iterable_gives_no_scores(api: Api) -> None:
    stream = api.score_stream([], 1, model="tiny")
    assert repr(stream).endswith("ScoreStream(0 items scored, 0 under way, model='tiny')")
    for _ in range(2):
        with pytest.raises(StopIteration):
            api.next(stream)


def test_an_invalid_item_raises_after_the_scores_before_it(api: Api) -> None:
    for items, label, message in (
        ([GRAY[0], GRAY[1], "missing.png", GRAY[2]], 1, "'missing.png' does not exist"),
        ([GRAY[0], GRAY[1], 5.0], 1, "images: is a float"),
        ([GRAY[0], GRAY[1], GRAY[2]], [1, 2], "label: ended before the images; expected one entry an item"),
        ([GRAY[0], GRAY[1], Image.new("L", (9, 9))], 1, "is 9x9 pixels; model 'tiny' takes 8x8"),
        ([GRAY[0], GRAY[1], GRAY[:1].repeat(2, 1)], 1, r"expected \[N, 8, 8, 1\]"),
    ):
        stream = api.score_stream(items, label, model="tiny")
        assert len(api.next(stream)) == 1
        assert len(api.next(stream)) == 1
        with pytest.raises(InvalidRequest, match=message):
            api.next(stream)
        with pytest.raises(StopIteration):
            api.next(stream)


def test_an_error_of_the_iterable_is_raised_after_the_scores_before_it(api: Api) -> None:
    def source() -> Iterator[Any]:
        yield GRAY[0]
        raise RuntimeError("the disk is gone")

    stream = api.score_stream(source(), 1, model="tiny")
    api.next(stream)
    with pytest.raises(RuntimeError, match="the disk is gone"):
        api.next(stream)


def test_invalid_arguments(api: Api) -> None:
    with pytest.raises(InvalidRequest, match="images: is an int; expected an iterable of what `score` takes"):
        api.score_stream(5)
    with pytest.raises(InvalidRequest, match="images: is a str; expected an iterable"):
        api.score_stream("a.png")
    with pytest.raises(InvalidRequest, match=r"label: is 1\.5; expected one label for all"):
        api.score_stream([GRAY], 1.5)
    with pytest.raises(InvalidRequest, match="timeout_s: is 0"):
        api.score_stream([GRAY], 1, timeout_s=0)
    with pytest.raises(ModelNotFound):
        api.next(api.score_stream([GRAY], 1, model="nope"))


def test_it_reads_at_most_eight_items_ahead(api: Api) -> None:
    read = 0

    def source() -> Iterator[Any]:
        nonlocal read
        for image in GRAY:
            read += 1
            yield image

    stream = api.score_stream(source(), 1, model="tiny")
    for taken in range(1, 6):
        api.next(stream)
        assert read <= taken + 8
    api.end(stream)
    read_at_the_end = read
    with pytest.raises(StopIteration):
        api.next(stream)
    assert read == read_at_the_end


def test_large_items_are_not_read_ahead(api: Api) -> None:
    count = 250_000  # 15.3 MiB, just below the largest request
    read = 0

    def source() -> Iterator[Any]:
        nonlocal read
        for _ in range(5):
            read += 1
            yield np.zeros((count, 8, 8, 1), np.uint8)

    stream = api.score_stream(source(), 1, model="tiny")
    assert len(api.next(stream)) == count
    assert read <= 2
    api.end(stream)


def test_an_item_that_is_too_large_is_refused_before_it_is_sent(api: Api) -> None:
    large = np.zeros((20 * 2**20 // 64, 8, 8, 1), np.uint8)
    stream = api.score_stream([GRAY[0], large, GRAY[1]], 1, model="tiny")
    assert len(api.next(stream)) == 1
    said = r"images: 327680 samples take 20\.0 MiB in one request, more than the 16 MiB .*: give fewer samples in each"
    with pytest.raises(MessageTooLarge, match=said) as caught:
        api.next(stream)
    assert caught.value.code is None
    labels = [f"{'x' * 60}{number}" for number in range(2**18)]
    with pytest.raises(MessageTooLarge, match=r"n and label take .*: draw them by several streams with fewer labels"):
        api.next(api.stream(len(labels), labels, model="tiny"))


def test_a_with_block_ends_it(server: str) -> None:
    with Client(server) as client, client.score_stream(GRAY, 1, model="tiny") as stream:
        next(stream)
    assert list(stream) == []


def test_only_the_async_client_takes_asynchronous_iterables(repository: Path, server: str) -> None:
    async def main(client: AsyncClient) -> None:
        async with client:
            streamed = client.stream(100, model="tiny", seed=3, chunk_size=30, return_scores=True)
            async with client.score_stream(streamed) as stream:
                scored = [scores async for scores in stream]
            expected = await client.sample(100, model="tiny", seed=3, return_scores=True)
            np.testing.assert_array_equal(np.concatenate([scores.scores for scores in scored]), expected.scores)

    asyncio.run(main(AsyncClient(server)))
    asyncio.run(main(AsyncClient.local(repository)))


def test_dropping_a_stream_ends_its_thread(server: str) -> None:
    with Client(server) as client:
        before = set(threading.enumerate())
        streams = [client.score_stream(iter(GRAY), 1, model="tiny") for _ in range(5)]
        for stream in streams:
            next(stream)
        # A timer of the wait for a result refers to its stream.
        new = {thread for thread in threading.enumerate() if not isinstance(thread, threading.Timer)} - before
        assert len(new) >= 5  # gRPC's threads that wait for requests
        streams.clear()
        del stream
        gc.collect()
        for thread in new:
            thread.join(60)
            assert not thread.is_alive()


def test_an_item_that_is_none_is_refused_after_the_scores_of_those_before(api: Api) -> None:
    stream = api.score_stream([GRAY[0], None, GRAY[1], GRAY[2]], 1, model="tiny")
    assert len(api.next(stream)) == 1
    with pytest.raises(InvalidRequest, match="images: is None"):
        api.next(stream)


def test_labels_without_an_item_are_refused_after_all_scores(api: Api) -> None:
    for labels in ([1, 2, 0], (1, 2, 0), np.array([1, 2, 0])):
        stream = api.score_stream(GRAY[:2], labels, model="tiny")
        assert [len(api.next(stream)) for _ in range(2)] == [1, 1]
        with pytest.raises(InvalidRequest, match="label: has 3 entries; expected 2, one an item"):
            api.next(stream)
    assert len(api.scored(GRAY[:2], itertools.cycle([1, 2]), model="tiny")) == 2


def test_an_error_that_looks_like_the_end_is_an_error(api: Api) -> None:
    class Stops:
        def read(self, *_: object) -> bytes:
            raise StopIteration

    stream = api.score_stream([GRAY[0], Stops(), GRAY[1]], 1, model="tiny")
    assert len(api.next(stream)) == 1
    with pytest.raises(RuntimeError, match="read raised StopIteration"):
        api.score(Stops(), 1, model="tiny")
    with pytest.raises(RuntimeError, match="read raised StopIteration"):
        api.next(stream)
