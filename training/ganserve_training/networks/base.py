"""Base classes of the built-in generators and critics: labels, codes and heads.

N = batch, Z = latent, E = label embedding, C = channels, H = height, W = width, D = values of a vector, K = labels.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ganserve_training.networks.batch_statistics import MinibatchStddev
from ganserve_training.networks.conditioning import Conditioning
from ganserve_training.networks.config import BuiltInConfig, Shape
from ganserve_training.networks.critic_output import CriticOutput


class Generator(nn.Module):
    """Checks labels and appends their embedding to the latents; an architecture adds `generate`."""

    def __init__(self, config: BuiltInConfig, conditioning: Conditioning) -> None:
        super().__init__()
        self.latent_dim = config.latent_dim
        self.label_count = conditioning.label_count
        concatenated = conditioning.generator == "concatenation"
        self.embedding = nn.Embedding(self.label_count, config.label_embedding_dim) if concatenated else None
        self.input_dim = config.latent_dim + (config.label_embedding_dim if concatenated else 0)
        """Length of the inputs of `generate`."""
        self.norm_labels = self.label_count if conditioning.generator == "batch-norm" else 0
        """Number of labels for conditional batch normalisation; 0: it is not conditional."""

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map latents float32 [N, Z] and labels int64 [N] (only if conditional) to samples [N, C, H, W] or [N, D]."""
        check_labels(self.label_count, labels)
        inputs = latents
        if self.embedding is not None:
            inputs = torch.cat([latents, self.embedding(labels)], dim=1)
        return self.generate(inputs, labels)

    def generate(self, inputs: Tensor, labels: Tensor | None) -> Tensor:
        """Map latents and any label embedding, [N, input_dim], to samples."""
        raise NotImplementedError


class Critic(nn.Module):
    """Scores features of samples, and predicts labels and codes from them; an architecture adds `extract`.

    `shape` is that of one sample, or of m samples for a packed critic.
    """

    def __init__(self, config: BuiltInConfig, shape: Shape, conditioning: Conditioning) -> None:
        super().__init__()
        self._conditioning = conditioning
        concatenated = conditioning.critic == "concatenation"
        self.label_input = nn.Embedding(conditioning.label_count, config.label_embedding_dim) if concatenated else None
        self.input_channels = shape[0] + (config.label_embedding_dim if concatenated else 0)
        """Channels, or values, of the inputs of `extract`."""
        group = config.minibatch_stddev_group
        self.minibatch_stddev = MinibatchStddev(group) if group else None
        self.extra_channels = 1 if group else 0
        """Channels that `compare` appends."""
        self.score: nn.Linear
        self.embedding: nn.Embedding | None = None
        self.class_logits: nn.Linear | None = None
        self.code_logits: nn.Linear | None = None
        self.code_values: nn.Linear | None = None

    def add_heads(self, width: int, initialise: Callable[[Any], object], *, each: bool = False) -> None:
        """Make the heads on features [N, width], then `initialise` `each` of them, or else the whole critic.

        Constructors call this last.
        """
        conditioning = self._conditioning
        self.score = nn.Linear(width, 1)
        if conditioning.critic == "classifier":
            self.class_logits = nn.Linear(width, conditioning.label_count)
        if conditioning.code_categories:
            self.code_logits = nn.Linear(width, conditioning.code_categories)
        if conditioning.continuous_codes:
            self.code_values = nn.Linear(width, conditioning.continuous_codes)
        heads = [self.score, self.class_logits, self.code_logits, self.code_values]
        for part in [head for head in heads if head is not None] if each else [self]:
            initialise(part)
        if conditioning.critic == "projection":
            self.embedding = nn.Embedding(conditioning.label_count, width)
            nn.init.normal_(self.embedding.weight, std=width**-0.5)

    def forward(self, samples: Tensor, labels: Tensor | None = None) -> Tensor | CriticOutput:
        """Map samples [N, C, H, W] or [N, D] and labels int64 [N] to scores [N], with other heads if there are any.

        An unconditional critic takes no labels; one that predicts labels or codes ignores them.
        """
        conditioning = self._conditioning
        if conditioning.critic_uses_labels or not conditioning.critic_has_label_head:
            check_labels(conditioning.label_count if conditioning.critic_uses_labels else 0, labels)
        samples = self.prepare(samples)
        if self.label_input is not None:
            channels = self.label_input(labels).view(samples.shape[0], -1, *[1] * (samples.ndim - 2))
            samples = torch.cat([samples, channels.expand(-1, -1, *samples.shape[2:])], dim=1)
        return self._read(self.extract(samples), labels)

    def prepare(self, samples: Tensor) -> Tensor:
        """Return samples in the form to which the label embedding is appended; an architecture may flatten them."""
        return samples

    def extract(self, samples: Tensor) -> Tensor:
        """Map samples, with any label embedding as further channels, to features [N, width]."""
        raise NotImplementedError

    def compare(self, features: Tensor) -> Tensor:
        """Append the minibatch standard deviation, if it is on: [N, C, …] -> [N, C + extra_channels, …]."""
        if self.minibatch_stddev is None:
            return features
        return self.minibatch_stddev(features)

    def _read(self, features: Tensor, labels: Tensor | None) -> Tensor | CriticOutput:
        """Map features [N, width] to scores [N] and the other heads."""
        scores: Tensor = self.score(features).squeeze(1)
        if self.embedding is not None:  # Projection (Miyato & Koyama 2018, equation 2).
            scores = scores + (features * self.embedding(labels)).sum(dim=1)
        others = [
            None if head is None else head(features) for head in (self.class_logits, self.code_logits, self.code_values)
        ]
        return scores if all(other is None for other in others) else CriticOutput(scores, *others)


def check_labels(label_count: int, labels: Tensor | None) -> None:
    """Refuse labels for an unconditional network, and no labels for a conditional one."""
    if label_count == 0 and labels is not None:
        raise ValueError("labels: this network is unconditional and takes none. Call it without them.")
    if label_count > 0 and labels is None:
        raise ValueError(f"labels: this network needs some. Give int64 [N], 0 to {label_count - 1}.")
