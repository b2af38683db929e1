"""A small conditional pair without normalisation layers, for any power-of-two size.

N = batch, Z = latent, E = label embedding, C = channels, H = height, W = width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganserve_training.config import NetworksConfig
from ganserve_training.data.info import DataInfo
from ganserve_training.networks.blocks import (
    LEAK,
    UpsampleConv,
    check_labels,
    init_weights,
    level_widths,
    resolution_levels,
)


class ConvolutionalGenerator(nn.Module):
    """Latent and label embedding, concatenated, to 4 x 4 features, then doubled up to the image."""

    def __init__(self, config: NetworksConfig, data: DataInfo) -> None:
        super().__init__()
        levels = resolution_levels(data)
        widths = level_widths(config.generator_width, config.max_width, levels)
        self.latent_dim = config.latent_dim
        self.embedding = nn.Embedding(len(data.label_names), config.label_embedding_dim) if data.label_names else None
        inputs = config.latent_dim + (config.label_embedding_dim if data.label_names else 0)
        self.stem = nn.Linear(inputs, widths[0] * 16)
        self.upsample = nn.ModuleList(UpsampleConv(widths[i], widths[i + 1]) for i in range(levels))
        self.refine = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for width in widths[1:])
        self.to_image = nn.Conv2d(widths[-1], data.channels, 3, padding=1)
        init_weights(self)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents float32 [N, Z], labels int64 [N] (conditional) -> images [N, C, H, W] in about [-1, 1]."""
        check_labels(self.embedding, labels)
        inputs = latents
        if self.embedding is not None:
            inputs = torch.cat([latents, self.embedding(labels)], dim=1)
        features = F.leaky_relu(self.stem(inputs), LEAK).view(latents.shape[0], -1, 4, 4)
        for upsample, refine in zip(self.upsample, self.refine, strict=True):
            features = F.leaky_relu(upsample(features), LEAK)
            features = F.leaky_relu(refine(features), LEAK)
        images: Tensor = torch.tanh(self.to_image(features))
        return images


class ConvolutionalCritic(nn.Module):
    """The image halved down to 4 x 4, then a score; the label enters by projection (Miyato & Koyama 2018)."""

    def __init__(self, config: NetworksConfig, data: DataInfo) -> None:
        super().__init__()
        levels = resolution_levels(data)
        widths = level_widths(config.critic_width, config.max_width, levels)[::-1]
        self.from_image = nn.Conv2d(data.channels, widths[0], 3, padding=1)
        self.downsample = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], 4, stride=2, padding=1) for i in range(levels)
        )
        self.features = nn.Linear(widths[-1] * 16, widths[-1])
        self.score = nn.Linear(widths[-1], 1)
        init_weights(self)
        self.embedding = nn.Embedding(len(data.label_names), widths[-1]) if data.label_names else None
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=widths[-1] ** -0.5)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images [N, C, H, W], labels int64 [N] (conditional) -> scores [N]."""
        check_labels(self.embedding, labels)
        features = F.leaky_relu(self.from_image(images), LEAK)
        for downsample in self.downsample:
            features = F.leaky_relu(downsample(features), LEAK)
        features = F.leaky_relu(self.features(features.flatten(1)), LEAK)
        scores: Tensor = self.score(features).squeeze(1)
        if self.embedding is not None:
            scores = scores + (features * self.embedding(labels)).sum(dim=1)
        return scores
