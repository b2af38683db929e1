"""Test calls that run alone: chosen only if they are faster and give the same bits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ganserve_server.engine import lone_calls
from ganserve_server.engine.engine import Engine, TensorSpec
from ganserve_server.engine.lone_calls import measure_lone_calls
from ganserve_server.engine.providers import CPU
from ganserve_server.engine.sessions import EngineConfig, PlainSession
from random_packages import build_dense_package

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = EngineConfig(provider=CPU, threads=1, calls=3, lone_threads=3)
PORTS = (
    [TensorSpec(name="latents", dtype=np.dtype(np.float32), sample_shape=(50,))],
    [TensorSpec(name="samples", dtype=np.dtype(np.float32), sample_shape=(37,))],
)
FULL = {"latents": np.random.default_rng(0).standard_normal((20, 50)).astype(np.float32)}


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return (build_dense_package(tmp_path, "dense") / "generator.onnx").read_bytes()


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge every session faster than another."""
    monkeypatch.setattr(lone_calls, "_WORTH_S", 0)
    monkeypatch.setattr(lone_calls, "_FASTER", math.inf)


@pytest.mark.usefixtures("always")
def test_a_faster_session_runs_the_calls_of_few_samples_alone(content: bytes) -> None:
    engine = Engine("g", content, CONFIG, *PORTS)
    engine.measure_lone_calls(content, FULL)
    lone = engine.lone_calls
    assert lone is not None
    assert (lone.threads, lone.samples) == (3, 16)
    assert lone.session.session.get_session_options().intra_op_num_threads == 3
    for count in (1, 7):
        feed = {"latents": FULL["latents"][:count]}
        np.testing.assert_array_equal(engine.run(feed, -1)[0], engine.run(feed, 0)[0])


@pytest.mark.usefixtures("always")
def test_another_bit_is_not_worth_it(content: bytes, tmp_path: Path) -> None:
    usual = PlainSession("g", content, CONFIG, ["samples"], 0)

    class Rounded(PlainSession):
        def run(self, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            return [np.nextafter(values, np.float32(9)) for values in super().run(feed)]

    assert measure_lone_calls(lambda one: Rounded("g", content, one, ["samples"], 0), usual, CONFIG, FULL, 1) is None


def test_a_slower_session_a_short_call_and_a_single_worker_change_nothing(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine("g", content, CONFIG, *PORTS)
    monkeypatch.setattr(lone_calls, "_WORTH_S", math.inf)
    engine.measure_lone_calls(content, FULL)
    assert engine.lone_calls is None
    monkeypatch.setattr(lone_calls, "_WORTH_S", 0)
    monkeypatch.setattr(lone_calls, "_FASTER", 0)
    engine.measure_lone_calls(content, FULL)
    assert engine.lone_calls is None
    monkeypatch.setattr(lone_calls, "_FASTER", math.inf)
    single = Engine("g", content, EngineConfig(provider=CPU, threads=3, lone_threads=3), *PORTS)
    single.measure_lone_calls(content, FULL)
    assert single.lone_calls is None
    np.testing.assert_array_equal(single.run(FULL, -1)[0], engine.run(FULL, 0)[0])
