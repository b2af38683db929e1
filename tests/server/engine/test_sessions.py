"""Test sessions with and without buckets, instances and failures."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganserve_server.engine import bound_session
from ganserve_server.engine.bound_session import BoundSession, bucket_of
from ganserve_server.engine.engine import Engine, TensorSpec
from ganserve_server.engine.parallelism import choose_buckets, choose_parallelism
from ganserve_server.engine.providers import CPU, CUDA
from ganserve_server.engine.sessions import EngineConfig, PlainSession
from ganserve_server.errors import EngineError, MemoryFullError, PackageError
from ganserve_server.models.model import Model
from ganserve_server.models.package_files import read_package
from ganserve_server.queue.options import BatchConfig
from random_packages import build_dense_package
from tiny_packages import build_tiny_package

if TYPE_CHECKING:
    from pathlib import Path

BUCKETS = (1, 4, 16)
PORTS = (
    [TensorSpec(name="latents", dtype=np.dtype(np.float32), sample_shape=(50,))],
    [TensorSpec(name="samples", dtype=np.dtype(np.float32), sample_shape=(37,))],
)


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return (build_dense_package(tmp_path, "dense") / "generator.onnx").read_bytes()


def config(buckets: tuple[int, ...] = (), instances: int = 1) -> EngineConfig:
    return EngineConfig(provider=CPU, threads=1, buckets=buckets, instances=instances)


def latents(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 50)).astype(np.float32)


@given(st.sets(st.integers(1, 300), min_size=1).map(sorted), st.data())
def test_a_call_uses_the_smallest_bucket_that_fits(buckets: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, buckets[-1]))
    bucket = bucket_of(buckets, count)
    assert bucket == min(b for b in buckets if b >= count)


def test_buckets_do_not_change_results(content: bytes) -> None:
    plain = PlainSession("g", content, config(), ["samples"], 0)
    bound = BoundSession("g", content, config(BUCKETS), ["samples"], 0)
    kept = []
    for count in (16, 1, 3, 4, 5, 15, 2):
        feed = {"latents": latents(count, count)}
        kept.append((plain.run(feed)[0], bound.run(feed)[0]))
    # Compare at the end: a later call must not overwrite earlier results.
    for expected, found in kept:
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
        assert found.shape == expected.shape


def test_workers_of_one_bound_session_wait_for_each_other(content: bytes) -> None:
    bound = BoundSession("g", content, config(BUCKETS), ["samples"], 0)
    feeds = [{"latents": latents(1 + index % 16, index)} for index in range(64)]
    alone = [bound.run(feed)[0] for feed in feeds]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda feed: bound.run(feed)[0], feeds))
    for expected, found in zip(alone, together, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_workers_share_the_instances(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine("g", content, config(BUCKETS, instances=2), *PORTS)
    assert engine.instances == ["cpu", "cpu"]
    used: list[tuple[int, str]] = []
    run = BoundSession.run
    monkeypatch.setattr(
        BoundSession,
        "run",
        lambda self, *given: used.append((id(self), threading.current_thread().name)) or run(self, *given),
    )
    for worker in (0, 1, 2, 3):
        engine.run({"latents": latents(1)}, worker)
    sessions = [session for session, _ in used]
    assert sessions[0] == sessions[2] != sessions[1] == sessions[3]


@pytest.mark.parametrize(
    ("limit_s", "samples"), [(0, 0), (0.002, 0), (0.0029, 0), (0.0031, 1), (0.0105, 8), (0.02, 16), (60, 16)]
)
def test_quick_samples_counts_the_samples_within_the_limit(
    content: bytes, monkeypatch: pytest.MonkeyPatch, limit_s: float, samples: int
) -> None:
    engine = Engine("g", content, config(), *PORTS)
    now = 0.0

    def run(_session: PlainSession, feed: dict[str, np.ndarray], *_: object) -> list[np.ndarray]:
        nonlocal now
        now += 0.002 + 0.001 * len(feed["latents"])
        return []

    monkeypatch.setattr(PlainSession, "run", run)
    monkeypatch.setattr("ganserve_server.engine.engine.time.perf_counter", lambda: now)
    assert engine.quick_samples({"latents": latents(1)}, {"latents": latents(16)}, limit_s) == samples


def test_warming_up_tries_every_bucket_of_every_instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: dict[tuple[int, str], list[int]] = {}
    run = BoundSession.run

    def noted(self: BoundSession, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        sizes.setdefault((id(self), self.file), []).append(len(next(iter(feed.values()))))
        return run(self, feed)

    monkeypatch.setattr(BoundSession, "run", noted)
    package = read_package(build_tiny_package(tmp_path, "tiny"))
    model = Model(
        package, config(BUCKETS, instances=2), BatchConfig(max_batch_size=16, max_queued_samples=99, workers=2)
    )
    model.close()
    assert len(sizes) == 4, "two instances of generator and critic"
    assert all(tried == [1, 4, 16] for tried in sizes.values())
    generator, critic = model.describe().engines
    assert list(generator.batch_buckets) == list(critic.batch_buckets) == [1, 4, 16]
    assert list(generator.instances) == ["cpu", "cpu"]
    assert (generator.threads, generator.cuda_graphs, generator.tf32) == (1, False, False)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "[ONNXRuntimeError] : 6 : ... BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer",
            MemoryFullError,
        ),
        ("CUDA failure 2: out of memory ; GPU=0", MemoryFullError),
        ("CUDNN failure 4000: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", MemoryFullError),
        ("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED", MemoryFullError),
        ("Available memory of 100 is smaller than requested bytes of 1000", MemoryFullError),
        ("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions", EngineError),
    ],
)
def test_running_out_of_memory_differs_from_other_failures(
    content: bytes, monkeypatch: pytest.MonkeyPatch, said: str, expected: type[Exception]
) -> None:
    class Failing:
        def run(self, *_: object) -> None:
            raise RuntimeError(said)

    session = PlainSession("g", content, config(), ["samples"], 0)
    monkeypatch.setattr(session, "session", Failing())
    with pytest.raises(expected):
        session.run({"latents": latents(1)})


def test_a_graph_that_cannot_be_captured_runs_without_cuda_graphs(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    make_session = bound_session.make_session

    def make(file: str, content: bytes, _: EngineConfig, providers: list[tuple[str, dict[str, str]]]) -> object:
        made.append(providers[0][1]["enable_cuda_graph"])
        return make_session(file, content, config(), [(CPU, {})])

    def run(_session: BoundSession, *_: object) -> list[np.ndarray]:
        if made[-1] == "1":
            raise RuntimeError("CUDA failure 900: operation not permitted when stream is capturing")
        return []

    monkeypatch.setattr(bound_session, "make_session", make)
    monkeypatch.setattr(BoundSession, "_run", run)
    on_cuda = replace(config(BUCKETS), provider=CUDA, conv_search="heuristic", conv_layout="nchw")
    session = BoundSession("g", content, on_cuda, ["samples"], 0)
    assert (made, session.cuda_graphs) == (["1", "0"], False)
    with pytest.raises(PackageError, match=r"a trial run with 16 samples failed: .*stream is capturing"):
        BoundSession("g", content, replace(on_cuda, cuda_graphs="on"), ["samples"], 0)


def test_a_graph_that_cannot_be_loaded_is_a_broken_package() -> None:
    with pytest.raises(PackageError, match=r"g: onnxruntime .* cannot load it"):
        BoundSession("g", b"not ONNX", config(BUCKETS), ["samples"], 0)


def test_buckets_by_default() -> None:
    assert choose_buckets(CPU, (), 64) == ()
    assert choose_buckets(CUDA, (), 64) == (1, 4, 16, 64)
    assert choose_buckets(CUDA, (), 100) == (1, 4, 16, 64, 100)
    assert choose_buckets(CUDA, (), 1) == (1,)
    assert choose_buckets(CPU, (8, 2, 8), 64) == (2, 8, 64)


def test_two_workers_for_each_session_of_the_gpus() -> None:
    assert choose_parallelism(CUDA, 0, 0, sessions=4) == (8, 1)
    assert choose_parallelism(CUDA, 2, 3, sessions=4) == (2, 3)
