"""Critic-guided selection: what is chosen, compared with a plain rendering of the rules, and always the same.

N = samples, m = proposals of a sample at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny_packages
from ganserve.v1 import gan_service_pb2, model_spec_pb2, tensor_pb2
from ganserve_server.errors import (
    DeadlineExpiredError,
    FailedPreconditionError,
    InvalidRequestError,
    QueueFullError,
    UnavailableError,
)
from ganserve_server.models.latents import Control, Distribution, Purpose, draw_labels, draw_latents, random_words
from ganserve_server.queue.lanes import Priority
from ganserve_server.sampling import selection as selection_module
from ganserve_server.sampling.rejection_sampling import CALIBRATION_SAMPLES, CALIBRATION_SEED, RejectionConstants
from in_core import core
from stubs import to_array, to_tensor
from tiny_packages import (
    CODES,
    CONDITIONAL,
    SCORE_SLOPE,
    UNCONDITIONAL,
    VECTOR,
    TinyModel,
    build_tiny_package,
    read_manifest,
    write_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from hypothesis.strategies import DrawFn

    from ganserve_server.models.model import Model
    from ganserve_server.queue.batcher import Batcher
    from ganserve_server.service import GanService

BEST, REJECTION = gan_service_pb2.SELECTION_METHOD_BEST_OF_N, gan_service_pb2.SELECTION_METHOD_REJECTION
MODELS = {"tiny": CONDITIONAL, "tiny-codes": CODES, "tiny-unconditional": UNCONDITIONAL, "tiny-vector": VECTOR}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name, model in MODELS.items():
        build_tiny_package(folder, name, model=model)
    return folder


@pytest.fixture(scope="module")
def gan(models: Path) -> Iterator[GanService]:
    with core(models) as gan:
        yield gan


def request(method: int, most: int, count: int, **fields: object) -> gan_service_pb2.SampleRequest:
    chosen = gan_service_pb2.Selection(method=method, max_proposals_per_sample=most)
    fields = {"model": "tiny", "seed": 11, "count": count, "selection": chosen} | fields
    return gan_service_pb2.SampleRequest(**fields)


def sample(gan: GanService, message: gan_service_pb2.SampleRequest) -> gan_service_pb2.SampleResponse:
    return asyncio.run(gan.sample(message))


# --- the rules, without groups, rounds or batches


@dataclasses.dataclass(frozen=True)
class Chosen:
    """What selection gives for one sample."""

    proposal: int
    proposed: int
    accepted: bool
    latent: np.ndarray
    sample: np.ndarray
    score: float


class Rules:
    """The rules for one model, one sample at a time."""

    def __init__(self, model: TinyModel) -> None:
        self.model = model
        self.labels = len(model.label_names)
        self.odds_slope = SCORE_SLOPE

    def latents(self, seed: int, start: int, count: int, truncation: float | None) -> np.ndarray:
        normal = self.model.distribution == model_spec_pb2.LATENT_DISTRIBUTION_NORMAL
        distribution = Distribution.NORMAL if normal else Distribution.UNIFORM
        first = self.model.latent_dimension - len(self.model.controls)
        controls = [Control(name, first + i, -1.0, 1.0) for i, name in enumerate(self.model.controls)]
        return draw_latents(seed, start, count, self.model.latent_dimension, distribution, truncation, controls)

    @functools.cached_property
    def constants(self) -> tuple[float, float]:
        """d_M and gamma, from the paper's formula."""
        labels = draw_labels(CALIBRATION_SEED, 0, CALIBRATION_SAMPLES, self.labels) if self.labels else None
        samples = self.model.samples(self.latents(CALIBRATION_SEED, 0, CALIBRATION_SAMPLES, None), labels)
        d = self.odds_slope * self.model.scores(samples, labels).astype(np.float64)
        d_m = round(d.max() * 1024) / 1024
        return d_m, round(np.percentile(shifted(d, d_m), 80) * 1024) / 1024

    def choose(
        self,
        method: int,
        most: int,
        index: int,
        *,
        seed: int = 11,
        label: int | None = None,
        truncation: float | None = None,
        control: float | None = None,
    ) -> Chosen:
        if self.labels and label is None:
            label = int(draw_labels(seed, index, 1, self.labels)[0])
        latents = self.latents(seed, index * most, most, truncation)
        if control is not None:
            latents[:, -1] = control
        labels = None if label is None else np.full(most, label)
        samples = self.model.samples(latents, labels)
        scores = self.model.scores(samples, labels)
        if method == BEST:
            proposal, proposed, accepted = int(np.argmax(scores)), most, True
        else:
            proposal, proposed, accepted = self.reject(seed, index, most, scores)
        return Chosen(proposal, proposed, accepted, latents[proposal], samples[proposal], float(scores[proposal]))

    def reject(self, seed: int, index: int, most: int, scores: np.ndarray) -> tuple[int, int, bool]:
        d_m, gamma = self.constants
        d = self.odds_slope * scores.astype(np.float64)
        chance = 1 / (1 + np.exp(-(shifted(d, d_m) - gamma)))
        words = random_words(seed, Purpose.ACCEPTANCE, index * most, most, 1)[:, 0]
        uniform = ((words >> np.uint64(12)).astype(np.float64) + 0.5) / 2**52
        accepted = np.flatnonzero(uniform < chance)
        if len(accepted):
            first = int(accepted[0])
            return first, min(most, (first // 4 + 1) * 4), True
        return int(np.argmax(d)), most, False


def shifted(d: np.ndarray, d_m: float) -> np.ndarray:
    below = np.minimum(d - d_m, 0)
    return below - np.log(1 - np.exp(below - 1e-14))


RULES = {name: Rules(model) for name, model in MODELS.items()}


def check(
    response: gan_service_pb2.SampleResponse,
    name: str,
    method: int,
    most: int,
    offset: int,
    *,
    labels: list[int | None] | None = None,
    **how: Any,
) -> list[Chosen]:
    samples = to_array(response.samples.tensor)
    expected = [
        RULES[name].choose(method, most, offset + row, label=labels[row] if labels else None, **how)
        for row in range(len(samples))
    ]
    np.testing.assert_array_equal(samples, np.stack([one.sample for one in expected]))
    if response.scores:
        np.testing.assert_array_equal(np.float32(response.scores), np.float32([one.score for one in expected]))
        model = MODELS[name]
        np.testing.assert_allclose(response.probabilities, model.probabilities(np.float32(response.scores)), atol=1e-6)
    if response.HasField("latents"):
        np.testing.assert_array_equal(to_array(response.latents), np.stack([one.latent for one in expected]))
    assert response.selection.proposed == sum(one.proposed for one in expected)
    assert response.selection.accepted == sum(one.accepted for one in expected)
    return expected


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", [BEST, REJECTION])
@pytest.mark.parametrize("most", [1, 4, 13])
def test_the_critic_chooses_by_the_rules(gan: GanService, name: str, method: int, most: int) -> None:
    fields = {"model": name, "offset": 5, "return_latents": True, "return_scores": True}
    response = sample(gan, request(method, most, 40, **fields))
    expected = check(response, name, method, most, 5)
    assert (response.seed, response.offset) == (11, 5)
    if MODELS[name].label_names:
        assert list(response.label_indices) == draw_labels(11, 5, 40, len(MODELS[name].label_names)).tolist()
    if method == REJECTION and most > 4:
        assert {one.accepted for one in expected} == {True} or len({one.proposed for one in expected}) > 1


def test_rejection_takes_the_likeliest_where_none_is_accepted(gan: GanService) -> None:
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
def test_a_selected_sample_is_the_unselected_one_of_its_proposal(gan: GanService, method: int) -> None:
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


def test_one_proposal_is_no_selection(gan: GanService) -> None:
    plain = sample(gan, gan_service_pb2.SampleRequest(model="tiny", seed=11, count=50))
    assert not plain.HasField("selection")
    for method in (BEST, REJECTION):
        assert sample(gan, request(method, 1, 50)).samples == plain.samples


# --- always the same


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
def test_selected_samples_are_the_same_in_any_company(
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


# --- how it is worked off


@contextlib.contextmanager
def recorded(batcher: Batcher[Any]) -> Iterator[list[dict[str, Any]]]:
    """The arguments of each submission to a batcher."""
    calls: list[dict[str, Any]] = []
    submit = batcher.submit

    async def record(work: object, count: int, **how: Any) -> Any:
        calls.append({"count": count} | how)
        return await submit(work, count, **how)

    batcher.submit = record  # type: ignore[method-assign]
    try:
        yield calls
    finally:
        del batcher.submit


@pytest.mark.parametrize(("method", "most", "count"), [(BEST, 5, 100), (BEST, 1024, 2), (REJECTION, 7, 100)])
def test_proposals_are_held_in_bounded_groups(
    gan: GanService, monkeypatch: pytest.MonkeyPatch, method: int, most: int, count: int
) -> None:
    monkeypatch.setattr(selection_module, "_MOST_PROPOSALS", 60)
    model = gan.repository.resolve("tiny", 0)
    sample(gan, request(REJECTION, 1, 1))  # so that the constants are known
    with recorded(model.generator) as calls, recorded(model.critic) as scored:
        response = sample(gan, request(method, most, count))
    check(response, "tiny", method, most, 0)
    assert max(call["count"] for call in calls) <= 60
    assert [call["count"] for call in scored] == [call["count"] for call in calls]
    assert sum(call["count"] for call in calls) == response.selection.proposed


def test_large_samples_are_held_in_smaller_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_tiny_package(tmp_path, model=dataclasses.replace(UNCONDITIONAL, shape=(64, 64, 3)))
    monkeypatch.setattr(selection_module, "_MOST_BYTES", 10 * 64 * 64 * 3)
    with core(tmp_path) as gan, recorded(gan.repository.resolve("", 0).generator) as calls:
        sample(gan, request(BEST, 25, 3))
    assert [call["count"] for call in calls] == [9, 9, 7] * 3


def test_only_the_first_proposals_can_be_turned_away(models: Path) -> None:
    with core(models, max_queued_samples=8, workers=1) as gan, stalled(gan) as (release, running):
        model = gan.repository.resolve("tiny", 0)

        async def scenario() -> None:
            before = asyncio.create_task(gan.sample(request(BEST, 16, 1)))
            await until(running.is_set)
            waiting = asyncio.create_task(gan.sample(gan_service_pb2.SampleRequest(model="tiny", count=4)))
            await until(lambda: model.generator.queued_samples == 4)
            with pytest.raises(QueueFullError):
                await gan.sample(request(BEST, 16, 1))
            release.set()
            await asyncio.gather(before, waiting)
            with recorded(model.generator) as calls:
                await gan.sample(request(REJECTION, 16, 20))
            assert [call["always_admit"] for call in calls if call["priority"] != Priority.LOW] == [
                False,
                *[True] * (sum(call["priority"] != Priority.LOW for call in calls) - 1),
            ]

        asyncio.run(scenario())


def test_a_selection_finds_room_where_its_first_proposals_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_tiny_package(tmp_path, model=dataclasses.replace(UNCONDITIONAL, shape=(64, 64, 3)))
    monkeypatch.setattr(selection_module, "_MOST_BYTES", 10 * 64 * 64 * 3)
    with core(tmp_path, max_queued_samples=40, workers=1) as gan, stalled(gan, "") as (release, running):
        model = gan.repository.resolve("", 0)

        async def scenario() -> None:
            computing = asyncio.create_task(gan.sample(gan_service_pb2.SampleRequest(count=4)))
            await until(running.is_set)
            waiting = asyncio.create_task(gan.sample(gan_service_pb2.SampleRequest(count=4)))
            await until(lambda: model.generator.queued_samples == 4)
            with pytest.raises(QueueFullError):
                await gan.sample(gan_service_pb2.SampleRequest(count=50))
            selected = asyncio.create_task(gan.sample(request(BEST, 2, 50, model="")))
            await until(lambda: model.generator.queued_samples > 4 or selected.done())
            release.set()
            assert len((await selected).samples.tensor.data) == 50 * 64 * 64 * 3
            await asyncio.gather(computing, waiting)
            assert model.generator.statistics.rejected == 1

        asyncio.run(scenario())


def test_a_full_queue_is_told_before_what_else_is_wrong(models: Path) -> None:
    with core(models, max_queued_samples=8, workers=1) as gan, stalled(gan) as (release, running):
        model = gan.repository.resolve("tiny", 0)

        async def scenario() -> None:
            computing = asyncio.create_task(gan.sample(gan_service_pb2.SampleRequest(model="tiny", count=1)))
            await until(running.is_set)
            waiting = asyncio.create_task(gan.sample(gan_service_pb2.SampleRequest(model="tiny", count=8)))
            await until(lambda: model.generator.queued_samples == 8)
            wrong = gan_service_pb2.SampleRequest(model="tiny", count=1, label_indices=[99])
            with pytest.raises(QueueFullError):
                await gan.sample(wrong)
            wrong.priority = gan_service_pb2.PRIORITY_HIGH
            with pytest.raises(InvalidRequestError):  # whose queue is empty
                await gan.sample(wrong)
            assert model.generator.statistics.rejected == 1
            release.set()
            await asyncio.gather(computing, waiting)

        asyncio.run(scenario())


@contextlib.contextmanager
def stalled(gan: GanService, name: str = "tiny") -> Iterator[tuple[threading.Event, threading.Event]]:
    """Has a model's generator wait inside of each call: an event that lets it go on, and one that tells it waits."""
    release, running = threading.Event(), threading.Event()
    engine = gan.repository.resolve(name, 0)._generator
    run = engine.run

    def wait(feed: dict[str, np.ndarray], worker: int = 0) -> list[np.ndarray]:
        running.set()
        assert release.wait(30)
        return run(feed, worker)

    engine.run = wait
    try:
        yield release, running
    finally:
        release.set()
        engine.run = run


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("method", [BEST, REJECTION])
def test_a_cancelled_request_leaves_nothing_behind(models: Path, method: int) -> None:
    with core(models, workers=1) as gan:
        model = gan.repository.resolve("tiny", 0)
        sample(gan, request(REJECTION, 1, 1))

        async def scenario() -> None:
            with stalled(gan) as (release, running):
                task = asyncio.create_task(gan.sample(request(method, 100, 100)))
                await until(running.is_set)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert model.generator.queued_samples == 0
                release.set()
            done = model.generator.statistics.samples
            await gan.sample(gan_service_pb2.SampleRequest(model="tiny", count=1))
            assert model.generator.statistics.samples - done <= 1 + model.max_batch_size
            assert model.generator.queued_samples == model.critic.queued_samples == 0

        asyncio.run(scenario())


def test_deadlines_hold_in_every_round(models: Path) -> None:
    with core(models, workers=1) as gan, stalled(gan) as (release, running):

        async def scenario() -> None:
            first = asyncio.create_task(gan.sample(gan_service_pb2.SampleRequest(model="tiny", count=1)))
            await until(running.is_set)
            late = asyncio.create_task(gan.sample(request(BEST, 4, 1), deadline=time.monotonic() + 0.05))
            await asyncio.sleep(0.1)
            release.set()
            await first
            with pytest.raises(DeadlineExpiredError):
                await late

        asyncio.run(scenario())


# --- the constants of rejection sampling


def test_the_constants_are_measured_once_for_all_requests(models: Path) -> None:
    with core(models) as gan:
        model = gan.repository.resolve("tiny", 0)

        async def scenario() -> None:
            with recorded(model.generator) as calls:
                responses = await asyncio.gather(
                    *(gan.sample(request(REJECTION, 4, 3, priority=gan_service_pb2.PRIORITY_HIGH)) for _ in range(8))
                )
            measured = [call for call in calls if call["priority"] == Priority.LOW]
            assert sum(call["count"] for call in measured) == CALIBRATION_SAMPLES
            assert all(call["bulk"] and call["always_admit"] for call in measured)
            assert len({response.SerializeToString(deterministic=True) for response in responses}) == 1
            constants = await gan._selector.constants(model)
            assert (constants.largest_log_odds, constants.gamma) == RULES["tiny"].constants

        asyncio.run(scenario())


def test_the_measurement_goes_on_when_the_one_who_asked_is_gone(models: Path) -> None:
    with core(models) as gan:
        model = gan.repository.resolve("tiny", 0)

        async def scenario() -> None:
            with stalled(gan) as (release, running):
                late = asyncio.create_task(gan.sample(request(REJECTION, 4, 1), deadline=time.monotonic() + 0.05))
                gone = asyncio.create_task(gan.sample(request(REJECTION, 4, 1)))
                await until(running.is_set)
                with pytest.raises(DeadlineExpiredError, match="acceptance was measured, once after it is loaded"):
                    await late
                gone.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await gone
                release.set()
            with recorded(model.generator) as calls:
                await gan.sample(request(REJECTION, 4, 1))
            assert sum(call["count"] for call in calls) <= 4, "it was not measured again"

        asyncio.run(scenario())


def test_a_measurement_that_fails_is_made_again(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with core(models) as gan:

        async def scenario() -> None:
            with monkeypatch.context() as patch:

                async def fail(*_: object, **__: object) -> None:
                    raise UnavailableError("not now")

                patch.setattr(selection_module, "draw", fail)
                with pytest.raises(UnavailableError):
                    await gan.sample(request(REJECTION, 4, 1))
            check(await gan.sample(request(REJECTION, 4, 5)), "tiny", REJECTION, 4, 0)

        asyncio.run(scenario())


def test_another_event_loop_measures_for_itself(models: Path) -> None:
    with core(models) as gan:
        answers = [sample(gan, request(REJECTION, 4, 5)) for _ in range(2)]
        assert answers[0] == answers[1]


@settings(max_examples=200)
@given(
    d_m=st.floats(-30, 30),
    gamma=st.floats(-30, 30),
    d=st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=20),
)
def test_acceptance_is_a_probability_that_rises_with_the_odds(d_m: float, gamma: float, d: list[float]) -> None:
    odds = np.sort(np.array([*d, d_m, np.nextafter(d_m, np.inf), np.nextafter(d_m, -np.inf)]))
    accepted = RejectionConstants(largest_log_odds=d_m, gamma=gamma).acceptance(odds)
    assert np.isfinite(accepted).all()
    assert accepted.min() >= 0
    assert accepted.max() <= 1
    assert (np.diff(accepted) >= 0).all()


def edited(models: Path, change: Callable[[model_spec_pb2.ModelSpec], None]) -> Path:
    folder = build_tiny_package(models)
    spec = read_manifest(folder)
    change(spec)
    write_manifest(folder, spec)
    return models


def test_a_critic_without_calibration_ranks_but_does_not_reject(tmp_path: Path) -> None:
    with core(edited(tmp_path, lambda spec: spec.score.ClearField("calibration"))) as gan:
        with pytest.raises(
            FailedPreconditionError, match=r"is not calibrated, .* package it again with data .*BEST_OF"
        ):
            sample(gan, request(REJECTION, 4, 3))
        check(sample(gan, request(BEST, 4, 3)), "tiny", BEST, 4, 0)


def test_a_critic_that_knows_nothing_does_not_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_packages, "SCORE_SLOPE", 0.0)  # of the graph and of the manifest
    build_tiny_package(tmp_path)
    with (
        core(tmp_path) as gan,
        pytest.raises(FailedPreconditionError, match=r"could not tell real samples .*slope 0.*export another"),
    ):
        sample(gan, request(REJECTION, 4, 3))


# --- priorities


async def _score_stream(gan: GanService, *messages: gan_service_pb2.ScoreRequest) -> None:
    async def stream() -> Any:
        for message in messages:
            yield gan_service_pb2.StreamScoresRequest(request=message)

    async for _ in gan.stream_scores(stream()):
        pass


async def _sample_stream(gan: GanService, message: gan_service_pb2.SampleRequest) -> None:
    async for _ in gan.stream_samples(gan_service_pb2.StreamSamplesRequest(request=message)):
        pass


@pytest.mark.parametrize(
    ("wire", "priority"), [(0, Priority.NORMAL), (1, Priority.HIGH), (2, Priority.NORMAL), (3, Priority.LOW)]
)
def test_every_call_waits_with_its_priority(gan: GanService, wire: int, priority: Priority) -> None:
    model: Model = gan.repository.resolve("tiny", 0)
    sample(gan, request(REJECTION, 1, 1))
    zeros = tensor_pb2.Samples(tensor=to_tensor(np.zeros((2, 8, 8, 1), np.uint8)))
    scores = gan_service_pb2.ScoreRequest(model="tiny", samples=zeros, label_indices=[0], priority=wire)
    plain = gan_service_pb2.SampleRequest(model="tiny", count=3, priority=wire, return_scores=True)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "sample": lambda: gan.sample(plain),
        "stream": lambda: _sample_stream(gan, plain),
        "selected": lambda: gan.sample(request(REJECTION, 8, 9, priority=wire)),
        "score": lambda: gan.score(scores),
        "score stream": lambda: _score_stream(gan, scores),
    }
    for name, call in calls.items():
        with recorded(model.generator) as drawn, recorded(model.critic) as scored:
            asyncio.run(_awaited(call))
        assert scored, name
        assert {how["priority"] for how in drawn + scored} == {priority}, name


async def _awaited(call: Callable[[], Awaitable[object]]) -> None:
    await call()
