"""Compare each layer with a reference that is computed differently."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganserve_training.config import ConvolutionalConfig, MlpConfig
from ganserve_training.data import DataInfo
from ganserve_training.errors import ConfigError
from ganserve_training.networks import MinibatchStddev, PackedCritic, build_networks
from ganserve_training.networks.config import ARCHITECTURES
from ganserve_training.networks.equalised import equalise, pixel_norm
from ganserve_training.networks.mlp import HiddenLayer
from ganserve_training.networks.normalisation import Normalisation
from ganserve_training.networks.r3gan import Block, Resample
from ganserve_training.networks.residual import DownBlock, UpBlock

PLANE = DataInfo(sample_shape=(2,), mean=(0.0, 0.0), std=(1.0, 1.0))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("shape", [(3, 2, 2), (5,)])
def test_minibatch_stddev_by_hand(shape: tuple[int, ...]) -> None:
    layer = MinibatchStddev(2)
    features = torch.randn(6, *shape)
    array = features.numpy().reshape(6, -1).astype(np.float64)
    # There are three groups of two: samples i and i + 3.
    expected = [np.sqrt(array[[i, i + 3]].var(axis=0) + 1e-8).mean() for i in range(3)]
    shown = layer(features)
    assert shown.shape == (6, shape[0] + 1, *shape[1:])
    assert torch.equal(shown[:, :-1], features)
    for sample in range(6):
        np.testing.assert_allclose(shown[sample, -1].numpy(), expected[sample % 3], rtol=1e-5)


def test_minibatch_stddev_uses_its_running_mean_in_eval_mode() -> None:
    layer = MinibatchStddev(4)
    batches = [torch.randn(4, 3, 2, 2) * scale for scale in (1.0, 2.0, 4.0)]
    means = [layer(batch)[:, -1].mean() for batch in batches]
    layer.eval()
    shown = layer(batches[0][:1])
    torch.testing.assert_close(shown[0, -1], torch.stack(means).mean().expand(2, 2))
    for _ in range(200):  # Later it averages over about a hundred batches.
        layer.train()(batches[2])
    torch.testing.assert_close(layer.running_mean, means[2], rtol=0.15, atol=0.0)


def test_minibatch_stddev_of_equal_samples_is_zero_and_its_gradients_are_right() -> None:
    layer = MinibatchStddev(4)
    assert layer(torch.ones(4, 2, 2, 2))[:, -1].max().item() == pytest.approx(1e-4)
    features = torch.randn(4, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(layer, features)


def test_minibatch_stddev_refuses_a_batch_that_the_group_does_not_divide() -> None:
    with pytest.raises(ValueError, match=r"group 4: must divide the batch, 6. Use 4 or another"):
        MinibatchStddev(4)(torch.randn(6, 2))


def test_a_packed_critic_gets_samples_side_by_side() -> None:
    pair = build_networks(MlpConfig(packing=3, critic_width=4), PLANE)
    assert isinstance(pair.critic, PackedCritic)
    samples = torch.randn(6, 2)
    scores = pair.critic(samples)
    assert scores.shape == (2,)
    torch.testing.assert_close(scores[1], pair.critic.critic(torch.cat([samples[3], samples[4], samples[5]])[None])[0])
    with pytest.raises(ValueError, match=r"packing 3: must divide the batch, 7. Use 9 samples"):
        pair.critic(torch.randn(7, 2))
    pair = build_networks(ConvolutionalConfig(packing=2, critic_width=4), DataInfo(sample_shape=(8, 8, 3)))
    assert pair.critic(torch.randn(4, 3, 8, 8)).shape == (2,)


def test_a_packed_critic_calls_the_inner_critic_with_two_arguments() -> None:
    class Strict(nn.Module):
        def forward(self, samples: Tensor, labels: Tensor | None) -> Tensor:
            assert labels is None
            return samples.sum(dim=1)

    assert PackedCritic(Strict(), 2)(torch.ones(4, 3)).tolist() == [6.0, 6.0]


def test_conditional_batch_norm_by_hand() -> None:
    norm = Normalisation("batch", 2, image=True, label_count=3)
    nn.init.normal_(norm.gain.weight)
    nn.init.normal_(norm.bias.weight)
    features, labels = torch.randn(4, 2, 3, 3), torch.tensor([2, 0, 0, 1])
    out = norm(features, labels)
    for channel in range(2):
        values = features[:, channel]
        normal = (values - values.mean()) / (values.var(unbiased=False) + 1e-5).sqrt()
        for sample, label in enumerate(labels):
            expected = normal[sample] * norm.gain.weight[label, channel] + norm.bias.weight[label, channel]
            torch.testing.assert_close(out[sample, channel], expected, rtol=1e-4, atol=1e-5)


def test_layer_norm_by_hand() -> None:
    features = torch.randn(3, 2, 4, 4) * 3 + 1
    out = Normalisation("layer", 2, image=True)(features)
    expected = (features - features.mean((1, 2, 3), keepdim=True)) / features.std(
        (1, 2, 3), keepdim=True, unbiased=False
    )
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ["mlp", "convolutional", "dcgan", "residual"])
def test_spectral_norm_makes_the_largest_singular_value_one(architecture: str) -> None:
    config = ARCHITECTURES[architecture](spectral_norm="critic", critic_width=4, generator_width=4)
    critic = build_networks(config, DataInfo(sample_shape=(8, 8, 1), label_names=("a", "b"))).critic
    samples, labels = torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 0, 1])
    with torch.no_grad():
        for _ in range(100):
            critic(samples, labels)
    critic.eval()
    layers = [item for item in critic.modules() if isinstance(item, nn.Linear | nn.Conv2d | nn.Embedding)]
    assert layers
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2)
        torch.testing.assert_close(largest, torch.tensor(1.0), rtol=1e-2, atol=1e-2)


def test_equalised_learning_rate_stores_unit_weights_and_uses_scaled_ones() -> None:
    conv = nn.Conv2d(8, 64, 3, padding=1)
    equalise(conv)
    stored = conv.parametrizations.weight.original
    assert stored.std().item() == pytest.approx(1.0, abs=0.05)
    assert isinstance(stored, nn.Parameter)
    features = torch.randn(2, 8, 5, 5)
    torch.testing.assert_close(conv(features), F.conv2d(features, stored * math.sqrt(2 / (8 * 9)), padding=1))


def test_pixel_norm_by_hand() -> None:
    features = torch.randn(2, 3, 4, 4)
    out = pixel_norm(features)
    for row in range(4):
        vector = features[1, :, row, 2]
        torch.testing.assert_close(out[1, :, row, 2], vector / (vector.square().sum() / 3 + 1e-8).sqrt())


def test_maxout_takes_the_largest_of_its_linear_pieces() -> None:
    layer = HiddenLayer(3, 4, "maxout", pieces=5)
    inputs = torch.randn(2, 3)
    for unit in range(4):
        pieces = [inputs @ layer.linear.weight[unit * 5 + k] + layer.linear.bias[unit * 5 + k] for k in range(5)]
        torch.testing.assert_close(layer(inputs)[:, unit], torch.stack(pieces).max(dim=0).values)


def test_residual_blocks_add_a_shortcut() -> None:
    up, down, last = UpBlock(2, 3, "none", 0), DownBlock(2, 3, "none"), DownBlock(3, 3, "none", halve=False)
    for block in (up, down, last):
        nn.init.zeros_(block.conv2.weight)
        nn.init.zeros_(block.conv2.bias)
    features = torch.randn(1, 2, 4, 4)
    torch.testing.assert_close(
        up(features, None), up.shortcut(features.repeat_interleave(2, 2).repeat_interleave(2, 3))
    )
    pooled = features.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(4, 5))
    torch.testing.assert_close(down(features), down.shortcut(pooled))
    wide = torch.randn(1, 3, 4, 4)
    assert torch.equal(last(wide), wide)


def test_r3gan_block_by_hand() -> None:
    block = Block(4, group_size=2, block_count=16)
    features = torch.randn(2, 4, 5, 5)
    assert torch.equal(block(features), features)  # It is initially the identity.
    assert block.mix.groups == 4
    nn.init.normal_(block.narrow.weight)
    nn.init.normal_(block.widen.bias)
    nn.init.normal_(block.mix.bias)
    inner = torch.einsum("oi,nihw->nohw", block.widen.weight[:, :, 0, 0], features) + block.widen.bias[:, None, None]
    inner = torch.where(inner > 0, inner, 0.2 * inner)
    groups = [F.conv2d(inner[:, 2 * g : 2 * g + 2], block.mix.weight[2 * g : 2 * g + 2], padding=1) for g in range(4)]
    inner = torch.cat(groups, dim=1) + block.mix.bias[:, None, None]
    inner = torch.where(inner > 0, inner, 0.2 * inner)
    expected = features + torch.einsum("oi,nihw->nohw", block.narrow.weight[:, :, 0, 0], inner)
    torch.testing.assert_close(block(features), expected, rtol=1e-4, atol=1e-5)


def test_r3gan_block_is_scaled_by_the_depth() -> None:
    block = Block(64, group_size=16, block_count=16)
    gain = math.sqrt(2 / (1 + 0.2**2)) * 16**-0.25
    assert block.widen.weight.std().item() == pytest.approx(gain / 64**0.5, rel=0.05)
    assert block.mix.weight.std().item() == pytest.approx(gain / (16 * 9) ** 0.5, rel=0.05)


def test_r3gan_resampling_interpolates_and_its_halving_is_the_adjoint() -> None:
    up, down = Resample(1, 1, double=True).double(), Resample(1, 1, double=False).double()
    coarse, fine = torch.randn(1, 1, 4, 4, dtype=torch.float64), torch.randn(1, 1, 8, 8, dtype=torch.float64)
    line = np.zeros(
        (8, 4)
    )  # Even pixels equal the coarse ones; odd ones are the mean of their neighbours, with zeros outside.
    for i in range(4):
        line[2 * i, i] = 1.0
        line[2 * i + 1, i] += 0.5
        if i:
            line[2 * i - 1, i] += 0.5
    np.testing.assert_allclose(up(coarse)[0, 0].numpy(), line @ coarse[0, 0].numpy() @ line.T, rtol=1e-12)
    np.testing.assert_allclose(down(fine)[0, 0].numpy(), line.T @ fine[0, 0].numpy() @ line / 4, rtol=1e-12)
    assert torch.autograd.gradgradcheck(up, coarse.requires_grad_())


def test_r3gan_refuses_groups_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match=r"group-size 16: does not divide the 24 inner channels .* multiples of 8"):
        Block(12, group_size=16, block_count=1)


def test_the_mlp_can_have_pacgans_layers() -> None:
    """Compare with PacGAN's protocol for ring and grid (section 5 of the paper, and its code)."""
    config = MlpConfig(
        latent_dim=2,
        generator_layers=4,
        generator_width=400,
        generator_activation="relu",
        generator_norm="batch",
        critic_layers=3,
        critic_width=200,
        critic_activation="maxout",
        packing=2,
    )
    pair = build_networks(config, PLANE)
    linear = [module for module in pair.generator.modules() if isinstance(module, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [
        (2, 400),
        *[(400, 400)] * 3,
        (400, 2),
    ]
    linear = [module for module in pair.critic.modules() if isinstance(module, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [
        (4, 1000),
        *[(200, 1000)] * 2,
        (200, 1),
    ]
