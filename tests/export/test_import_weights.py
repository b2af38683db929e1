"""Weights of other projects' StyleGAN2 load into our networks, which compute what the NumPy form computes."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch

from commands import ganserve
from foreign_styles import (
    LATENT,
    W,
    ada_critic,
    ada_generator,
    low_pass,
    lucidrains_checkpoint,
    rosinality_critic,
    rosinality_generator,
)
from ganserve_export.errors import BadUsageError, ExportError, VerificationError
from ganserve_export.from_weights import as_run, import_weights, numpy_lucidrains, numpy_stylegan2
from ganserve_export.from_weights.import_weights import TOLERANCE, check_with_numpy
from ganserve_export.from_weights.read_weights import read_weights
from ganserve_training import load_trained
from image_files import random_pixels, write_folder
from persisted_modules import network_pickle


def _pickle(folder: Path, generator: Any = None, critic: Any = None, trained: Any = None, **settings: Any) -> Path:
    """Write a network pickle whose modules have these attributes."""
    generator = ada_generator() if generator is None else generator
    critic = ada_critic() if critic is None else critic
    return network_pickle(generator, critic, folder, trained=trained, every=settings)


@pytest.mark.parametrize("labels", [0, 3])
@pytest.mark.parametrize("clamp", [None, 1.5])
def test_network_pickles_become_our_networks(tmp_path: Path, labels: int, clamp: float | None) -> None:
    generator, critic = ada_generator(16, labels, (8, 6, 3)), ada_critic(16, labels, (8, 6, 3))
    file = _pickle(tmp_path, generator, critic, conv_clamp=clamp)
    weights = read_weights(file, with_critic=True)
    config = weights.config()
    assert (config.latent_dim, config.w_dim, config.mapping_layers) == (LATENT, W, 2)
    assert (config.generator_width, config.critic_width, config.max_width) == (3, 3, 8)
    assert config.activation_clamp == (clamp or 0.0)
    pair = weights.networks(weights.data(tuple("abc"[:labels])))
    assert check_with_numpy(weights, pair, file) < TOLERANCE / 10
    assert pair.critic.b4.mbstd.running_mean > 0.01
    assert not (tmp_path / "ran").exists()


def test_checkpoints_of_rosinality_become_our_networks(tmp_path: Path) -> None:
    file = tmp_path / "000100.pt"
    generator, critic = rosinality_generator(16, (8, 8, 4)), rosinality_critic(16, (8, 8, 4))
    torch.save({"g": generator, "g_ema": generator, "d": critic}, file)
    weights = read_weights(file, with_critic=True)
    pair = weights.networks(weights.data(()))
    assert check_with_numpy(weights, pair, file) < TOLERANCE / 10
    # Each weight goes to the place with its meaning.
    ours = weights.generator
    assert torch.equal(ours["synthesis.b8.conv0.weight"], generator["convs.0.conv.weight"][0])
    assert torch.equal(ours["synthesis.b16.conv1.noise_const"], generator["noises.noise_4"][0, 0])
    assert torch.equal(ours["synthesis.b16.torgb.affine.bias"], generator["to_rgbs.1.conv.modulation.bias"])
    # These checkpoints have no mean of w, so it is measured.
    latents = np.random.default_rng(0).standard_normal((20_000, W)).astype(np.float32)
    w = numpy_stylegan2.mapping({name: tensor.numpy() for name, tensor in ours.items()}, latents, None)
    np.testing.assert_allclose(ours["mapping.w_avg"], w.mean(axis=0), atol=0.05)
    torch.save({"g_ema": generator, "latent_avg": torch.arange(8.0)[None]}, file)
    converted = read_weights(file, with_critic=False)
    assert torch.equal(converted.generator["mapping.w_avg"], torch.arange(8.0))


@pytest.mark.parametrize("no_const", [False, True])
def test_checkpoints_of_lucidrains_become_networks_of_their_own(tmp_path: Path, no_const: bool) -> None:
    file = tmp_path / "model_5.pt"
    held = lucidrains_checkpoint(no_const=no_const)
    torch.save({"GAN": held, "version": "1.9.0"}, file)
    weights = read_weights(file, with_critic=True)
    pair = weights.networks(weights.data(()))
    assert check_with_numpy(weights, pair, file) < TOLERANCE / 10
    assert "16x16 RGB, latent 8, w 3 x 8, lr_mlp 0.1 (its default" in weights.describe()
    # The averaged networks, not the trained ones; real images score low in that code's hinge loss.
    assert torch.equal(pair.generator.synthesis.blocks[1].conv1.weight, held["GE.blocks.1.conv1.weight"])
    assert pair.critic.sign == -1.0
    # Noise is one image for all layers; zero is the middle of its range.
    w = pair.generator.map(torch.ones(1, 8))[:, None].expand(-1, 3, -1)
    noise = torch.randn(1, 1, 16, 16)
    images = [pair.generator.synthesis(w, [noise * factor]) for factor in (0.0, 1.0)]
    assert (images[0] - images[1]).abs().max() > 1e-3
    (tmp_path / ".config.json").write_text('{"lr_mlp": 0.01}')
    assert "lr_mlp 0.01 (from .config.json)" in read_weights(file, with_critic=True).describe()
    (tmp_path / ".config.json").write_text('{"lr_mlp": "fast"}')
    with pytest.raises(ExportError, match=r"lr_mlp in .* is 'fast', expected a positive number"):
        read_weights(file, with_critic=True)


def test_other_checkpoints_of_lucidrains_are_refused_in_plain_words(tmp_path: Path) -> None:
    file = tmp_path / "model_5.pt"
    held = lucidrains_checkpoint()
    kinds = {
        r"quantises features \(fq_layers\)": held | {"D.quantize_blocks.0.fn.embed": torch.ones(2)},
        r"generator has no blocks\.1\.to_style2\.bias": {
            name: value for name, value in held.items() if name != "GE.blocks.1.to_style2.bias"
        },
        r"generator has extra\.weight": held | {"GE.extra.weight": torch.ones(2)},
        "another filter than": held | {"GE.blocks.0.to_rgb.upsample.1.f": torch.ones(3)},
        "holds no critic": {name: value for name, value in held.items() if not name.startswith("D.")},
        "other weights imply": held | {"GE.blocks.2.conv2.weight": torch.ones(4, 40, 3, 3)},
    }
    for words, tensors in kinds.items():
        torch.save({"GAN": tensors, "version": "1.9.0"}, file)
        with pytest.raises(ExportError, match=words):
            import_weights.import_weights(file, tmp_path / "models" / "faces")
    torch.save({"GAN": held, "version": "1.9.0"}, file)
    with pytest.raises(BadUsageError, match="ganserve serves and does not train"):
        as_run.import_as_run(file, tmp_path / "run", "digits")
    assert not (tmp_path / "run").exists()


def test_numpy_form_does_what_the_definition_says() -> None:
    """Against a transposed convolution and a filter of torch: the doubling layer, whose flips are easy to get wrong."""
    random = torch.Generator().manual_seed(0)
    features, weight = torch.randn(1, 3, 5, 5, generator=random), torch.randn(4, 3, 3, 3, generator=random)
    weights = {"x.weight": weight.numpy(), "x.affine.weight": np.zeros((3, W), np.float32)}
    weights["x.affine.bias"] = np.ones(3, np.float32)
    made = numpy_stylegan2._modulated(weights, "x", features.numpy(), np.zeros((1, W), np.float32), doubles=True)
    scaled = weight / (weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
    wide = torch.nn.functional.conv_transpose2d(features, scaled.transpose(0, 1), stride=2)
    kernel = low_pass(4.0).expand(4, 1, 4, 4)
    expected = torch.nn.functional.conv2d(wide, kernel, padding=1, groups=4)
    np.testing.assert_allclose(made, expected, atol=1e-5)


def test_a_wrong_network_is_found_by_the_numpy_form(tmp_path: Path) -> None:
    file = _pickle(tmp_path)
    weights = read_weights(file, with_critic=True)
    for player, name in (("generator", "synthesis.b8.conv0.weight"), ("critic", "b8.conv1.weight")):
        pair = weights.networks(weights.data(()))
        wrong = getattr(pair, player).get_parameter(name)
        wrong.data = wrong.data.flip(3)  # in place, it would change the weights of the file, too
        with pytest.raises(VerificationError, match=r"differ from those of its NumPy form.*Nothing was published"):
            check_with_numpy(weights, pair, file)


def _changed(tensors: dict[str, torch.Tensor], **changes: Any) -> dict[str, torch.Tensor]:
    changed = {name: changes.get(name.replace(".", "_"), tensor) for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in changed.items() if tensor is not None}


REFUSED = {
    "StyleGAN3": ({"synthesis.input.freqs": torch.ones(3, 2)}, {}, "alias-free StyleGAN3.*ganserve package"),
    "other parts": ({"blocks.weight": torch.ones(3)}, {}, "no StyleGAN2: it has the parts|no part synthesis"),
    "residual generator": (None, {"architecture": "resnet"}, "has the architecture resnet, ganserve knows skip"),
    "other activation": (None, {"activation": "relu"}, "has the activation relu, ganserve knows lrelu"),
    "other filter": (
        _changed(ada_generator(), synthesis_b8_conv0_resample_filter=torch.ones(4, 4) / 16),
        {},
        r"synthesis\.b8\.conv0\.resample_filter is another filter",
    ),
    "not finite": (
        _changed(ada_generator(), synthesis_b8_conv0_weight=torch.full((6, 8, 3, 3), torch.nan)),
        {},
        "not finite: it diverged",
    ),
    "other shape": (
        _changed(ada_generator(), synthesis_b8_torgb_affine_bias=torch.ones(5)),
        {},
        r"synthesis\.b8\.torgb\.affine\.bias is \[5\], where its other weights imply \[6\]",
    ),
    "missing weight": (
        _changed(ada_generator(), synthesis_b8_conv1_bias=None),
        {},
        r"has no synthesis\.b8\.conv1\.bias",
    ),
    "huge widths": (
        _changed(ada_generator(), synthesis_b4_conv1_weight=torch.ones(300_000, 1, 3, 3)),
        {},
        "where its other weights imply",
    ),
    "huge image": (
        {name.replace("b8", "b2097152"): tensor for name, tensor in ada_generator().items()},
        {},
        "no configuration here|no StyleGAN2 that ganserve knows",
    ),
    "more weights": (ada_generator() | {"mapping.fc0.gate": torch.ones(3)}, {}, r"has mapping\.fc0\.gate, which no"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_networks_are_refused_in_plain_words(tmp_path: Path, kind: str) -> None:
    generator, settings, words = REFUSED[kind]
    file = _pickle(tmp_path, generator, **settings)
    with pytest.raises(ExportError, match=words) as refused:
        import_weights.import_weights(file, tmp_path / "models" / "faces")
    assert str(file) in str(refused.value)
    assert not (tmp_path / "models").exists()


def test_other_checkpoints_are_refused_in_plain_words(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    torch.save({"GAN": {"SE.net.0.weight": torch.ones(2, 2)}, "version": "0.4.0"}, file)
    with pytest.raises(ExportError, match=r"lucidrains/stylegan2-pytorch before version 1\.1"):
        read_weights(file, with_critic=True)
    torch.save({"model": torch.ones(2), "epoch": 3}, file)
    with pytest.raises(ExportError, match="holds a dictionary of model, epoch, no generator"):
        read_weights(file, with_critic=True)
    torch.save({"g_ema": rosinality_generator()}, file)
    with pytest.raises(ExportError, match=r"holds no critic.*--generator-only"):
        read_weights(file, with_critic=True)
    torch.save({"g_ema": rosinality_generator() | {"extra.weight": torch.ones(1)}}, file)
    with pytest.raises(ExportError, match=r"has extra\.weight, which rosinality's StyleGAN2 lacks"):
        read_weights(file, with_critic=False)


@pytest.mark.slow
def test_the_command_publishes_a_package_with_w_and_critic(tmp_path: Path) -> None:
    file = _pickle(tmp_path, ada_generator(8, 2), ada_critic(8, 2), conv_clamp=256.0)
    out = tmp_path / "models" / "faces"
    done = ganserve("import", file, "--out", out, "--labels", "cat,dog", "--truncation", "0.5", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["networks"] == "StyleGAN2, 8x8 RGB, 2 labels, latent 6, w 4 x 8"
    manifest = json.loads((out / "1" / "manifest.json").read_text())
    assert manifest["style"]["layers"] == 4
    assert manifest["style"]["default_truncation"] == 0.5
    assert manifest["label_names"] == ["cat", "dog"]

    session = ort.InferenceSession(out / "1" / "generator.onnx", providers=["CPUExecutionProvider"])
    latents = np.random.default_rng(0).standard_normal((3, LATENT)).astype(np.float32)
    feed = {"latents": latents, "labels": np.array([0, 1, 1]), "psi": np.full((3, 4), 0.5, np.float32)}
    feed |= {"mix_latents": latents, "mix": np.zeros((3, 4), np.float32), "w": np.zeros((3, 4, W), np.float32)}
    feed |= {name: np.zeros(3, np.float32) for name in ("w_given", "seeded_noise", "constant_noise")}
    feed["constant_noise"] += 1
    samples, used = session.run(None, feed)

    tensors = {name: tensor.numpy() for name, tensor in ada_generator(8, 2).items()}
    w = numpy_stylegan2.mapping(tensors, latents, np.eye(2, dtype=np.float32)[[0, 1, 1]])
    mean = tensors["mapping.w_avg"]
    expected = np.repeat((mean + 0.5 * (w - mean))[:, None], 4, axis=1)
    np.testing.assert_allclose(used, expected, atol=1e-4)
    images = numpy_stylegan2.synthesis(tensors, expected, clamp=256.0).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(samples, np.clip(np.round(images * 127.5 + 127.5), 0, 255), atol=1)

    again = session.run(None, feed | {"w": used, "w_given": np.ones(3, np.float32)})
    np.testing.assert_array_equal(again[0], samples)  # bit for bit


@pytest.mark.slow
def test_the_command_publishes_lucidrains_networks(tmp_path: Path) -> None:
    file = tmp_path / "model_5.pt"
    held = lucidrains_checkpoint()
    torch.save({"GAN": held, "version": "1.9.0"}, file)
    done = ganserve("import", file, "--out", tmp_path / "models" / "faces")
    assert done.returncode == 0, done.stderr
    assert "lucidrains/stylegan2-pytorch" in done.stdout
    package = tmp_path / "models" / "faces" / "1"
    assert json.loads((package / "manifest.json").read_text())["score"]["loss"] == "hinge"
    session = ort.InferenceSession(package / "generator.onnx", providers=["CPUExecutionProvider"])
    latents = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    feed = {"latents": latents, "psi": np.ones((3, 3), np.float32), "mix_latents": latents}
    feed |= {"mix": np.zeros((3, 3), np.float32), "w": np.zeros((3, 3, W), np.float32)}
    feed |= {name: np.zeros(3, np.float32) for name in ("w_given", "seeded_noise", "constant_noise")}
    samples = session.run(["samples"], feed)[0]
    averaged = {name.partition(".")[2]: held[name].numpy() for name in held if name.startswith(("SE.", "GE."))}
    w = np.repeat(numpy_lucidrains.mapping(averaged, latents, 0.1)[:, None], 3, axis=1)
    images = numpy_lucidrains.synthesis(averaged, w, np.full((3, 16, 16), 0.5, np.float32)).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(samples, np.clip(np.round(images * 255.0), 0, 255), atol=1)
    again = ganserve("import", file, "--as-run", tmp_path / "run", "--data", "digits")
    assert again.returncode == 2
    assert "lucidrains' variant" in again.stderr


@pytest.mark.slow
def test_a_run_begins_with_the_weights_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "photos", random_pixels(40, side=8))
    trained = ada_generator(8, seed=5)
    file = _pickle(tmp_path, critic=ada_critic(8), conv_clamp=256.0, trained=trained)
    run = tmp_path / "runs" / "mine"
    done = ganserve("import", file, "--as-run", run, "--data", "photos")
    assert done.returncode == 0, done.stderr
    begun = load_trained(run)
    assert begun.step == 0
    state = begun.generator.state_dict()
    for name, tensor in ada_generator(8).items():
        assert torch.equal(state[name], tensor), name
    raw = torch.load(run / "checkpoints" / "step-00000000.pt", weights_only=True)["generator"]
    assert torch.equal(raw["synthesis.b8.conv0.weight"], trained["synthesis.b8.conv0.weight"])

    command = shlex.split(done.stdout.splitlines()[-1])
    assert command[:2] == ["ganserve", "train"]
    done = ganserve(*command[1:], "--steps", 1)
    assert done.returncode == 0, done.stderr
    assert "resuming from step 0" in done.stderr
    after = load_trained(run).generator.state_dict()["synthesis.b8.conv0.weight"]
    assert (after - state["synthesis.b8.conv0.weight"]).abs().max() < 0.1  # The average moves slowly.

    again = ganserve("import", file, "--as-run", run, "--data", "photos")
    assert again.returncode == 2
    assert "holds a run already" in again.stderr
