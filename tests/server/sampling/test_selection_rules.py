"""Test that selected samples follow the rules of each method.

N = samples, m = proposals of a sample at most.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganserve.v1 import gan_service_pb2
from ganserve_server.models.latents import draw_labels
from ganserve_server.sampling import selection as selection_module
from in_core import core
from selection_rules import BEST, MODELS, REJECTION, RULES, check, request, sample
from stubs import to_array

if TYPE_CHECKING:
    from pathlib import Path

    from hypothesis.strategies import DrawFn

    from ganserve_server.service import GanService


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", [BEST, REJECTION])
@pytest.mark.parametrize("most", [1, 4, 13])
def test_the_critic_selects_by_the_rules(gan: GanService, name: str, method: int, most: int) -> None:
    fields = {"model": name, "offset": 5, "return_latents": True, "return_scores": True}
    response = sample(gan, request(method, most, 40, **fields))
    expected = check(response, name, method, most, 5)
    assert (response.seed, response.offset) == (11, 5)
    if MODELS[name].label_names:
        assert list(response.label_indices) == draw_labels(11, 5, 40, len(MODELS[name].label_names)).tolist()
    if method == REJECTION and most > 4:
        assert {one.accepted for one in expected} == {True} or len({one.proposed for one in expected}) > 1


def test_rejection_takes_the_likeliest_if_none_is_accepted(gan: GanService) -> None:
    expected = check(sample(gan, request(REJECTION, 2, 200)), "tiny", REJECTION, 2, 0)
    assert {one.accepted for one in expected} == {True, False}
    assert {one.proposal for one in expected if not one.accepted} == {0, 1}


def test_truncation_controls_and_labels_hold_for_proposals(gan: GanService) -> None:
    for method in (BEST, REJECTION):
        response = sample(gan, request(method, 9, 30, truncation=0.6, label_names=["two"], return_latents=True))
        check(response, "tiny", method, 9, 0, labels=[2] * 30, truncation=0.6)
        assert np.abs(to_array(response.latents)).max() <= 0.6
        assert set(response.label_names) == {"two"}
        labels = [row % 3 for row in range(30)]
        check(sample(gan, request(method, 9, 30, label_indices=labels)), "tiny", method, 9, 0, labels=labels)
        fields = {"model": "tiny-codes", "controls": {"c0": 0.25}, "return_latents": True}
        check(sample(gan, request(method, 9, 30, **fields)), "tiny-codes", method, 9, 0, control=0.25)


@pytest.mark.parametrize("method", [BEST, REJECTION])
def test_a_selected_sample_equals_its_proposal_drawn_without_selection(gan: GanService, method: int) -> None:
    selected = sample(gan, request(method, 6, 20, offset=3, return_scores=True, return_latents=True))
    for row, label in enumerate(selected.label_indices):
        proposals = sample(
            gan,
            gan_service_pb2.SampleRequest(
                model="tiny", seed=11, offset=(3 + row) * 6, count=6, label_indices=[label], return_scores=True
            ),
        )
        proposal = RULES["tiny"].choose(method, 6, 3 + row).proposal
        np.testing.assert_array_equal(
            to_array(selected.samples.tensor)[row], to_array(proposals.samples.tensor)[proposal]
        )
        assert selected.scores[row] == proposals.scores[proposal]
    again = gan_service_pb2.SampleRequest(
        model="tiny", count=20, latents=selected.latents, label_indices=selected.label_indices
    )
    assert sample(gan, again).samples == selected.samples


def test_one_proposal_equals_no_selection(gan: GanService) -> None:
    plain = sample(gan, gan_service_pb2.SampleRequest(model="tiny", seed=11, count=50))
    assert not plain.HasField("selection")
    for method in (BEST, REJECTION):
        assert sample(gan, request(method, 1, 50)).samples == plain.samples


@st.composite
def requests(draw: DrawFn) -> dict[str, Any]:
    skipped = draw(st.integers(0, 30))
    return {
        "name": draw(st.sampled_from(sorted(MODELS))),
        "method": draw(st.sampled_from([BEST, REJECTION])),
        "most": draw(st.sampled_from([1, 2, 4, 5, 16])),
        "offset": draw(st.sampled_from([0, 2**44 - 64])) + skipped,
        "count": draw(st.integers(1, 33)),
        "seed": draw(st.sampled_from([0, 2**64 - 1])),
        "chunk_size": draw(st.none() | st.integers(0, 20)),
    }


async def ask(gan: GanService, asked: dict[str, Any]) -> list[gan_service_pb2.SampleResponse]:
    fields = {"model": asked["name"], "seed": asked["seed"], "offset": asked["offset"]}
    message = request(asked["method"], asked["most"], asked["count"], **fields)
    if asked["chunk_size"] is None:
        return [await gan.sample(message)]
    stream = gan_service_pb2.StreamSamplesRequest(request=message, chunk_size=asked["chunk_size"])
    return [response.chunk async for response in gan.stream_samples(stream)]


@settings(max_examples=40, deadline=None)
@given(batch=st.lists(requests(), min_size=1, max_size=12), at_once=st.sampled_from([6, 40, 4096]))
def test_selected_samples_do_not_depend_on_other_requests(
    gan: GanService, batch: list[dict[str, Any]], at_once: int
) -> None:
    async def ask_all() -> list[list[gan_service_pb2.SampleResponse]]:
        return await asyncio.gather(*(ask(gan, asked) for asked in batch))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection_module, "_MOST_PROPOSALS", at_once)
        answers = asyncio.run(ask_all())
    for asked, chunks in zip(batch, answers, strict=True):
        assert sum(len(to_array(chunk.samples.tensor)) for chunk in chunks) == asked["count"]
        for chunk in chunks:
            check(chunk, asked["name"], asked["method"], asked["most"], chunk.offset, seed=asked["seed"])


def test_a_server_with_other_batches_and_threads_selects_the_same(models: Path, gan: GanService) -> None:
    with core(models, max_batch_size=100, workers=1) as other:
        for method in (BEST, REJECTION):
            assert sample(other, request(method, 16, 100)) == sample(gan, request(method, 16, 100))
