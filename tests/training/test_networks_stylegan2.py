"""Test StyleGAN2's networks against NumPy, and what they promise."""

import numpy as np
import pytest
import torch
from tests.support import stylegan2_reference as reference
from torch import Tensor, nn

from ganserve_training.config import CodesConfig, Stylegan2Config
from ganserve_training.data import DataInfo
from ganserve_training.errors import ConfigError
from ganserve_training.networks import build_networks
from ganserve_training.networks.stylegan2 import Stylegan2Generator
from ganserve_training.networks.stylegan2_layers import modulated_conv
from ganserve_training.networks.stylegan2_mapping import mix_styles, truncate_styles

LATENT, WIDE = 5, 6


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def config(**changes) -> Stylegan2Config:
    fields = {"latent_dim": LATENT, "w_dim": WIDE, "mapping_layers": 3}
    return Stylegan2Config(**fields | {"generator_width": 2, "critic_width": 2, "max_width": 6} | changes)


def networks(side: int, channels: int, labels: int, **changes) -> tuple[Stylegan2Generator, nn.Module]:
    names = tuple(str(index) for index in range(labels))
    pair = build_networks(config(**changes), DataInfo(sample_shape=(side, side, channels), label_names=names))
    for network in (pair.generator, pair.critic):  # Biases and strengths of noise start at zero.
        for name, parameter in network.named_parameters():
            if "bias" in name or "strength" in name:
                nn.init.normal_(parameter, std=0.5)
    assert isinstance(pair.generator, Stylegan2Generator)
    return pair.generator, pair.critic


def arrays(network: nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}


def assert_equal(tensor: Tensor, array: np.ndarray) -> None:
    np.testing.assert_allclose(tensor.detach().numpy(), array, rtol=1e-5, atol=1e-5 * np.abs(array).max())


@pytest.mark.parametrize(("side", "channels", "labels"), [(16, 1, 0), (8, 3, 4)])
def test_both_networks_equal_the_formulas(side: int, channels: int, labels: int) -> None:
    generator, critic = networks(side, channels, labels)
    weights, names = arrays(generator), [1, 3, 0, 1] if labels else None
    given = None if names is None else torch.tensor(names)
    latents = torch.randn(4, LATENT)
    w = generator.map(latents, given)
    assert_equal(w, reference.mapping(weights, "mapping", latents.double().numpy(), names, 3))
    styles = torch.randn(4, generator.layers, WIDE)
    noise = [torch.randn(4, 1, size, size) for size in generator.synthesis.noise_sides]
    sides = [size for size in (4, 8, 16) if size <= side]
    expected = reference.synthesis(weights, styles.double().numpy(), [n[:, 0].double().numpy() for n in noise], sides)
    assert_equal(generator.synthesis(styles, noise), expected)
    constant = [
        np.broadcast_to(noise.double().numpy(), (4, *noise.shape)) for noise in generator.synthesis.constant_noise
    ]
    same = np.repeat(w.detach().double().numpy()[:, None], generator.layers, axis=1)
    images = generator(latents, given)
    assert_equal(images, reference.synthesis(weights, same, constant, sides))
    scores = critic(images, given)
    expected = reference.critic(arrays(critic), images.detach().double().numpy(), names, sides[:0:-1], 4)
    assert_equal(scores, expected)


def test_the_mean_of_w_follows_training_only() -> None:
    generator, _ = networks(8, 1, 0)
    mean = np.zeros(WIDE)
    for _ in range(3):
        latents = torch.randn(4, LATENT)
        w = reference.mapping(arrays(generator), "mapping", latents.double().numpy(), None, 3)
        mean = 0.995 * mean + 0.005 * w.mean(axis=0)
        generator(latents)
    generator.map(torch.randn(4, LATENT), track=False)
    generator.eval()(torch.randn(4, LATENT))
    assert_equal(generator.mapping.w_avg, mean)


def test_mixing_and_truncation_are_exact_at_their_ends() -> None:
    first, second, mean = torch.randn(3, 4, WIDE), torch.randn(3, WIDE), torch.randn(WIDE)
    share = torch.tensor([[0.0, 1.0, 0.0, 1.0]]).expand(3, -1)
    mixed = mix_styles(first, second, share)
    assert torch.equal(mixed[:, 0], first[:, 0])
    assert torch.equal(mixed[:, 3], second)
    assert_equal(
        mix_styles(first, second, torch.full((3, 4), 0.3)), 0.7 * first.numpy() + 0.3 * second[:, None].numpy()
    )
    truncated = truncate_styles(first, mean, torch.tensor([[1.0, 0.0, 0.5, -1.0]]).expand(3, -1))
    assert torch.equal(truncated[:, 0], first[:, 0])
    assert torch.equal(truncated[:, 1], mean.expand(3, -1))
    assert_equal(truncated[:, 2], (mean + (first[:, 2] - mean) / 2).numpy())
    assert_equal(truncated[:, 3], (2 * mean - first[:, 3]).numpy())


def test_half_precision_does_not_overflow() -> None:
    features, weight, styles = torch.randn(2, 8, 4, 4), torch.randn(8, 8, 3, 3), torch.randn(2, 8) * 300.0
    exact = modulated_conv(features, weight, styles)
    half = modulated_conv(features.half(), weight.half(), styles.half())
    torch.testing.assert_close(half.float(), exact, rtol=0.01, atol=0.01)


@pytest.mark.parametrize("residual", [True, False])
def test_a_clamp_bounds_every_layer(residual: bool) -> None:
    generator, critic = networks(8, 1, 0, activation_clamp=0.01, critic_residual=residual)
    layers = [critic.b8.conv0, *(getattr(generator.synthesis.b8, name) for name in ("conv0", "conv1", "torgb"))]
    largest = []
    for layer in layers:
        layer.register_forward_hook(lambda _module, _given, made: largest.append(float(made.detach().abs().max())))
    critic(generator(torch.randn(4, LATENT) * 10.0))
    assert largest == pytest.approx([0.01] * len(layers))


def test_a_thousand_and_twenty_four_pixels() -> None:
    generator, critic = networks(1024, 3, 0, generator_width=1, critic_width=1, max_width=2, minibatch_stddev_group=0)
    assert generator.layers == 18
    with torch.no_grad():
        images = generator(torch.randn(1, LATENT))
        assert images.shape == (1, 3, 1024, 1024)
        assert critic(images).shape == (1,)


def test_other_samples_and_heads_are_refused() -> None:
    for shape, problem in (((28, 28, 1), r"8, 16, 32, .* \(got 28 x 28\). Resize"), ((8, 16, 1), r"\(got 8 x 16\)")):
        with pytest.raises(ConfigError, match=problem):
            build_networks(config(), DataInfo(sample_shape=shape))
    with pytest.raises(ConfigError, match=r"a vector of 2 values. Use --networks.architecture mlp"):
        build_networks(config(), DataInfo(sample_shape=(2,), mean=(0.0,) * 2, std=(1.0,) * 2))
    for codes in (CodesConfig(categories=3), CodesConfig(continuous=1)):
        with pytest.raises(ConfigError, match="needs a head in the critic"):
            config(codes=codes)
    with pytest.raises(ConfigError, match=r"w-average-decay 1.0"):
        config(w_average_decay=1.0)
