"""Compare GanService's answers from a real server process with a computation in numpy."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from ganserve.v1 import gan_service_pb2, model_spec_pb2, tensor_pb2
from ganserve_server.models.latents import Control, Distribution, draw_labels, draw_latents
from stubs import to_array, to_tensor
from tiny_packages import CODES, CONDITIONAL, RGB, UNCONDITIONAL, VECTOR, TinyModel

if TYPE_CHECKING:
    from stubs import Stubs

MODELS = {
    "tiny": CONDITIONAL,
    "tiny-codes": CODES,
    "tiny-unconditional": UNCONDITIONAL,
    "tiny-rgb": RGB,
    "tiny-vector": VECTOR,
}


def expected_latents(
    model: TinyModel, seed: int, offset: int, count: int, truncation: float | None = None
) -> np.ndarray:
    normal = model.distribution == model_spec_pb2.LATENT_DISTRIBUTION_NORMAL
    distribution = Distribution.NORMAL if normal else Distribution.UNIFORM
    first = model.latent_dimension - len(model.controls)
    controls = [Control(name, first + i, -1.0, 1.0) for i, name in enumerate(model.controls)]
    return draw_latents(seed, offset, count, model.latent_dimension, distribution, truncation, controls)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("count", [1, 5, 64, 200])
def test_samples_follow_from_the_latents(stubs: Stubs, name: str, count: int) -> None:
    model = MODELS[name]
    response = stubs.sample(model=name, count=count, seed=11, offset=3, return_latents=True, return_scores=True)
    labels = draw_labels(11, 3, count, len(model.label_names)) if model.label_names else None
    latents = expected_latents(model, 11, 3, count)
    samples = model.samples(latents, labels)
    assert (response.model, response.seed, response.offset) == (name, 11, 3)
    np.testing.assert_array_equal(to_array(response.latents), latents)
    np.testing.assert_array_equal(to_array(response.samples.tensor), samples)
    np.testing.assert_array_equal(np.float32(response.scores), model.scores(samples, labels))
    np.testing.assert_allclose(response.probabilities, model.probabilities(np.float32(response.scores)), atol=1e-6)
    assert list(response.label_indices) == ([] if labels is None else labels.tolist())
    assert list(response.label_names) == ([] if labels is None else [model.label_names[label] for label in labels])


def test_a_control_sets_only_its_value_of_the_latents(stubs: Stubs) -> None:
    fields = {"model": "tiny-codes", "count": 100, "seed": 3, "return_latents": True}
    drawn, left = stubs.sample(**fields), stubs.sample(**fields, controls={"c0": 0.25})
    latents = expected_latents(CODES, 3, 0, 100)
    np.testing.assert_array_equal(to_array(drawn.latents), latents)
    latents[:, 2] = 0.25
    np.testing.assert_array_equal(to_array(left.latents), latents)
    assert list(left.label_indices) == list(drawn.label_indices)
    labels = np.array(drawn.label_indices)
    np.testing.assert_array_equal(to_array(left.samples.tensor), CODES.samples(latents, labels))
    chunks = stubs.stream(model="tiny-codes", count=100, seed=3, controls={"c0": 0.25}, chunk_size=9)
    streamed = np.concatenate([to_array(chunk.samples.tensor) for chunk in chunks])
    np.testing.assert_array_equal(streamed, to_array(left.samples.tensor))


def test_truncation_does_not_change_controls(stubs: Stubs) -> None:
    fields = {"model": "tiny-codes", "count": 200, "seed": 3, "return_latents": True}
    plain, cut = (to_array(stubs.sample(**fields, **more).latents) for more in ({}, {"truncation": 0.1}))
    np.testing.assert_array_equal(cut[:, 2], plain[:, 2])
    assert np.abs(cut[:, 2]).max() > 0.9
    assert np.abs(cut[:, :2]).max() <= 0.1


def test_selected_samples_and_picture_files_are_sent(stubs: Stubs) -> None:
    best = gan_service_pb2.Selection(method=gan_service_pb2.SELECTION_METHOD_BEST_OF_N, max_proposals_per_sample=8)
    fields = {"model": "tiny", "count": 30, "seed": 4, "selection": best, "label_names": ["one"]}
    chosen = stubs.sample(**fields, return_scores=True)
    proposals = stubs.sample(model="tiny", count=240, seed=4, label_names=["one"], return_scores=True)
    scores = np.float32(proposals.scores).reshape(30, 8)
    np.testing.assert_array_equal(np.float32(chosen.scores), scores.max(axis=1))
    rows = np.arange(30) * 8 + scores.argmax(axis=1)
    samples = to_array(chosen.samples.tensor)
    np.testing.assert_array_equal(samples, to_array(proposals.samples.tensor)[rows])
    assert (chosen.selection.proposed, chosen.selection.accepted) == (240, 30)
    files = stubs.sample(**fields, encoding=tensor_pb2.ENCODING_PNG).samples.images.files
    assert [np.asarray(Image.open(io.BytesIO(file))).tolist() for file in files] == samples[..., 0].tolist()
    chunks = stubs.stream(**fields, encoding=tensor_pb2.ENCODING_PNG)
    assert [file for chunk in chunks for file in chunk.samples.images.files] == list(files)
    assert [chunk.selection.proposed for chunk in chunks] == [8 * len(chunk.label_names) for chunk in chunks]


def test_streams_give_any_count_in_chunks(stubs: Stubs) -> None:
    chunks = stubs.stream(model="tiny", count=1000, seed=5, offset=7, label_names=["two"], chunk_size=150)
    whole = stubs.sample(model="tiny", count=1000, seed=5, offset=7, label_indices=[2])
    assert [chunk.offset for chunk in chunks] == [7 + start for start in range(0, 1000, 150)]
    assert max(len(chunk.label_names) for chunk in chunks) == 150
    joined = np.concatenate([to_array(chunk.samples.tensor) for chunk in chunks])
    np.testing.assert_array_equal(joined, to_array(whole.samples.tensor))
    assert {chunk.seed for chunk in chunks} == {5}


@pytest.mark.parametrize("name", MODELS)
def test_scores_samples(stubs: Stubs, name: str) -> None:
    model = MODELS[name]
    samples = model.samples(expected_latents(model, 1, 0, 100), None)
    labels = np.arange(100) % len(model.label_names) if model.label_names and not model.label_free else None
    fields = {} if labels is None else {"label_indices": labels}
    response = stubs.score(model=name, samples=tensor_pb2.Samples(tensor=to_tensor(samples)), **fields)
    np.testing.assert_array_equal(np.float32(response.scores), model.scores(samples, labels))
    np.testing.assert_allclose(response.probabilities, model.probabilities(np.float32(response.scores)), atol=1e-6)


def test_lists_models(stubs: Stubs) -> None:
    models = stubs.gan.ListModels(gan_service_pb2.ListModelsRequest()).models
    assert [model.name for model in models] == [
        "tiny",
        "tiny-codes",
        "tiny-rgb",
        "tiny-unconditional",
        "tiny-uncritical",
        "tiny-vector",
    ]
    assert [version.version for version in models[0].versions] == [1, 2]
    assert models[0].latest == 2
    version = models[0].versions[0]
    assert version.state == gan_service_pb2.MODEL_STATE_READY
    assert list(version.label_names) == ["zero", "one", "two"]
    assert list(version.sample.shape) == [8, 8, 1]
    assert list(version.providers) == ["CPUExecutionProvider"]
    assert version.has_critic
    assert not version.controls
    by_name = {model.name: model.versions[0] for model in models}
    assert [(control.name, control.index) for control in by_name["tiny-codes"].controls] == [("c0", 2)]
    assert not by_name["tiny-uncritical"].has_critic


def test_describes_a_model(stubs: Stubs) -> None:
    response = stubs.gan.GetModel(gan_service_pb2.GetModelRequest(model="tiny", version=1))
    assert (response.spec.name, response.spec.version, response.spec.latent.dimension) == ("tiny", 1, 4)
    assert [engine.file for engine in response.engines] == ["generator.onnx", "critic.onnx"]
    assert [engine.max_batch_size for engine in response.engines] == [64, 64]
    assert all(engine.nodes_by_provider["CPUExecutionProvider"] > 0 for engine in response.engines)
