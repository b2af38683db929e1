import pytest
import torch
from torch.nn import functional as F

from ganserve_training.config import ConvolutionalConfig
from ganserve_training.data import DataInfo
from ganserve_training.errors import ConfigError
from ganserve_training.networks import build_networks
from ganserve_training.networks.blocks import UpsampleConv, level_widths

SMALL = ConvolutionalConfig(latent_dim=6, label_embedding_dim=3, generator_width=4, critic_width=4, max_width=16)


def info(side: int = 8, channels: int = 1, labels: int = 3, width: int | None = None) -> DataInfo:
    names = tuple(f"label {i}" for i in range(labels))
    return DataInfo(sample_shape=(side, width or side, channels), label_names=names)


@pytest.mark.parametrize("side", [8, 12, 16, 20, 28, 32, 48, 64])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("labels", [0, 3])
def test_sizes_channels_and_labels_of_samples(side: int, channels: int, labels: int) -> None:
    pair = build_networks(SMALL, info(side, channels, labels))
    label_tensor = torch.tensor([0, 2]) if labels else None
    images = pair.generator(torch.randn(2, 6), label_tensor)
    assert images.shape == (2, channels, side, side)
    assert images.abs().max().item() <= 1.0
    assert pair.critic(images, label_tensor).shape == (2,)


@pytest.mark.parametrize(("height", "width"), [(4, 4), (36, 36), (8, 16), (1024, 1024)])
def test_other_sizes_are_refused(height: int, width: int) -> None:
    with pytest.raises(ConfigError, match=rf"such as 16, 28, 32, 48 or 64 \(got {height} x {width}\)"):
        build_networks(SMALL, info(height, width=width))


def test_widths_double_with_each_halving_up_to_the_maximum() -> None:
    assert level_widths(16, 100, 3) == [100, 64, 32, 16]


def test_both_networks_use_the_label() -> None:
    pair = build_networks(SMALL, info())
    latents = torch.randn(1, 6)
    zero, one = torch.tensor([0]), torch.tensor([1])
    assert not torch.equal(pair.generator(latents, zero), pair.generator(latents, one))
    images = torch.randn(1, 1, 8, 8)
    assert not torch.equal(pair.critic(images, zero), pair.critic(images, one))


def test_unexpected_and_missing_labels_are_refused() -> None:
    latents, images, labels = torch.randn(2, 6), torch.randn(2, 1, 8, 8), torch.tensor([0, 1])
    unconditional, conditional = build_networks(SMALL, info(labels=0)), build_networks(SMALL, info())
    for network, inputs in ((unconditional.generator, latents), (unconditional.critic, images)):
        with pytest.raises(ValueError, match="unconditional and takes none"):
            network(inputs, labels)
    for network, inputs in ((conditional.generator, latents), (conditional.critic, images)):
        with pytest.raises(ValueError, match=r"needs some. Give int64 \[N\], 0 to 2"):
            network(inputs)


def test_upsampling_and_convolution_are_one_transposed_convolution() -> None:
    """Export relies on this: each of the 4 x 4 taps is the sum of the 3 x 3 taps that read the same input pixel."""
    block = UpsampleConv(2, 3)
    features = torch.randn(1, 2, 5, 5)
    kernel = block.conv.weight.detach()
    pool = torch.zeros(3, 2, 4, 4)
    for row in range(3):
        for column in range(3):
            pool[:, :, 1 - row + 1 : 3 - row + 1, 1 - column + 1 : 3 - column + 1] += kernel[
                :, :, row, column, None, None
            ]
    folded = F.conv_transpose2d(features, pool.transpose(0, 1), block.conv.bias, stride=2, padding=1)
    torch.testing.assert_close(folded, block(features))
