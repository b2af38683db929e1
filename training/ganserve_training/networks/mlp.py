"""Fully connected pairs, for vectors, and for small images by flattening them.

N = batch, Z = latent, E = label embedding, D = values of a sample, U = units of a layer, P = pieces of a maxout unit.
"""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganserve_training.networks.base import Critic, Generator
from ganserve_training.networks.blocks import LEAK
from ganserve_training.networks.conditioning import Conditioning
from ganserve_training.networks.config import NormConfig, NormKind, Shape, register_architecture
from ganserve_training.networks.normalisation import Normalisation, absorb_batch_norm
from ganserve_training.options.checks import expect

GeneratorActivation = Literal["relu", "leaky-relu", "tanh"]
CriticActivation = Literal["relu", "leaky-relu", "tanh", "maxout"]


class HiddenLayer(nn.Module):
    """Linear, normalisation, activation: [N, inputs] -> [N, U].

    He initialisation before rectifiers (He et al. 2015), Glorot's before tanh and maxout (Glorot & Bengio 2010).
    """

    def __init__(
        self,
        inputs: int,
        units: int,
        activation: CriticActivation,
        pieces: int = 1,
        norm: NormKind = "none",
        label_count: int = 0,
    ) -> None:
        super().__init__()
        self._activation = activation
        self._pieces = pieces if activation == "maxout" else 1
        self.linear = nn.Linear(inputs, units * self._pieces, bias=norm != "batch")
        self.norm = Normalisation(norm, units * self._pieces, image=False, label_count=label_count)
        _init_linear(self.linear, activation)

    def forward(self, inputs: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map [N, inputs] to [N, U]."""
        features: Tensor = self.norm(self.linear(inputs), labels)
        if self._activation == "maxout":
            return features.view(inputs.shape[0], -1, self._pieces).amax(dim=2)
        if self._activation == "tanh":
            return torch.tanh(features)
        return F.relu(features) if self._activation == "relu" else F.leaky_relu(features, LEAK)

    def for_inference(self) -> HiddenLayer:
        """Return a copy with the batch normalisation in its weights."""
        layer = copy.deepcopy(self).eval()
        layer.linear = absorb_batch_norm(layer.linear, layer.norm)
        return layer


class MlpGenerator(Generator):
    """Hidden layers, then one output for each value of a sample; tanh for images."""

    def __init__(self, config: MlpConfig, shape: Shape, conditioning: Conditioning) -> None:
        super().__init__(config, conditioning)
        self._shape = shape
        norm = config.norms[0]
        widths = [self.input_dim, *[config.generator_width] * config.generator_layers]
        self.hidden = nn.ModuleList(
            HiddenLayer(inputs, units, config.generator_activation, norm=norm, label_count=self.norm_labels)
            for inputs, units in itertools.pairwise(widths)
        )
        self.output = nn.Linear(widths[-1], math.prod(shape))
        _init_linear(self.output, "tanh")

    def generate(self, inputs: Tensor, labels: Tensor | None) -> Tensor:
        """Map [N, Z + E] to vectors [N, D], or images [N, C, H, W] in [-1, 1]."""
        features = inputs
        for layer in self.hidden:
            features = layer(features, labels)
        values: Tensor = self.output(features)
        if len(self._shape) == 1:
            return values
        return torch.tanh(values).view(inputs.shape[0], *self._shape)


class MlpCritic(Critic):
    """Hidden layers on the flattened sample."""

    def __init__(self, config: MlpConfig, shape: Shape, conditioning: Conditioning) -> None:
        super().__init__(config, (math.prod(shape),), conditioning)
        norm = config.norms[1]
        widths = [self.input_channels, *[config.critic_width] * config.critic_layers]
        self.hidden = nn.ModuleList(
            HiddenLayer(inputs, units, config.critic_activation, config.maxout_pieces, norm)
            for inputs, units in itertools.pairwise(widths)
        )
        self.add_heads(widths[-1] + self.extra_channels, partial(_init_linear, activation="tanh"), each=True)

    def prepare(self, samples: Tensor) -> Tensor:
        """Map [N, C, H, W] or [N, D] to [N, D]."""
        return samples.flatten(1)

    def extract(self, samples: Tensor) -> Tensor:
        """Map [N, D + E] to [N, U]."""
        features = samples
        for layer in self.hidden:
            features = layer(features)
        return self.compare(features)


@register_architecture
@dataclass(frozen=True, kw_only=True)
class MlpConfig(NormConfig):
    """Fully connected, for vectors and small images."""

    architecture = "mlp"
    players = (MlpGenerator, MlpCritic)
    auto_norms = ("none", "none")

    generator_width: int = 32
    """Units in each hidden layer of the generator."""
    generator_layers: int = 3
    """Hidden layers of the generator."""
    critic_layers: int = 3
    """Hidden layers of the critic."""
    generator_activation: GeneratorActivation = "leaky-relu"
    """Activation after each hidden layer of the generator."""
    critic_activation: CriticActivation = "leaky-relu"
    """Activation after each hidden layer of the critic; maxout is that of Goodfellow et al. (2013)."""
    maxout_pieces: int = 5
    """Linear pieces of each maxout unit, which returns the largest."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect_positive("generator_layers", "critic_layers")
        expect(self.maxout_pieces >= 2, "networks.maxout_pieces", self.maxout_pieces, "at least 2")


def _init_linear(linear: nn.Linear, activation: CriticActivation) -> None:
    if activation in ("relu", "leaky-relu"):
        slope = LEAK if activation == "leaky-relu" else 0.0
        nn.init.kaiming_normal_(linear.weight, a=slope, nonlinearity="leaky_relu")
    else:
        nn.init.xavier_normal_(linear.weight)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
