"""Test the constants of rejection sampling, and the calibration that they need."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny_packages
from ganserve.v1 import gan_service_pb2, model_spec_pb2
from ganserve_server.errors import (
    DeadlineExpiredError,
    FailedPreconditionError,
    UnavailableError,
)
from ganserve_server.queue.lanes import Priority
from ganserve_server.sampling import selection as selection_module
from ganserve_server.sampling.rejection_sampling import CALIBRATION_SAMPLES, RejectionConstants
from in_core import core
from selection_rules import BEST, REJECTION, RULES, check, request, sample, stalled, until
from submissions import recorded
from tiny_packages import (
    build_tiny_package,
    read_manifest,
    write_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


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


def test_the_measurement_continues_after_its_request_ends(models: Path) -> None:
    with core(models) as gan:
        model = gan.repository.resolve("tiny", 0)

        async def scenario() -> None:
            with stalled(gan) as (release, running):
                late = asyncio.create_task(gan.sample(request(REJECTION, 4, 1), deadline=time.monotonic() + 0.05))
                gone = asyncio.create_task(gan.sample(request(REJECTION, 4, 1)))
                await until(running.is_set)
                with pytest.raises(DeadlineExpiredError, match="measurement of the model's acceptance"):
                    await late
                gone.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await gone
                release.set()
            with recorded(model.generator) as calls:
                await gan.sample(request(REJECTION, 4, 1))
            assert sum(call["count"] for call in calls) <= 4, "it was not measured again"

        asyncio.run(scenario())


def test_a_failed_measurement_is_repeated(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_each_event_loop_measures_the_constants(models: Path) -> None:
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


def test_a_critic_without_skill_does_not_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_packages, "SCORE_SLOPE", 0.0)  # in the graph and in the manifest
    build_tiny_package(tmp_path)
    with (
        core(tmp_path) as gan,
        pytest.raises(FailedPreconditionError, match=r"could not tell real samples .*slope 0.*export another"),
    ):
        sample(gan, request(REJECTION, 4, 3))
