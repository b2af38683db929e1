"""Test sessions on a device: samples independent of other requests and CUDA graphs, and lack of memory."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, ClassVar

import grpc
import numpy as np
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

from devices import ON_CUDA, Device, distance
from ganserve.v1 import gan_service_pb2
from ganserve_server.engine.bound_session import BoundSession
from ganserve_server.engine.engine import Engine
from in_core import core
from in_process import in_process_server
from random_packages import CONVOLUTIONAL, build_convolutional_package, build_dense_package
from random_players import random_player
from stubs import to_array

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from onnxruntime import RunOptions

    from ganserve.v1.gan_service_pb2 import SampleRequest

LENGTH = 24
# The generator needs 4 KiB a sample for its widest layer, which for so many samples exceeds the limit.
MANY, LIMIT_MIB = 65536, 128


def request(model: str, offset: int = 0, count: int = LENGTH, seed: int = 5) -> SampleRequest:
    labels = [1] if model == "convolutional" else []
    return gan_service_pb2.SampleRequest(model=model, seed=seed, offset=offset, count=count, label_indices=labels)


@pytest.mark.parametrize(("model", "most"), [("convolutional", 1.0), ("dense", 1e-4)])
def test_samples_do_not_depend_on_other_requests_in_the_batch(
    device: Device, model: str, most: float, tmp_path: Path
) -> None:
    build = build_convolutional_package if model == "convolutional" else build_dense_package
    build(tmp_path, model)

    async def draw(*requests: SampleRequest) -> list[np.ndarray]:
        answers = await asyncio.gather(*[gan.sample(one) for one in requests])
        return [to_array(answer.samples.tensor) for answer in answers]

    with core(tmp_path, engine=device.engine()) as gan:
        alone = np.concatenate([asyncio.run(draw(request(model, index, 1)))[0] for index in range(LENGTH)])
        strangers = [request(model, 100 * index, 1 + index, seed=index) for index in range(20)]
        whole, *parts = asyncio.run(
            draw(request(model), *[request(model, start, 5) for start in range(0, LENGTH - 4, 5)], *strangers)
        )
    assert distance(whole, alone).largest <= most
    for start, part in zip(range(0, LENGTH - 4, 5), parts, strict=False):
        assert distance(part, alone[start : start + 5]).largest <= most


def test_cuda_graphs_do_not_change_samples(device: Device, tmp_path: Path) -> None:
    content = (build_convolutional_package(tmp_path, "g") / "generator.onnx").read_bytes()
    sessions = {
        graphs: BoundSession("g", content, device.engine(cuda_graphs=graphs), ["samples"], 0)
        for graphs in ("on", "auto", "off")
    }
    replays = {graphs: session.cuda_graphs for graphs, session in sessions.items()}
    on_cuda = device.name == "cuda"
    assert replays == {"on": on_cuda, "auto": on_cuda, "off": False}
    random = np.random.default_rng(0)
    for count in (1, 3, 16, 1, 9, 4, 16, 2, 1):  # a graph is captured in the first calls of its size, then replayed
        feed = {
            "latents": random.standard_normal((count, CONVOLUTIONAL.latent_dimension)).astype(np.float32),
            "labels": random.integers(0, len(CONVOLUTIONAL.label_names), count),
        }
        expected = sessions["off"].run(feed)[0]
        for graphs in ("on", "auto"):
            # The kernels are the same, but some of cuDNN's add in any order.
            far = distance(sessions[graphs].run(feed)[0], expected)
            assert far.largest <= 1.0, graphs
            assert far.unequal <= 1e-2, graphs


@pytest.mark.parametrize("device", [ON_CUDA], indirect=True)
def test_only_float16_uses_tensor_cores(device: Device) -> None:
    for half in (False, True):
        player = random_player("dcgan", "generator", half=half)
        session = BoundSession("g", player.content, device.engine(), player.outputs, 0)
        options = session.session.get_provider_options()[device.provider]
        assert options["use_tf32"] == str(int(half))


@pytest.mark.parametrize("device", [ON_CUDA], indirect=True)
def test_the_fastest_session_is_chosen(device: Device, caplog: pytest.LogCaptureFixture) -> None:
    player = random_player("dcgan", "generator", half=True)
    config = device.engine(conv_search="measure", conv_layout="measure")
    with caplog.at_level("INFO"):
        session = BoundSession("g", player.content, config, player.outputs, 0)
    assert re.search(r"g on cuda:0: (heuristic|exhaustive), (nchw|nhwc), [0-9.]+ ms a call", caplog.text)
    assert session.cuda_graphs
    feed = {name: value.numpy() for name, value in player.feed(16, seed=1).items()}
    expected = player.compute(player.feed(16, seed=1), device.name)[0].numpy()
    assert distance(session.run(feed)[0], expected).largest <= 4.0


def test_memory_is_allocated_before_a_graph_is_captured(tmp_path: Path) -> None:
    content = (build_convolutional_package(tmp_path, "g") / "generator.onnx").read_bytes()
    bound = BoundSession("g", content, Device("cpu").engine(), ["samples"], 0)
    feed = {"latents": np.zeros((3, CONVOLUTIONAL.latent_dimension), np.float32), "labels": np.zeros(3, np.int64)}
    bound.run(feed)
    (memory,) = bound._memory.values()

    class Listening:
        graphs: ClassVar[list[str]] = []

        def run_with_iobinding(self, binding: object, options: RunOptions) -> None:
            self.graphs.append(options.get_run_config_entry("gpu_graph_id"))
            bound.session.run_with_iobinding(binding, options)

    memory.allocate(Listening())
    memory.run(Listening(), feed, 3)
    assert Listening.graphs == ["-1", "-1", "2"]  # -1: not captured; 2: the second bucket's


def test_small_samples_share_larger_calls(device: Device, tmp_path: Path) -> None:
    build_convolutional_package(tmp_path, "convolutional")
    with core(tmp_path, max_small_batch_size=32, engine=device.engine()) as gan:
        described = gan.get_model(gan_service_pb2.GetModelRequest(model="convolutional")).engines[0]
        assert (described.max_batch_size, list(described.batch_buckets)) == (32, [1, 4, 16, 32])
        answer = asyncio.run(gan.sample(request("convolutional", count=32)))
        assert to_array(answer.samples.tensor).shape[0] == 32
        assert gan.repository.resolve("convolutional", 0).generator.statistics.calls == 1


def test_a_captured_graph_keeps_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph reads and writes the memory of its capture, also of one made while algorithms are compared."""
    content = (build_convolutional_package(tmp_path, "g") / "generator.onnx").read_bytes()
    make, captured = BoundSession._make, []

    def make_and_capture(self: BoundSession, *arguments: Any) -> Any:
        session, graphs = make(self, *arguments)
        self._measure(session)
        captured.append(self._memory[16])
        return session, graphs

    monkeypatch.setattr(BoundSession, "_make", make_and_capture)
    bound = BoundSession("g", content, Device("cpu").engine(), ["samples"], 0)
    feed = {"latents": np.zeros((16, CONVOLUTIONAL.latent_dimension), np.float32), "labels": np.zeros(16, np.int64)}
    bound.run(feed)
    assert [bound._memory[16]] == captured


def short_of_memory(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the convolutional package fail for lack of memory: by the limit on a GPU, by a patch on the CPU."""
    if device.name == "cuda":
        return
    run = BoundSession._run

    def failing(self: BoundSession, session: object, feed: dict[str, np.ndarray], bucket: int, count: int) -> list:
        if bucket == MANY and "labels" in feed:
            raise RuntimeException(
                "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running "
                "ConvTranspose node. bfc_arena.cc:361 Failed to allocate memory for requested buffer of size 268435456"
            )
        return run(self, session, feed, bucket, count)

    monkeypatch.setattr(BoundSession, "_run", failing)


@pytest.mark.parametrize("graphs", ["auto", "off"])
def test_running_out_of_memory_ends_only_that_request(
    device: Device, graphs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_of_memory(device, monkeypatch)
    build_convolutional_package(tmp_path, "convolutional")
    engine = device.engine(buckets=(1, MANY), cuda_graphs=graphs, gpu_memory_limit_mib=LIMIT_MIB)
    # Skip the trial of the largest call at load, as if memory had been free then.
    warm_up = Engine.warm_up
    monkeypatch.setattr(Engine, "warm_up", lambda self, feeds: [warm_up(self, feeds[:1])[0]] * len(feeds))

    async def ask() -> None:
        async with in_process_server(tmp_path, max_batch_size=MANY, engine=engine) as server:
            before = await server.gan.Sample(request("convolutional", count=1))
            for _ in range(2):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await server.gan.Sample(request("convolutional", count=MANY))
                assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert "the device has no memory left" in caught.value.details()
                after = await server.gan.Sample(request("convolutional", count=1))
                assert distance(to_array(after.samples.tensor), to_array(before.samples.tensor)).largest <= 1.0

    asyncio.run(ask())


@pytest.mark.parametrize("search", ["heuristic", "measure"])
def test_a_model_without_enough_memory_is_not_served_but_others_are(
    device: Device, search: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_of_memory(device, monkeypatch)
    build_convolutional_package(tmp_path, "convolutional")
    build_dense_package(tmp_path, "dense")
    engine = device.engine(buckets=(1, MANY), conv_search=search, gpu_memory_limit_mib=LIMIT_MIB)

    def states(models: Sequence[gan_service_pb2.ModelSummary]) -> dict[str, tuple[int, str]]:
        return {model.name: (model.versions[0].state, model.versions[0].reason) for model in models}

    with core(tmp_path, max_batch_size=MANY, engine=engine) as gan:
        found = states(gan.list_models().models)
    assert found["dense"][0] == gan_service_pb2.MODEL_STATE_READY
    state, reason = found["convolutional"]
    assert state == gan_service_pb2.MODEL_STATE_FAILED
    assert f"a trial run with {MANY} samples found no memory left on {device.name}" in reason
