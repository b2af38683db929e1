"""Test truncation in W, style mixing, given and returned w's and noise against numpy, with a server of two workers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganserve.v1 import gan_service_pb2, gan_service_pb2_grpc, tensor_pb2
from ganserve_server.models.latents import Distribution, draw_labels, draw_latents
from server_process import running_server
from stubs import OPTIONS, Stubs, connected, to_array, to_tensor
from tiny_packages import CONDITIONAL, build_tiny_package
from tiny_styles import (
    CONSTANT,
    FACTORS,
    LAYERS,
    NONE,
    PLAIN_STYLE,
    PSI_ONLY,
    SEEDED,
    STYLE,
    TinyStyle,
    W,
    build_style_package,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

StyleMix = gan_service_pb2.StyleMix
NORMAL = Distribution.NORMAL
FEW_NOISES = replace(STYLE, noise_modes=(NONE, CONSTANT))


@pytest.fixture(
    scope="module",
    params=[pytest.param((), id="any size"), pytest.param(("--batch-buckets", "4"), id="buckets")],
)
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    models = tmp_path_factory.mktemp("models")
    build_style_package(models)
    build_style_package(models, "half", model=replace(STYLE, noise_modes=(NONE, CONSTANT)), psi=0.5, layers=2)
    build_style_package(models, "plain", model=PLAIN_STYLE)
    build_style_package(models, "psi-only", model=PSI_ONLY)
    build_tiny_package(models, "tiny", model=CONDITIONAL)
    sizes = ("--max-batch-size", "16", "--workers", "2", "--threads", "1")
    with running_server(models, *sizes, *request.param) as server:
        yield server.address


@pytest.fixture(scope="module")
def stubs(address: str) -> Iterator[Stubs]:
    with connected(address) as stubs:
        yield stubs


def ask(**fields: Any) -> gan_service_pb2.SampleRequest:
    return gan_service_pb2.SampleRequest(**{"model": "styles", "count": 5, "seed": 1, **fields})


def drawn(seed: int, count: int = 5, offset: int = 0) -> NDArray[np.float32]:
    return draw_latents(seed, offset, count, W, NORMAL)


def expected(
    model: TinyStyle = STYLE,
    *,
    psi: float | NDArray[np.float32] = 1.0,
    mix: tuple[int, int] | None = None,
    noise: int = SEEDED,
    label: int | None = 1,
    count: int = 5,
    offset: int = 0,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return the w's and the samples of seed 1."""
    latents = drawn(1, count, offset)
    labels = None if label is None else np.full(count, label)
    w = model.ws(latents, labels)
    if mix is not None:
        w[:, mix[1] :] = model.ws(drawn(mix[0], count, offset), labels)[:, mix[1] :]
    w = model.truncated(w, psi)
    return w, model.pictures(w, latents, noise)


@pytest.mark.parametrize(
    ("fields", "meaning"),
    [
        ({}, {}),
        ({"truncation": 0.0}, {"psi": 0.0}),
        ({"truncation": 0.25}, {"psi": 0.25}),
        ({"truncation": 0.25, "truncation_layers": 2}, {"psi": np.array([0.25, 0.25, 1], np.float32)}),
        ({"mix": StyleMix(seed=7, from_layer=1)}, {"mix": (7, 1)}),
        (
            {"mix": StyleMix(seed=2**64 - 1, from_layer=2), "truncation": 0.5},
            {"mix": (2**64 - 1, 2), "psi": 0.5},
        ),
        ({"noise": CONSTANT}, {"noise": CONSTANT}),
        ({"noise": NONE, "offset": 10}, {"noise": NONE, "offset": 10}),
    ],
)
def test_requests_are_what_numpy_says(stubs: Stubs, fields: dict[str, Any], meaning: dict[str, Any]) -> None:
    response = stubs.gan.Sample(ask(label_indices=[1], return_w=True, return_latents=True, **fields))
    w, samples = expected(**meaning)
    np.testing.assert_array_equal(to_array(response.w), w)
    np.testing.assert_array_equal(to_array(response.samples.tensor), samples)
    assert not stubs.gan.Sample(ask(label_indices=[1], **fields)).HasField("w")


def test_a_model_s_own_truncation_and_noise(stubs: Stubs) -> None:
    fields = {"model": "half", "label_indices": [1], "return_w": True}
    for own, psi in (
        ({}, [0.5, 0.5, 1]),
        ({"truncation": 1.0}, [1, 1, 1]),
        ({"truncation": 0.25}, [0.25, 0.25, 1]),
        ({"truncation_layers": 1}, [0.5, 1, 1]),
    ):
        response = stubs.gan.Sample(ask(**fields, **own))
        w, samples = expected(FEW_NOISES, psi=np.array(psi, np.float32), noise=NONE)
        np.testing.assert_array_equal(to_array(response.w), w)
        np.testing.assert_array_equal(to_array(response.samples.tensor), samples)


def test_w_given_back_gives_the_same_samples(stubs: Stubs) -> None:
    first = stubs.gan.Sample(ask(offset=3, label_indices=[2], truncation=0.3, return_w=True, return_latents=True))
    for noise_of in ({"seed": 1, "offset": 3}, {"latents": first.latents, "seed": None}):
        again = stubs.gan.Sample(ask(**noise_of, label_indices=[2], w=first.w, return_w=True, return_scores=True))
        assert again.samples == first.samples
        assert again.w == first.w
        assert list(again.scores) == STYLE.scores(to_array(first.samples.tensor), np.full(5, 2)).tolist()
    other = stubs.gan.Sample(ask(seed=8, label_indices=[2], w=first.w))
    assert other.samples != first.samples, "another seed draws other noise"
    still = [stubs.gan.Sample(ask(seed=seed, label_indices=[2], w=first.w, noise=NONE)).samples for seed in (1, 8)]
    assert still[0] == still[1]


def test_latents_can_be_truncated_and_mixed(stubs: Stubs) -> None:
    latents = drawn(4)
    request = ask(label_indices=[0], truncation=0.5, mix=StyleMix(seed=7, from_layer=1))
    request.ClearField("seed")
    request.latents.CopyFrom(to_tensor(latents))
    w = STYLE.ws(latents, np.zeros(5, np.int64))
    w[:, 1:] = STYLE.ws(drawn(7), np.zeros(5, np.int64))[:, 1:]
    samples = STYLE.pictures(STYLE.truncated(w, 0.5), latents)
    np.testing.assert_array_equal(to_array(stubs.gan.Sample(request).samples.tensor), samples)


def test_models_without_noise_or_w(stubs: Stubs) -> None:
    for model, name in ((PLAIN_STYLE, "plain"), (PSI_ONLY, "psi-only")):
        w, samples = expected(model, psi=0.5, label=None, noise=NONE)
        response = stubs.gan.Sample(ask(model=name, truncation=0.5, return_w=model.has_w))
        np.testing.assert_array_equal(to_array(response.samples.tensor), samples)
        assert not model.has_w or (to_array(response.w) == w).all()


def test_streams_selections_and_batch_mates_change_nothing(address: str, stubs: Stubs) -> None:
    """Ask for everything at once: requests of all kinds share calls, in chunks and in parts."""
    common = {"label_indices": [1], "return_w": True, "count": 40, "offset": 2}
    kinds: list[dict[str, Any]] = [
        {**common, "truncation": 0.5},
        {**common, "mix": StyleMix(seed=9, from_layer=1), "noise": CONSTANT},
        {**common, "noise": NONE, "truncation": 0.0},
        {"label_indices": [1], "count": 40, "offset": 2},
        {"count": 40, "return_w": True},
    ]
    alone = [stubs.gan.Sample(ask(**kind)) for kind in kinds]
    w, samples = expected(mix=(9, 1), noise=CONSTANT, count=40, offset=2)
    np.testing.assert_array_equal(to_array(alone[1].samples.tensor), samples)
    np.testing.assert_array_equal(to_array(alone[1].w), w)

    async def together() -> None:
        async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
            gan = gan_service_pb2_grpc.GanServiceStub(channel)

            async def part(at: int, start: int, count: int) -> None:
                kind = dict(kinds[at])
                kind |= {"offset": kind.get("offset", 0) + start, "count": count}
                response = await gan.Sample(ask(**kind))
                rows = slice(start, start + count)
                whole = alone[at]
                assert (to_array(response.samples.tensor) == to_array(whole.samples.tensor)[rows]).all()
                if response.HasField("w"):
                    assert (to_array(response.w) == to_array(whole.w)[rows]).all()

            async def stream(at: int) -> None:
                request = gan_service_pb2.StreamSamplesRequest(request=ask(**kinds[at]), chunk_size=7)
                chunks = [message.chunk async for message in gan.StreamSamples(request)]
                assert b"".join(chunk.samples.tensor.data for chunk in chunks) == alone[at].samples.tensor.data
                assert b"".join(chunk.w.data for chunk in chunks) == alone[at].w.data

            calls = [part(at, start, count) for at in range(len(kinds)) for start, count in ((0, 3), (5, 1), (7, 30))]
            await asyncio.gather(*calls, *map(stream, range(len(kinds))))

    asyncio.run(together())


@pytest.mark.parametrize("method", ["SELECTION_METHOD_BEST_OF_N", "SELECTION_METHOD_REJECTION"])
def test_selections(stubs: Stubs, method: str) -> None:
    """A selected sample is one of its proposals, mixed and truncated like any other."""
    kind = {"label_indices": [1], "truncation": 0.5, "mix": StyleMix(seed=9, from_layer=1)}
    selection = gan_service_pb2.Selection(method=method, max_proposals_per_sample=8)
    chosen = stubs.gan.Sample(
        ask(**kind, selection=selection, return_w=True, return_scores=True, return_latents=True, count=20)
    )
    proposals = stubs.gan.Sample(ask(**kind, count=160, return_scores=True, return_w=True))
    scores = np.array(proposals.scores).reshape(20, 8)
    if "BEST" in method:
        assert list(chosen.scores) == scores.max(1).tolist()
    places = [8 * i + scores[i].tolist().index(score) for i, score in enumerate(chosen.scores)]
    for one, whole in ((chosen.samples.tensor, proposals.samples.tensor), (chosen.w, proposals.w)):
        np.testing.assert_array_equal(to_array(one), to_array(whole)[places])
    # Two samples of another request come out alike.
    part = stubs.gan.Sample(ask(**kind, selection=selection, return_w=True, count=2, offset=11))
    np.testing.assert_array_equal(to_array(part.w), to_array(chosen.w)[11:13])
    np.testing.assert_array_equal(to_array(part.samples.tensor), to_array(chosen.samples.tensor)[11:13])


def w_of(values: Any, shape: tuple[int, ...] = (5, LAYERS, W)) -> tensor_pb2.Tensor:
    return to_tensor(np.full(shape, values, np.float32))


MIX = StyleMix(seed=7, from_layer=1)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"truncation": 1.5}, "truncation: is 1.5; expected psi, 0 to 1"),
        ({"truncation": float("nan")}, "truncation: is nan"),
        ({"truncation": -0.5}, "truncation: is -0.5"),
        ({"truncation_layers": 0}, "truncation_layers: is 0; expected 1 to 3"),
        ({"truncation_layers": 4}, "truncation_layers: is 4"),
        ({"mix": StyleMix(seed=7)}, "mix.from_layer: is 0; expected 1 to 2"),
        ({"mix": StyleMix(seed=7, from_layer=3)}, "mix.from_layer: is 3"),
        ({"noise": 9}, "noise: is 9; expected NOISE_MODE_SEEDED"),
        ({"model": "half", "noise": SEEDED}, "offers the noise none, constant; not seeded"),
        ({"model": "plain", "label_indices": [], "noise": SEEDED}, "lets requests choose no noise"),
        ({"w": w_of(1, (4, LAYERS, W))}, "w.shape: has 4 samples, count is 5"),
        ({"w": w_of(1, (5, LAYERS, W + 1))}, "w.shape: is [5, 3, 5]; expected [N, 3, 4]"),
        ({"w": w_of(1, (5, LAYERS * W))}, "w.shape: is [5, 12]"),
        ({"w": w_of(np.nan)}, "w.data: has values that are not finite in 5 rows"),
        ({"w": w_of(np.inf)}, "not finite"),
        ({"w": tensor_pb2.Tensor(data_type=2, shape=[5, LAYERS, W], data=b"1")}, "w.data: has 1 bytes"),
        (
            {"w": tensor_pb2.Tensor(data_type=1, shape=[5, LAYERS, W], data=b"1" * 60)},
            "w.data_type: is",
        ),
        ({"w": tensor_pb2.Tensor(data_type=2, shape=[2**32 - 1, LAYERS, W])}, "w.data: has 0 bytes"),
        ({"w": tensor_pb2.Tensor()}, "w.shape: is []"),
        ({"w": w_of(1), "label_indices": []}, "with w, model 'styles' needs labels"),
        ({"w": w_of(1), "mix": MIX}, "mix: cannot be combined with w"),
        ({"w": w_of(1), "truncation": 0.5, "truncation_layers": 1}, "truncation: cannot be combined with w"),
        (
            {"w": w_of(1), "selection": gan_service_pb2.Selection(method=1, max_proposals_per_sample=2)},
            "selection: cannot be combined with w",
        ),
        (
            {"model": "tiny", "truncation_layers": 1},
            "'tiny' has no mapping, as StyleGANs have, which truncation_layers",
        ),
        (
            {"model": "tiny", "mix": MIX, "return_w": True},
            "has no mapping, as StyleGANs have, which mix, return_w needs",
        ),
        ({"model": "tiny", "w": w_of(1), "noise": NONE}, "has no mapping, as StyleGANs have, which noise, w needs"),
        ({"model": "psi-only", "label_indices": [], "mix": MIX}, "gives no access to its w's, which mix needs"),
        ({"model": "psi-only", "label_indices": [], "w": w_of(1)}, "gives no access to its w's, which w needs"),
        (
            {"model": "psi-only", "label_indices": [], "return_w": True},
            "gives no access to its w's, which return_w needs",
        ),
    ],
)
def test_refusals(stubs: Stubs, fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        stubs.gan.Sample(ask(**{"label_indices": [1], **fields}))
    assert problem in failure.value.details()
    assert failure.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION)


def test_streams_take_no_w(stubs: Stubs) -> None:
    request = gan_service_pb2.StreamSamplesRequest(request=ask(w=w_of(1), label_indices=[1]))
    with pytest.raises(grpc.RpcError) as failure:
        list(stubs.gan.StreamSamples(request))
    assert "request.w: are not allowed in a stream" in failure.value.details()


def test_the_answer_s_bound_counts_w(stubs: Stubs) -> None:
    size = STYLE.size + 4 * W + 4 * LAYERS * W
    with pytest.raises(grpc.RpcError) as failure:
        stubs.gan.Sample(ask(model="plain", count=10**7, return_w=True))
    assert f"samples of {size} bytes" in failure.value.details()


def test_models_are_listed_with_their_mapping(stubs: Stubs) -> None:
    listed = stubs.gan.ListModels(gan_service_pb2.ListModelsRequest()).models
    styles = {model.name: model.versions[0].style for model in listed if model.versions[0].HasField("style")}
    assert styles.keys() == {"styles", "half", "plain", "psi-only"}
    assert (styles["half"].default_truncation, list(styles["half"].noise_modes)) == (0.5, [NONE, CONSTANT])
    assert set(FACTORS) == set(styles["styles"].noise_modes)


def test_drawn_labels_are_those_of_the_sample(stubs: Stubs) -> None:
    response = stubs.gan.Sample(ask(mix=MIX, return_w=True))
    labels = draw_labels(1, 0, 5, 3)
    assert list(response.label_indices) == labels.tolist()
    w = STYLE.ws(drawn(1), labels)
    w[:, 1:] = STYLE.ws(drawn(7), labels)[:, 1:]
    np.testing.assert_array_equal(to_array(response.w), STYLE.truncated(w, 1.0))


SHAPES = st.sampled_from([[2, LAYERS, W], [1, LAYERS, W], [3, W], [2**32 - 1] * 3]) | st.lists(
    st.integers(0, 2**32 - 1), max_size=4
)
TENSORS = st.builds(
    tensor_pb2.Tensor,
    data_type=st.integers(0, 3),
    shape=SHAPES,
    data=st.sampled_from([b"", bytes(96), bytes(48), b"\xff" * 96, b"\x00\x00\x80\x7e" * 24]),
)
NUMBERS = st.integers(0, 4) | st.integers(0, 2**32 - 1)
ANYTHING = st.builds(
    gan_service_pb2.SampleRequest,
    model=st.sampled_from(["styles", "half", "plain", "psi-only", "tiny"]),
    count=st.integers(1, 3),
    seed=st.none() | st.integers(0, 2**64 - 1),
    label_indices=st.sampled_from([[], [0], [2]]),
    truncation=st.none() | st.floats() | st.floats(0, 1),
    truncation_layers=st.none() | NUMBERS,
    mix=st.none() | st.builds(StyleMix, seed=st.integers(0, 2**64 - 1), from_layer=NUMBERS),
    noise=st.integers(-(2**31), 2**31 - 1) | st.integers(0, 4),
    latents=st.none() | TENSORS,
    w=st.none() | TENSORS,
    return_w=st.booleans(),
    return_scores=st.booleans(),
)


@settings(max_examples=150)
@given(request=ANYTHING)
def test_no_request_makes_the_server_fail(stubs: Stubs, request: gan_service_pb2.SampleRequest) -> None:
    call = stubs.gan.Sample.future(request)
    if call.code() != grpc.StatusCode.OK:
        assert call.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION), call.details()
        return
    response = call.result()
    assert len(to_array(response.samples.tensor)) == request.count
    assert response.HasField("w") == request.return_w
