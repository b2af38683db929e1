"""Test sampling from a real server with both clients."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

import tiny_packages
from ganserve import InvalidRequest, SampleBatch, UnsupportedByModel

if TYPE_CHECKING:
    from conftest import Api


def test_samples_are_the_generators_output_for_the_latents(api: Api) -> None:
    batch = api.sample(5, "one", model="tiny", seed=42, return_latents=True)
    assert batch.latents is not None
    assert batch.labels is not None
    assert (batch.samples.dtype, batch.samples.shape) == (np.uint8, (5, 8, 8, 1))
    assert (batch.latents.dtype, batch.latents.shape) == (np.float32, (5, 4))
    np.testing.assert_array_equal(batch.samples, tiny_packages.CONDITIONAL.samples(batch.latents, batch.labels))
    assert batch.images is batch.samples
    assert (batch.model, batch.version, batch.seed, batch.offset) == ("tiny", 2, 42, 0)
    assert batch.labels.tolist() == [1] * 5
    assert batch.label_names == ("one",) * 5
    assert batch.scores is None
    assert batch.probabilities is None


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("two", [2, 2, 2]),
        (2, [2, 2, 2]),
        (np.uint8(2), [2, 2, 2]),
        (np.str_("two"), [2, 2, 2]),
        (np.array(2), [2, 2, 2]),
        ([2, 0, 1], [2, 0, 1]),
        (("two", "zero", "one"), [2, 0, 1]),
        (np.array([2, 0, 1], np.int32), [2, 0, 1]),
        ([np.int64(2), 0, 1], [2, 0, 1]),
        (np.array(["two", "zero", "one"]), [2, 0, 1]),
        ([1, 1, 1], [1, 1, 1]),
    ],
)
def test_labels_by_name_by_index_and_one_per_sample(api: Api, label: object, expected: list[int]) -> None:
    batch = api.sample(3, label, model="tiny", seed=1)
    assert batch.labels is not None
    assert batch.labels.dtype == np.int64
    assert batch.labels.tolist() == expected
    same = api.sample(3, expected, model="tiny", seed=1)
    np.testing.assert_array_equal(batch.samples, same.samples)


def test_without_a_label_each_sample_gets_a_random_label(api: Api) -> None:
    batch = api.sample(100, model="tiny", seed=0)
    assert batch.label_names is not None
    assert set(batch.label_names) == {"zero", "one", "two"}


def test_without_a_seed_each_call_draws_and_returns_a_new_one(api: Api) -> None:
    first, second = api.sample(4, model="tiny"), api.sample(4, model="tiny")
    assert first.seed is not None
    assert first.seed != second.seed
    np.testing.assert_array_equal(first.samples, api.sample(4, model="tiny", seed=first.seed).samples)


@pytest.mark.parametrize("seed", [0, np.int64(7), 2**64 - 1])
def test_an_offset_continues_the_sequence(api: Api, seed: int) -> None:
    whole = api.sample(10, model="tiny", seed=seed)
    part = api.sample(4, model="tiny", seed=seed, offset=3)
    np.testing.assert_array_equal(part.samples, whole.samples[3:7])
    assert part.offset == 3
    assert part.indices.tolist() == [3, 4, 5, 6]
    assert part.seed == seed


def test_truncation_bounds_the_latents(api: Api) -> None:
    batch = api.sample(200, 0, model="tiny", seed=1, truncation=0.5, return_latents=True)
    assert batch.latents is not None
    assert 0.3 < np.abs(batch.latents).max() <= 0.5


def test_controls_set_values_of_the_latents(api: Api) -> None:
    drawn = api.sample(20, model="tiny-codes", seed=1, return_latents=True)
    left = api.sample(20, model="tiny-codes", seed=1, controls={"c0": np.float32(-0.5)}, return_latents=True)
    assert drawn.latents is not None
    assert left.latents is not None
    np.testing.assert_array_equal(left.latents[:, :2], drawn.latents[:, :2])
    assert set(left.latents[:, 2]) == {-0.5}
    streamed = SampleBatch.concatenate(api.batches(20, model="tiny-codes", seed=1, controls={"c0": -0.5}))
    np.testing.assert_array_equal(streamed.samples, left.samples)


@pytest.mark.parametrize(
    ("model", "controls", "error", "message"),
    [
        ("tiny-codes", {"c0": 2}, InvalidRequest, "controls: c0 is 2; expected -1 to 1"),
        (
            "tiny-codes",
            {"c9": 0},
            InvalidRequest,
            "controls: 'c9' is not a control; model 'tiny-codes' has the controls c0",
        ),
        ("tiny", {"c0": 0}, UnsupportedByModel, "model 'tiny' has no controls (got 'c0'): leave them out"),
    ],
)
def test_unknown_controls(
    api: Api, model: str, controls: dict[str, float], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        api.sample(1, model=model, controls=controls)


def test_scores_of_a_critic_that_takes_no_labels_come_with_labelled_samples(api: Api) -> None:
    batch = api.sample(6, "code-1", model="tiny-codes", seed=1, return_scores=True)
    np.testing.assert_array_equal(batch.scores, tiny_packages.CODES.scores(batch.samples))


def test_scores_come_with_the_samples(api: Api) -> None:
    batch = api.sample(6, model="tiny", seed=1, return_scores=True)
    assert batch.scores is not None
    assert batch.probabilities is not None
    assert batch.labels is not None
    expected = tiny_packages.CONDITIONAL.scores(batch.samples, batch.labels)
    np.testing.assert_array_equal(batch.scores, expected)
    np.testing.assert_allclose(
        batch.probabilities, tiny_packages.CONDITIONAL.probabilities(expected), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ">f4"])
def test_given_latents_are_used(api: Api, dtype: object) -> None:
    latents = np.array([[0.5, -1, 0.25, 2], [0, 1, 0, -0.5]], dtype)
    batch = api.sample(2, [1, 2], model="tiny", latents=latents)
    expected = tiny_packages.CONDITIONAL.samples(latents.astype(np.float32), np.array([1, 2]))
    np.testing.assert_array_equal(batch.samples, expected)
    assert batch.seed is None
    assert batch.offset == 0


def test_versions_can_be_pinned(api: Api) -> None:
    assert api.sample(1, model="tiny", version=1).version == 1
    assert api.sample(1, model="tiny").version == 2


def test_other_kinds_of_models(api: Api) -> None:
    rgb = api.sample(2, "green", model="tiny-rgb")
    assert rgb.images.shape == (2, 16, 12, 3)
    plain = api.sample(2, model="tiny-unconditional")
    assert plain.images.shape == (2, 8, 8, 1)
    assert plain.labels is None
    assert plain.label_names is None
    vectors = api.sample(3, model="tiny-vector")
    assert (vectors.samples.dtype, vectors.samples.shape) == (np.float32, (3, 2))


def test_results_beyond_grpcs_default_limit_of_4_mib_arrive(api: Api) -> None:
    batch = api.sample(20_000, 0, model="tiny-rgb", seed=1)
    assert batch.images.nbytes == 20_000 * 16 * 12 * 3 > 10 * 2**20
    np.testing.assert_array_equal(batch.images[-1:], api.sample(1, 0, model="tiny-rgb", seed=1, offset=19_999).images)


def test_results_are_writable(api: Api) -> None:
    batch = api.sample(2, model="tiny")
    batch.images[0] = 0
    assert not batch.images[0].any()
