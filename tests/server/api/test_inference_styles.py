"""Test style-based generators through the Open Inference Protocol: the samples of GanService, and its refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from ganserve.v1 import gan_service_pb2
from open_inference import infer_inputs
from server_process import running_server
from stubs import Stubs, connected, to_array
from tiny_packages import CONDITIONAL, build_tiny_package
from tiny_styles import LAYERS, NONE, PLAIN_STYLE, STYLE, W, build_style_package

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    models = tmp_path_factory.mktemp("models")
    build_style_package(models, psi=0.75)
    build_style_package(models, "plain", model=PLAIN_STYLE)
    build_tiny_package(models, "tiny", model=CONDITIONAL)
    with running_server(models) as server:
        yield server.address


@pytest.fixture(scope="module")
def stubs(address: str) -> Iterator[Stubs]:
    with connected(address) as stubs:
        yield stubs


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(address) as client:
        yield client


def ask(
    client: triton.InferenceServerClient,
    inputs: dict[str, NDArray[np.generic]],
    outputs: tuple[str, ...] = ("samples", "w"),
    model: str = "styles",
    **parameters: Any,
) -> dict[str, NDArray[np.generic]]:
    wanted = [triton.InferRequestedOutput(name) for name in outputs]
    result = client.infer(model, infer_inputs(**inputs), outputs=wanted, parameters=parameters)
    return {name: result.as_numpy(name) for name in outputs}


def seeds(*numbers: int) -> dict[str, NDArray[np.generic]]:
    return {"seeds": np.array(numbers, np.uint64), "labels": np.full(1, 2)}


def native(stubs: Stubs, **fields: Any) -> dict[str, NDArray[np.generic]]:
    fields = {"model": "styles", "count": 5, "seed": 1, "label_indices": [2], "return_w": True, **fields}
    response = stubs.gan.Sample(gan_service_pb2.SampleRequest(**fields))
    return {"samples": to_array(response.samples.tensor), "w": to_array(response.w)}


def same(one: dict[str, NDArray[np.generic]], other: dict[str, NDArray[np.generic]]) -> None:
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_a_style_is_described(client: triton.InferenceServerClient) -> None:
    metadata = client.get_model_metadata("styles")
    ports = {port.name: (port.datatype, list(port.shape)) for port in (*metadata.inputs, *metadata.outputs)}
    assert ports["w"] == ("FP32", [-1, LAYERS, W])
    assert "w" in {port.name for port in metadata.inputs} & {port.name for port in metadata.outputs}
    assert {port.name for port in client.get_model_metadata("tiny").inputs} == {"latents", "seeds", "labels"}


def test_parameters_mean_what_fields_mean(client: triton.InferenceServerClient, stubs: Stubs) -> None:
    mix = gan_service_pb2.StyleMix(seed=7, from_layer=1)
    same(ask(client, seeds(1), count=5), native(stubs))
    same(ask(client, seeds(1), count=5, truncation=0.25, offset=3), native(stubs, truncation=0.25, offset=3))
    same(
        ask(client, seeds(1), count=5, truncation_layers=1, noise="none", mix_seed=7, mix_from=1),
        native(stubs, truncation_layers=1, noise=NONE, mix=mix),
    )
    default = ask(client, seeds(1), ("samples",), count=5)["samples"]
    np.testing.assert_array_equal(default, native(stubs)["samples"])


def test_many_seeds_with_mixing_and_w(client: triton.InferenceServerClient, stubs: Stubs) -> None:
    many = ask(client, seeds(3, 1, 2), offset=4, mix_seed=7, mix_from=2)
    mix = gan_service_pb2.StyleMix(seed=7, from_layer=2)
    for row, seed in enumerate((3, 1, 2)):
        one = native(stubs, seed=seed, offset=4, count=1, mix=mix)
        same({name: values[row : row + 1] for name, values in many.items()}, one)
    again = ask(client, seeds(3, 1, 2) | {"w": many["w"]}, offset=4)
    same(again, many)


def test_w_comes_back_as_the_same_samples(client: triton.InferenceServerClient) -> None:
    first = ask(client, seeds(1), ("samples", "w", "latents"), count=5, truncation=0.5)
    given = {"w": first["w"], "labels": np.full(1, 2)}
    same(ask(client, given | {"seeds": np.array([1], np.uint64)}), {name: first[name] for name in ("samples", "w")})
    same(ask(client, given | {"latents": first["latents"]}), {name: first[name] for name in ("samples", "w")})
    latents = ask(client, {"latents": first["latents"], "labels": np.full(1, 2)}, truncation=0.5)
    same(latents, {name: first[name] for name in ("samples", "w")})


def test_everything_without_labels_or_noise(client: triton.InferenceServerClient, stubs: Stubs) -> None:
    one = {"seeds": np.array([1], np.uint64)}
    same(ask(client, one, model="plain", count=5), native(stubs, model="plain", label_indices=[]))
    assert PLAIN_STYLE.size == STYLE.size


@pytest.mark.parametrize(
    ("inputs", "parameters", "problem"),
    [
        (seeds(1), {"truncation": 2.0}, "parameters.truncation: is 2; expected psi, 0 to 1"),
        (seeds(1), {"truncation_layers": 4}, "parameters.truncation_layers: is 4; expected 1 to 3"),
        (seeds(1), {"mix_seed": 1}, "parameters.mix_from: is missing"),
        (seeds(1), {"mix_seed": -1, "mix_from": 1}, "parameters.mix_seed: is -1"),
        (seeds(1), {"mix_seed": 1, "mix_from": 9}, "parameters.mix_from: is 9; expected 1 to 2"),
        (seeds(1), {"noise": "loud"}, "parameters.noise: is 'loud'; expected seeded, constant, none"),
        (seeds(1), {"noise": 3}, "parameters.noise: is 3"),
        ({"w": np.zeros((2, LAYERS, W), np.float32)}, {}, "inputs.labels: is missing; with w"),
        (seeds(1) | {"w": np.zeros((2, LAYERS, 3), np.float32)}, {}, "inputs.w.shape: is [2, 3, 3]"),
        (seeds(1) | {"w": np.full((2, LAYERS, W), np.nan, np.float32)}, {}, "not finite"),
        (seeds(1) | {"w": np.zeros((2, LAYERS, W), np.float32)}, {"count": 3}, "parameters.count: cannot be combined"),
        (seeds(1) | {"w": np.zeros((2, LAYERS, W), np.float32)}, {"mix_seed": 1, "mix_from": 1}, "mix_seed: cannot be"),
        (seeds(1, 2, 3) | {"w": np.zeros((2, LAYERS, W), np.float32)}, {}, "inputs.seeds.shape: has 3; expected 1"),
    ],
)
def test_refusals(
    client: triton.InferenceServerClient,
    inputs: dict[str, NDArray[np.generic]],
    parameters: dict[str, Any],
    problem: str,
) -> None:
    with pytest.raises(InferenceServerException) as failure:
        ask(client, inputs, **parameters)
    assert problem in str(failure.value)


def test_models_without_a_mapping(client: triton.InferenceServerClient) -> None:
    for parameters in ({"noise": "none"}, {"truncation_layers": 1}, {"mix_seed": 1, "mix_from": 1}):
        with pytest.raises(InferenceServerException, match="has no mapping, as StyleGANs have") as failure:
            ask(client, seeds(1), ("samples",), "tiny", **parameters)
        assert str(grpc.StatusCode.FAILED_PRECONDITION) in str(failure.value.status())
    with pytest.raises(InferenceServerException, match=r"outputs\.w: is not an output of 'tiny'"):
        ask(client, seeds(1), ("w",), "tiny")
