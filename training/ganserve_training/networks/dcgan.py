"""DCGAN's pair (Radford et al. 2016): strided convolutions and batch normalisation.

N = batch, Z = latent, E = label embedding, C = channels, H = height, W = width.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganserve_training.networks.base import Critic, Generator
from ganserve_training.networks.blocks import LEAK, coarsest_side, init_weights, level_widths, resolution_levels
from ganserve_training.networks.conditioning import Conditioning
from ganserve_training.networks.config import ImageConfig, NormConfig, NormKind, Shape, register_architecture
from ganserve_training.networks.normalisation import Normalisation, absorb_batch_norm
from ganserve_training.options.checks import refusal


class DcganGenerator(Generator):
    """Projects the latent to the coarsest features, then doubles them by transposed convolutions; tanh at the end."""

    def __init__(self, config: DcganConfig, shape: Shape, conditioning: Conditioning) -> None:
        super().__init__(config, conditioning)
        levels = resolution_levels(shape)
        widths = level_widths(config.generator_width, config.max_width, levels)[:-1]
        norm, groups = config.norms[0], config.generator_groups
        bias = norm != "batch"
        self._check_groups(groups, shape[0], widths)
        self.side = coarsest_side(shape)
        self.stem = nn.Linear(self.input_dim, widths[0] * self.side**2, bias=bias)
        self.norms = nn.ModuleList(
            Normalisation(norm, width, image=True, label_count=self.norm_labels) for width in widths
        )
        self.upsample = nn.ModuleList(
            nn.ConvTranspose2d(widths[i], widths[i + 1], 4, stride=2, padding=1, groups=groups, bias=bias)
            for i in range(levels - 1)
        )
        self.to_image = nn.ConvTranspose2d(widths[-1], shape[0], 4, stride=2, padding=1, groups=groups)
        _init_for(norm)(self)

    @staticmethod
    def _check_groups(groups: int, channels: int, widths: list[int]) -> None:
        """Refuse groups that can't part the image's channels, or those of a layer, evenly."""
        wrong = [f"the images' {channels}"] if channels % groups else []
        wrong += [f"a layer's {width}" for width in widths if width % groups]
        if wrong:
            fix = "Use 1, or --networks.generator-width and --networks.max-width that it divides"
            raise refusal("networks.generator_groups", groups, f"does not divide {wrong[0]} channels", fix)

    def generate(self, inputs: Tensor, labels: Tensor | None) -> Tensor:
        """Map [N, Z + E] to images [N, C, H, W] in [-1, 1]."""
        features = self.stem(inputs).view(inputs.shape[0], -1, self.side, self.side)
        features = F.relu(self.norms[0](features, labels))
        for upsample, norm in zip(self.upsample, self.norms[1:], strict=True):
            features = F.relu(norm(upsample(features), labels))
        return torch.tanh(self.to_image(features))

    def for_inference(self) -> DcganGenerator:
        """Return a copy with the batch normalisations in the weights of the convolutions before them."""
        network = copy.deepcopy(self).eval()
        for index, norm in enumerate(network.norms[1:]):
            network.upsample[index] = absorb_batch_norm(network.upsample[index], norm)
        return network


class DcganCritic(Critic):
    """Halves the image by strided convolutions down to the coarsest features, and scores those.

    The first convolution has no normalisation. At 8 x 8 it is the only one, so `networks.critic_norm` has no effect.
    """

    def __init__(self, config: DcganConfig, shape: Shape, conditioning: Conditioning) -> None:
        super().__init__(config, shape, conditioning)
        levels = resolution_levels(shape)
        widths = level_widths(config.critic_width, config.max_width, levels)[-2::-1]
        norm = config.norms[1]
        self.from_image = nn.Conv2d(self.input_channels, widths[0], 4, stride=2, padding=1)
        self.downsample = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], 4, stride=2, padding=1, bias=norm != "batch") for i in range(levels - 1)
        )
        self.norms = nn.ModuleList(Normalisation(norm, width, image=True) for width in widths[1:])
        self.add_heads((widths[-1] + self.extra_channels) * coarsest_side(shape) ** 2, _init_for(norm))

    def extract(self, samples: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, the coarsest features in a row]."""
        features = F.leaky_relu(self.from_image(samples), LEAK)
        for downsample, norm in zip(self.downsample, self.norms, strict=True):
            features = F.leaky_relu(norm(downsample(features)), LEAK)
        return self.compare(features).flatten(1)

    def for_inference(self) -> DcganCritic:
        """Return a copy with the batch normalisations in the weights of the convolutions before them."""
        network = copy.deepcopy(self).eval()
        for index, norm in enumerate(network.norms):
            network.downsample[index] = absorb_batch_norm(network.downsample[index], norm)
        return network


@register_architecture
@dataclass(frozen=True, kw_only=True)
class DcganConfig(ImageConfig, NormConfig):
    """Strided convolutions and batch normalisation (Radford et al. 2016), for square images of 8 to 512 pixels."""

    architecture = "dcgan"
    players = (DcganGenerator, DcganCritic)
    auto_norms = ("batch", "batch")

    generator_groups: int = 1
    """Groups of the generator's channels, which share the latent and no convolution. 3 suits RGB images whose colours
    are independent; each group then makes one colour."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect_positive("generator_groups")


def _init_for(norm: NormKind) -> Callable[[nn.Module], None]:
    """Return the initialisation for networks with this normalisation.

    The paper's small weights rely on batch normalisation. Without any, each layer would shrink its features: a narrow
    critic would then score all images alike at first, and the generator make one image a label.
    """
    return init_weights if norm == "none" else _init_as_published


def _init_as_published(network: nn.Module) -> None:
    """Draw weights from N(0, 0.02), gains of batch norm from N(1, 0.02) (Radford et al. 2016, section 4)."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.normal_(module.weight, mean=1.0, std=0.02)
