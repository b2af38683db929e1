"""Test what both clients do with style-based generators: truncation in W, mixing, noise, w's and walks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ganserve import BestOf, InvalidRequest, SampleBatch, UnsupportedByModel
from server_process import running_server
from tiny_styles import LAYERS, NONE, PLAIN_STYLE, PSI_ONLY, STYLE, W, build_style_package

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Api

    from ganserve import ModelInfo


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    models = tmp_path_factory.mktemp("models")
    build_style_package(models, psi=0.75, layers=2)
    build_style_package(models, "plain", model=PLAIN_STYLE)
    build_style_package(models, "psi-only", model=PSI_ONLY)
    with running_server(models) as server:
        yield server.address


@pytest.fixture
def styles(connect: Callable[..., Api], address: str) -> Api:
    return connect(address, model="styles")


def test_the_model_tells_its_style(styles: Api) -> None:
    info: ModelInfo = styles.model()
    assert info.style is not None
    assert (info.style.layers, info.style.w_dimension) == (LAYERS, W)
    assert (info.style.default_truncation, info.style.default_truncation_layers) == (0.75, 2)
    assert info.style.noise_modes == ("seeded", "constant", "none")
    assert "3 layers of style, truncation 0.75" in repr(info)
    plain = styles.model("plain").style
    assert plain is not None
    assert (plain.default_truncation, plain.default_truncation_layers, plain.noise_modes) == (1.0, LAYERS, ())
    assert {model.name: model.versions[0].style for model in styles.models()}["styles"] == info.style


def test_truncation_mixing_noise_and_w(styles: Api, tmp_path: Path) -> None:
    common: dict[str, Any] = {"seed": 4, "return_w": True, "return_latents": True}
    batch = styles.sample(6, "one", truncation=0.5, truncation_layers=1, mix_seed=5, mix_from=2, noise="none", **common)
    other = styles.sample(6, "one", seed=5, return_latents=True)
    labels = np.ones(6, np.int64)
    w = STYLE.ws(batch.latents, labels)
    w[:, 2:] = STYLE.ws(other.latents, labels)[:, 2:]
    w = STYLE.truncated(w, np.array([0.5, 1, 1], np.float32))
    np.testing.assert_array_equal(batch.w, w)
    np.testing.assert_array_equal(batch.samples, STYLE.pictures(w, batch.latents, NONE))
    assert batch.seed == 4
    np.testing.assert_array_equal(batch[2].w, w[2])
    assert "w=[6, 3, 4]" in repr(batch)
    batch.save_npz(tmp_path / "batch.npz")
    np.testing.assert_array_equal(np.load(tmp_path / "batch.npz")["w"], w)

    chunks = styles.batches(
        6, "one", truncation=0.5, truncation_layers=1, mix_seed=5, mix_from=2, noise="none", chunk_size=4, **common
    )
    whole = SampleBatch.concatenate(chunks)
    np.testing.assert_array_equal(whole.w, w)
    np.testing.assert_array_equal(whole.samples, batch.samples)


def test_w_comes_back_as_the_same_samples(styles: Api) -> None:
    batch = styles.sample(4, 2, seed=9, offset=5, truncation=0, return_w=True, return_scores=True, select=BestOf(4))
    assert batch.w is not None
    assert np.abs(batch.w[:, :2] - STYLE.mean).max() == 0, "psi 0 gives the mean in the first two layers"
    first = styles.sample(4, 2, seed=9, offset=5, return_w=True, return_latents=True)
    again = styles.sample(4, 2, seed=9, offset=5, w=first.w, return_scores=True)
    np.testing.assert_array_equal(again.samples, first.samples)
    assert again.seed == 9
    moved = styles.sample(4, 2, w=first.w.tolist(), latents=first.latents)
    np.testing.assert_array_equal(moved.samples, first.samples)
    assert moved.seed is None


def test_a_walk_is_a_straight_line_in_w(styles: Api) -> None:
    a, b = (styles.sample(1, "two", seed=seed, return_w=True, return_latents=True) for seed in (1, 2))
    way = styles.interpolate(1, 2, 5, "two", return_scores=True)
    assert (way.latents, way.seed) == (None, None)
    assert way.labels.tolist() == [2] * 5
    lines = [(1 - t) * a.w[0].astype(np.float64) + t * b.w[0] for t in np.linspace(0, 1, 5)]
    np.testing.assert_array_equal(way.w, np.array(lines, np.float32))
    np.testing.assert_array_equal(way.samples, STYLE.pictures(way.w, np.repeat(a.latents, 5, axis=0)))
    np.testing.assert_array_equal(way.samples[0], a.samples[0])
    for ends in ((a[0], b[0]), (a.latents[0], b[0]), (a[0], b.w[0])):
        np.testing.assert_array_equal(styles.interpolate(*ends, 5, "two").samples, way.samples)
    still = styles.interpolate(a.w[0], b.w[0], 5, "two", noise="none")
    np.testing.assert_array_equal(still.samples, STYLE.pictures(way.w, np.zeros((5, W), np.float32), NONE))
    cut: dict[str, Any] = {"truncation": 0.25, "truncation_layers": 3}
    end = styles.sample(1, 2, seed=1, return_w=True, **cut)
    np.testing.assert_array_equal(styles.interpolate(1, 2, 3, "two", **cut).w[0], end.w[0])


def test_a_walk_between_labels(styles: Api) -> None:
    seeds = {int(styles.sample(1, seed=seed).labels[0]): seed for seed in range(20)}
    way = styles.interpolate(seeds[0], seeds[2], 4)
    assert way.labels.tolist() == [0, 0, 2, 2]
    np.testing.assert_array_equal(way.w[-1], styles.sample(1, seed=seeds[2], return_w=True).w[0])
    each = styles.interpolate(1, 1, 3, [0, 1, 2])
    np.testing.assert_array_equal(each.w[-1], styles.sample(1, 2, seed=1, return_w=True).w[0])


def test_a_walk_without_access_to_w_has_latents_and_truncation(styles: Api) -> None:
    way = styles.interpolate(1, 2, 3, model="psi-only", truncation=0.5)
    w = STYLE.truncated(PSI_ONLY.ws(way.latents), 0.5)
    np.testing.assert_array_equal(way.samples, PSI_ONLY.pictures(w, way.latents, NONE))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mix_seed": 1}, "mix_from: is missing; style mixing takes both"),
        ({"mix_from": 1}, "mix_seed: is missing"),
        ({"mix_seed": -1, "mix_from": 1}, "mix_seed: is -1"),
        ({"mix_seed": 1, "mix_from": 0}, "mix_from: is 0; expected at least 1"),
        ({"truncation_layers": 0}, "truncation_layers: is 0"),
        ({"truncation": -0.1}, "truncation: is -0.1"),
        ({"noise": "loud"}, "noise: is 'loud'; expected one of 'seeded', 'constant', 'none'"),
        ({"return_w": 1}, "return_w: is 1; expected a bool"),
        ({"w": np.zeros((2, 3, 4)), "mix_seed": 1, "mix_from": 1}, "mix_seed: cannot be combined with w"),
        ({"w": np.zeros((2, 3, 4)), "truncation": 1}, "truncation: cannot be combined with w"),
        ({"w": np.zeros((2, 3, 4)), "controls": {"c0": 1}}, "controls: cannot be combined with w"),
        ({"w": np.zeros((1, 3, 4))}, "w: has 1 rows and n is 2"),
        ({"w": np.zeros((2, 12))}, r"w: has the shape \[2, 12\]; expected \[n, layers, w_dimension\]"),
        ({"w": np.full((2, 3, 4), np.nan)}, "w: has NaN or infinity"),
        ({"w": [[["x"]]] * 2}, "w: is <U1; expected real numbers"),
    ],
)
def test_arguments_are_refused_before_sending(
    connect: Callable[..., Api], closed_port: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        connect(closed_port).sample(2, **arguments)


def test_the_server_s_refusals(styles: Api, api: Api) -> None:
    with pytest.raises(InvalidRequest, match=r"truncation: is 1\.5; expected psi, 0 to 1"):
        styles.sample(1, truncation=1.5)
    with pytest.raises(InvalidRequest, match="mix_from: is 3; expected 1 to 2"):
        styles.sample(1, mix_seed=1, mix_from=3)
    with pytest.raises(InvalidRequest, match=r"w: is \[1, 2, 4\]; expected \[N, 3, 4\]"):
        styles.sample(1, 0, w=np.zeros((1, 2, 4)))
    with pytest.raises(
        InvalidRequest, match=r"b: has the shape \[2, 4\]; expected \[3, 4\], the w's of model 'styles'"
    ):
        styles.interpolate(1, np.zeros((2, 4)), 3)
    with pytest.raises(InvalidRequest, match="truncation: cannot be combined with two samples' w's"):
        styles.interpolate(np.zeros((3, 4)), np.zeros((3, 4)), 3, truncation=0.5)
    with pytest.raises(InvalidRequest, match="a: is a sample without its latent"):
        styles.interpolate(styles.sample(1)[0], 2, 3)
    for arguments in ({"mix_seed": 1, "mix_from": 1}, {"noise": "none"}, {"return_w": True}, {"truncation_layers": 1}):
        with pytest.raises(UnsupportedByModel, match="model 'tiny' has no mapping, as StyleGANs have"):
            api.sample(1, model="tiny", **arguments)
    with pytest.raises(InvalidRequest, match="truncation: cannot be combined with latents"):
        api.sample(2, 0, model="tiny", latents=np.ones((2, 4)), truncation=1.0)
    with pytest.raises(InvalidRequest, match="a: is an array of w's, which model 'tiny' has not"):
        api.interpolate(np.zeros((3, 4)), 2, 3, model="tiny")
