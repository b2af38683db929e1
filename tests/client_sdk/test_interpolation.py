"""Test interpolation with every client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tiny_packages
from ganserve import InvalidRequest, ModelNotFound, UnsupportedByModel
from ganserve._calls.interpolation import latents_between

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Api


def test_an_interpolation_between_seeds_begins_and_ends_with_their_samples(api: Api) -> None:
    batch = api.interpolate(1, 2, 9, "one", model="tiny", return_scores=True)
    assert len(batch) == 9
    assert batch.label_names == ("one",) * 9
    assert batch.seed is None
    assert batch.latents is not None
    for at, seed in ((0, 1), (-1, 2)):
        end = api.sample(1, "one", model="tiny", seed=seed, return_latents=True)
        np.testing.assert_array_equal(batch.latents[at], end.latents[0])
        np.testing.assert_array_equal(batch.samples[at], end.samples[0])
    np.testing.assert_array_equal(batch.samples, tiny_packages.CONDITIONAL.samples(batch.latents, np.full(9, 1)))
    np.testing.assert_array_equal(batch.scores, tiny_packages.CONDITIONAL.scores(batch.samples, np.full(9, 1)))


def test_normal_latents_keep_their_length(api: Api) -> None:
    a, b = np.array([3.0, 0, 0, 0]), [0, 0, 1.0, 0]
    batch = api.interpolate(a, b, 5, 0, model="tiny")
    assert batch.latents is not None
    np.testing.assert_allclose(np.linalg.norm(batch.latents, axis=1), [3, 2.5, 2, 1.5, 1], rtol=1e-6)
    angles = np.degrees(np.arctan2(batch.latents[:, 2], batch.latents[:, 0]))
    np.testing.assert_allclose(angles, [0, 22.5, 45, 67.5, 90], atol=1e-4)


def test_uniform_latents_are_interpolated_linearly(api: Api) -> None:
    batch = api.interpolate([-1.0, 0.5], [1.0, 0.5], 5, model="tiny-vector")
    np.testing.assert_array_equal(batch.latents, [[-1, 0.5], [-0.5, 0.5], [0, 0.5], [0.5, 0.5], [1, 0.5]])
    np.testing.assert_array_equal(batch.samples, tiny_packages.VECTOR.samples(batch.latents))


def test_controls_are_interpolated_linearly_and_latents_spherically(api: Api) -> None:
    batch = api.interpolate([2.0, 0, -1], [0, 2.0, 1], 3, "code-0", model="tiny-codes")
    assert batch.latents is not None
    np.testing.assert_allclose(batch.latents[1], [2**0.5, 2**0.5, 0], rtol=1e-6)


def test_without_a_label_the_labels_of_the_ends_are_used(api: Api) -> None:
    first = api.sample(1, model="tiny", seed=7)
    assert api.interpolate(7, np.zeros(4), 3, model="tiny").labels.tolist() == first.labels.tolist() * 3
    assert api.interpolate(np.ones(4), 7, 3, model="tiny").labels.tolist() == first.labels.tolist() * 3
    assert api.interpolate([1.0, 2, 3, 4], 5, 2, model="tiny-unconditional").labels is None
    each = api.interpolate(1, 2, 3, [0, 1, 2], model="tiny")
    assert each.labels.tolist() == [0, 1, 2]


def test_latents_without_a_label_are_refused_by_the_server(api: Api) -> None:
    with pytest.raises(InvalidRequest, match="label"):
        api.interpolate(np.ones(4), np.zeros(4), 3, model="tiny")


def test_truncation_applies_to_seeds(api: Api) -> None:
    batch = api.interpolate(1, np.full(4, 3.0), 2, 0, model="tiny", truncation=0.25)
    assert batch.latents is not None
    assert np.abs(batch.latents[0]).max() <= 0.25
    assert batch.latents[1].tolist() == [3.0] * 4
    with pytest.raises(UnsupportedByModel):
        api.interpolate(1, 2, 2, model="tiny-vector", truncation=0.25)
    with pytest.raises(InvalidRequest, match="truncation: cannot be combined with two latents"):
        api.interpolate(np.ones(4), np.zeros(4), 3, 0, model="tiny", truncation=1)


def test_another_version_and_encoding(api: Api) -> None:
    batch = api.interpolate(1, 2, 4, 0, model="tiny", version=1, encoding="png", priority="high")
    assert batch.version == 1
    np.testing.assert_array_equal(batch.samples, api.interpolate(1, 2, 4, 0, model="tiny").samples)


@pytest.mark.parametrize(
    ("a", "b", "steps", "options", "message"),
    [
        (1, 2, 1, {}, "steps: is 1; expected at least 2"),
        (1, 2, 2.5, {}, "steps: is 2.5; expected an int"),
        (-1, 2, 3, {}, "a: is -1; expected at least 0"),
        (True, 2, 3, {}, "a: is True; expected an int"),
        (1, 2**64, 3, {}, "b: is 18446744073709551616; expected at most"),
        (1, [[[1.0, 2]]], 3, {}, r"b: has the shape \[1, 1, 2\]; expected a seed, or one latent"),
        (1, ["x"], 3, {}, "b: is <U1; expected real numbers"),
        (1, [1.0, [2]], 3, {}, "b: is not an array; expected a seed, or one latent"),
        (1, [np.nan, 1], 3, {}, "b: has NaN or infinity"),
        (1, 2, 3, {"truncation": -1}, "truncation: is -1; expected a finite number of at least 0"),
        (1, 2, 3, {"label": [1, 2]}, "label: has 2 entries"),
        (1, 2, 3, {"encoding": "gif"}, "encoding: is 'gif'; expected one of 'raw', 'png'"),
        (1, 2, 3, {"priority": "urgent"}, "priority: is 'urgent'; expected one of"),
        (1, 2, 3, {"timeout_s": -1}, "timeout_s: is -1"),
    ],
)
def test_invalid_arguments_are_refused_before_sending(
    connect: Callable[..., Api], closed_port: str, a: Any, b: Any, steps: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        connect(closed_port).interpolate(a, b, steps, **options)


def test_latents_of_another_model_are_refused(api: Api) -> None:
    with pytest.raises(InvalidRequest, match="b: has 3 values; expected 4, the latent of model 'tiny'"):
        api.interpolate(1, np.zeros(3), 5, model="tiny")
    with pytest.raises(ModelNotFound):
        api.interpolate(1, 2, 3, model="nope")


def test_interpolation_between_opposite_or_equal_latents() -> None:
    zero, one = np.zeros(3, np.float32), np.array([0, 2, 0], np.float32)
    np.testing.assert_array_equal(latents_between(zero, one, 3, True), [[0, 0, 0], [0, 1, 0], [0, 2, 0]])
    np.testing.assert_array_equal(latents_between(one, one, 3, True), [one] * 3)
    np.testing.assert_array_equal(latents_between(one[:1] + 1, one[1:2], 3, True), [[1], [1.5], [2]])
    opposite = latents_between(one, -one, 5, True)
    np.testing.assert_allclose(np.linalg.norm(opposite, axis=1), 2, rtol=1e-6)
    assert abs(opposite[2, 1]) < 1e-6
