"""Test what both clients do with style-based generators: truncation in W, mixing, noise, w's and walks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from commands import ganserve
from ganserve import BestOf, Client, InvalidRequest, SampleBatch, UnsupportedByModel
from ganserve._ui import actions, markup
from ganserve._ui.actions import Wish, first_values, style_wish
from ganserve.data import SampleDataset
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
    assert way.seed is None
    np.testing.assert_array_equal(way.latents, np.repeat(a.latents, 5, axis=0))
    np.testing.assert_array_equal(styles.interpolate(way[0], way[-1], 5, "two").samples, way.samples)
    again = styles.sample(5, "two", w=way.w, latents=way.latents)
    np.testing.assert_array_equal(again.samples, way.samples)
    assert way.labels.tolist() == [2] * 5
    lines = [(1 - t) * a.w[0].astype(np.float64) + t * b.w[0] for t in np.linspace(0, 1, 5)]
    np.testing.assert_array_equal(way.w, np.array(lines, np.float32))
    np.testing.assert_array_equal(way.samples, STYLE.pictures(way.w, np.repeat(a.latents, 5, axis=0)))
    np.testing.assert_array_equal(way.samples[0], a.samples[0])
    for ends in ((a[0], b[0]), (a.latents[0], b[0]), (a[0], b.w[0])):
        np.testing.assert_array_equal(styles.interpolate(*ends, 5, "two").samples, way.samples)
    assert styles.verify(way.grid_png()).likeness == "exact"
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
        ({"w": np.zeros((1, 3, 4))}, "w: has 1 row and n is 2"),
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


class TestCommands:
    @pytest.fixture
    def shell(self, tmp_path: Path, address: str) -> Callable[..., str]:
        def run(*arguments: str, code: int = 0) -> str:
            done = ganserve(*arguments, folder=tmp_path, GANSERVE_TARGET=address, GANSERVE_MODEL="styles")
            assert done.returncode == code, done.stderr
            return done.stderr if code else done.stdout

        return run

    def test_sample(self, shell: Callable[..., str], styles: Api, tmp_path: Path) -> None:
        flags = ("--truncation", "0.5", "--truncation-layers", "3", "--mix-seed", "2", "--mix-from", "1")
        shell("sample", "-n", "3", "--seed", "1", *flags, "--noise", "constant", "--return-w", "-o", "a.npz")
        expected = styles.sample(
            3, seed=1, truncation=0.5, truncation_layers=3, mix_seed=2, mix_from=1, noise="constant", return_w=True
        )
        stored = np.load(tmp_path / "a.npz")
        np.testing.assert_array_equal(stored["samples"], expected.samples)
        np.testing.assert_array_equal(stored["w"], expected.w)
        said = shell("sample", "--w", "a.npz", "--noise", "constant", "-o", "b.npz")
        assert said.startswith("3 samples")
        assert "--w a.npz --seed 1" in said
        again = np.load(tmp_path / "b.npz")
        np.testing.assert_array_equal(again["samples"], expected.samples)
        np.testing.assert_array_equal(again["labels"], expected.labels)
        np.save(tmp_path / "w.npy", stored["w"][:2])
        shell("sample", "--w", "w.npy", "--label", "one", "--seed", "1", "--noise", "none", "--return-w", "-o", "c.npz")
        np.testing.assert_array_equal(np.load(tmp_path / "c.npz")["w"], stored["w"][:2])
        shell("sample", "-n", "4", "--seed", "1", "--walk-to", "2", "--truncation", "0.5", "-o", "d.npz")
        np.testing.assert_array_equal(np.load(tmp_path / "d.npz")["w"], styles.interpolate(1, 2, 4, truncation=0.5).w)
        assert "3 layers of style, truncation 0.75" in shell("models")

    def test_refusals(self, shell: Callable[..., str], tmp_path: Path) -> None:
        np.save(tmp_path / "nan.npy", np.full((2, 3, 4), np.nan))
        np.save(tmp_path / "flat.npy", np.zeros(3))
        np.savez(tmp_path / "none.npz", samples=np.zeros(3))
        np.savez(tmp_path / "odd.npz", w=np.zeros((2, 3, 4)), labels=np.zeros(3, np.int64))
        (tmp_path / "text.npz").write_text("no archive")
        for arguments, problem in (
            (("--truncation", "1.5"), "--truncation 1.5: must be psi, 0 to 1"),
            (("--mix-seed", "1"), "--mix-from: is missing"),
            (("--mix-seed", "1", "--mix-from", "3"), "--mix-from 3: must be 1 to 2"),
            (("--return-w",), "--return-w: writes w's to an archive only: add --out NAME.npz"),
            (("--w", "no.npz"), "there is no such file"),
            (("--w", "text.npz"), "cannot be read as an archive or array of NumPy; expected a file of --return-w"),
            (("--w", "none.npz"), "has no array w"),
            (("--w", "odd.npz"), "whose labels is int64 [3]; expected whole numbers [2]"),
            (("--w", "flat.npy"), "whose w has the shape [3]; expected [n, layers, w_dimension]"),
            (("--w", "nan.npy"), "whose w has NaN or infinity"),
            (("--w", "nan.npy", "--truncation", "1"), "--truncation: cannot go with --w"),
            (("--seed", "1", "--walk-to", "2", "--mix-seed", "1"), "--mix-seed: cannot go with --walk-to"),
        ):
            said = shell("sample", *arguments, code=2)
            assert problem in said.replace(". Give", "; expected"), said
            assert said.count("\n") == 1


class TestPage:
    @pytest.fixture
    def client(self, address: str) -> Iterator[Client]:
        with Client(address) as client:
            yield client

    def test_the_form_and_walks(self, client: Client) -> None:
        info = client.model("styles")
        values = style_wish(info, 0.5, "none", "7", 2)
        drawn = actions.draw(client, info, Wish(label=1, count=4, seed="3", **values))
        expected = client.sample(
            4, 1, model="styles", seed=3, truncation=0.5, noise="none", mix_seed=7, mix_from=2, return_w=True
        )
        np.testing.assert_array_equal(drawn.batch.samples, expected.samples)
        way = actions.walk(client, info, drawn, (0, 3), 4).batch
        np.testing.assert_array_equal(way.samples[[0, -1]], expected.samples[[0, 3]])
        assert "3 layers, 4 w" in markup.facts(info)
        first = actions.draw(client, info, Wish(count=4, seed="3", **style_wish(info, *first_values(info))))
        np.testing.assert_array_equal(first.batch.samples, client.sample(4, model="styles", seed=3).samples)
        for wrong in ({"mix_seed": "x"}, {"truncation": "1.5"}):
            with pytest.raises(InvalidRequest):
                actions.draw(client, info, Wish(count=1, **wrong))

    def test_a_model_with_psi_only(self, client: Client) -> None:
        info = client.model("psi-only")
        drawn = actions.draw(client, info, Wish(count=2, seed="3", **style_wish(info, 0.5, None, "", 1)))
        way = actions.walk(client, info, drawn, (0, 1), 3).batch
        np.testing.assert_array_equal(way.samples[[0, -1]], drawn.batch.samples)


def test_datasets_are_mixed_and_truncated(styles: Api, address: str) -> None:
    options: dict[str, Any] = {"mix_seed": 2, "mix_from": 1, "truncation": 0.5, "truncation_layers": 1, "noise": "none"}
    data = SampleDataset(10, batch_size=4, connect=address, model="styles", seed=1, **options)
    images = np.concatenate([images.numpy() for images, _ in data])
    np.testing.assert_array_equal(images, styles.sample(10, seed=1, **options).samples.transpose(0, 3, 1, 2))


def test_local_servers_and_async_streams_take_all_of_it(tmp_path: Path) -> None:
    build_style_package(tmp_path)
    with Client.local(tmp_path) as client:
        options: dict[str, Any] = {"mix_seed": 2, "mix_from": 1, "truncation": 0.5, "noise": "none", "return_w": True}
        whole = client.sample(20, seed=1, **options)
        parts = SampleBatch.concatenate(list(client.stream(20, seed=1, chunk_size=3, **options)))
        np.testing.assert_array_equal(parts.samples, whole.samples)
        np.testing.assert_array_equal(parts.w, whole.w)
        assert client.interpolate(1, 2, 3).w is not None
