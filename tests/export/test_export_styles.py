"""Export a run of StyleGAN2, and compare its graph with what PyTorch computes."""

import itertools
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from ganserve.v1 import model_spec_pb2
from ganserve_export import Exported, export_run
from ganserve_export.from_run.style_graph import style_graph, style_spec
from ganserve_export.package.manifest import read_manifest
from ganserve_export.package.style_inputs import default_style_inputs
from ganserve_training import load_trained
from ganserve_training.config import Anneal, ModifiedMinimaxLoss, RegularisersConfig, Stylegan2Config
from ganserve_training.data import from_network
from ganserve_training.networks.stylegan2 import Stylegan2Generator
from tiny_runs import run_tiny, tiny_config

Feed = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def style_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a few steps with labels."""
    networks = Stylegan2Config(latent_dim=5, w_dim=6, generator_width=4, critic_width=4, max_width=8)
    regularisers = RegularisersConfig(
        r1_gamma=Anneal.constant(0.5), r2_gamma=Anneal.constant(0.0), interval=4, own_updates=True
    )
    config = tiny_config(steps=4, networks=networks, loss=ModifiedMinimaxLoss(), regularisers=regularisers)
    out = tmp_path_factory.mktemp("runs") / "styles"
    run_tiny(config, out)
    return out


@pytest.fixture(scope="module")
def package(style_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_run(style_run, tmp_path_factory.mktemp("repository") / "styles")


def request_of(package: Exported, count: int = 8) -> Feed:
    """Return the inputs of a request that sets nothing."""
    latents = np.random.default_rng(0).standard_normal((count, 5)).astype(np.float32)
    style = read_manifest(package.folder).style
    return {"latents": latents, "labels": np.arange(count) % 10} | default_style_inputs(style, latents)


@pytest.mark.slow
def test_the_manifest_has_a_style_and_the_package_a_critic(package: Exported) -> None:
    spec = read_manifest(package.folder)
    assert (spec.style.layers, spec.style.w_dimension) == (4, 6)
    assert not spec.style.HasField("default_truncation")
    assert list(spec.style.noise_modes) == [
        model_spec_pb2.NOISE_MODE_SEEDED,
        model_spec_pb2.NOISE_MODE_CONSTANT,
        model_spec_pb2.NOISE_MODE_NONE,
    ]
    assert spec.latent.truncation_absence == ""
    assert package.critic is not None
    assert package.generator.largest <= package.generator.tolerance


@pytest.mark.slow
def test_the_graph_maps_mixes_and_truncates_as_the_run_does(package: Exported, style_run: Path) -> None:
    generator = load_trained(style_run).generator
    assert isinstance(generator, Stylegan2Generator)
    session = ort.InferenceSession(package.folder / "generator.onnx")
    feed = request_of(package)
    labels = torch.from_numpy(feed["labels"])
    feed |= {"seeded_noise": np.zeros(8, np.float32), "constant_noise": np.ones(8, np.float32)}
    with torch.no_grad():
        plain = from_network(generator(torch.from_numpy(feed["latents"]), labels), load_trained(style_run).data).numpy()
        w = generator.map(torch.from_numpy(feed["latents"]), labels).numpy()
        other = np.flip(feed["latents"], axis=0).copy()
        second = generator.map(torch.from_numpy(other), labels).numpy()
    samples, used = session.run(None, feed)
    assert np.abs(samples.astype(int) - plain).max() <= 1
    np.testing.assert_allclose(used, np.repeat(w[:, None], 4, axis=1), rtol=1e-4, atol=1e-5)

    mixed = feed | {"mix_latents": other, "mix": np.tile(np.float32([0, 0, 1, 0.25]), (8, 1))}
    mixed["psi"] = np.tile(np.float32([1, 0.5, 1, 0]), (8, 1))
    samples, used = session.run(None, mixed)
    mean = generator.mapping.w_avg.numpy()
    expected = np.stack([w, mean + 0.5 * (w - mean), second, np.broadcast_to(mean, w.shape)], axis=1)
    np.testing.assert_allclose(used, expected, rtol=1e-4, atol=1e-5)

    again, same = session.run(None, feed | {"w": used, "w_given": np.ones(8, np.float32)})
    assert np.array_equal(same, used)
    assert np.array_equal(again, samples)


def test_each_mode_of_noise_gives_other_samples(style_run: Path) -> None:
    """Strengths of noise start at zero, so make them large in a checkpoint's networks first."""
    trained = load_trained(style_run)
    with torch.no_grad():
        for name, parameter in trained.generator.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.5)
    spec = style_spec(trained.generator)
    graph = style_graph(trained.generator, trained.data).eval()
    latents = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    feed = {"latents": latents, "labels": torch.arange(4)}
    feed |= {name: torch.from_numpy(value) for name, value in default_style_inputs(spec, latents.numpy()).items()}
    made = {}
    with torch.no_grad():
        for mode, factors in {"seeded": (1.0, 0.0), "constant": (0.0, 1.0), "none": (0.0, 0.0)}.items():
            feed["seeded_noise"], feed["constant_noise"] = (torch.full((4,), factor) for factor in factors)
            made[mode] = graph(*feed.values())[0]
            assert torch.equal(graph(*feed.values())[0], made[mode])
    plain = from_network(trained.generator(latents, torch.arange(4)).detach(), trained.data)
    assert torch.equal(made["constant"], plain)
    for one, other in itertools.combinations(made, 2):
        assert not torch.equal(made[one], made[other])
