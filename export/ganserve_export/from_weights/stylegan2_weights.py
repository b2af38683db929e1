"""Weights of a StyleGAN2 with the names of stylegan2-ada-pytorch, and the configuration that they imply.

Z = latent, W = style vector, K = labels, E = label embedding, C, H = channels and side of an image.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from ganserve_export.errors import ExportError
from ganserve_export.from_weights import numpy_stylegan2
from ganserve_export.from_weights.numpy_stylegan2 import Array
from ganserve_training import DataInfo
from ganserve_training.errors import ConfigError
from ganserve_training.networks.build import NetworkPair, build_networks
from ganserve_training.networks.stylegan2 import Stylegan2Config

Tensors = dict[str, Tensor]
_OWN = {"resample_filter", "running_mean", "batches"}
"""Buffers that our networks make themselves."""
_GROUPS = {128: 16, 256: 4, 512: 2, 1024: 1}
"""Groups of 4 images to measure, by the largest side that takes so many: large images take seconds each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stylegan2Weights:
    """The weights of a StyleGAN2 that another project trained."""

    origin: str
    """The project, for messages."""
    generator: Tensors
    """The averaged generator."""
    critic: Tensors | None
    """None: there is none, or it isn't wanted."""
    trained_generator: Tensors | None = None
    """The generator that the averaged one follows, to train on from; None: the averaged one."""
    clamp: float = 0.0
    """Activations are clamped to plus or minus this; 0: they are not."""
    stddev_group: int = 4
    """Group of the critic's minibatch standard deviation."""
    w_average_decay: float = 0.995
    loss: str = field(default="non-saturating", init=False)
    """Name of the loss that trained the critic."""

    @property
    def side(self) -> int:
        """Return H, the largest side of a block."""
        sides = [name.split(".")[1][1:] for name in self.generator if name.startswith("synthesis.b")]
        return max((int(side) for side in sides if side.isdecimal()), default=0)

    @property
    def channels(self) -> int:
        """Return C."""
        return self.generator[f"synthesis.b{self.side}.torgb.weight"].shape[0]

    @property
    def label_count(self) -> int:
        """Return K; 0: it takes no labels."""
        embedding = self.generator.get("mapping.embed.weight")
        return 0 if embedding is None else embedding.shape[1]

    @property
    def has_critic(self) -> bool:
        """Say whether there is a critic."""
        return self.critic is not None

    def check(self) -> None:
        """Raise ExportError or ConfigError if ganserve has no such networks."""
        self.config().levels((self.channels, self.side, self.side))

    def describe(self) -> str:
        """Return the networks in words."""
        config = self.config()
        labels = f", {self.label_count} labels" if self.label_count else ""
        kind = {1: "gray", 3: "RGB"}.get(self.channels, f"{self.channels} channels")
        return (
            f"StyleGAN2, {self.side}x{self.side} {kind}{labels}, latent {config.latent_dim}, "
            f"w {self._layers} x {config.w_dim}"
        )

    @property
    def _layers(self) -> int:
        return 2 * int(math.log2(self.side)) - 2

    def compute_images(self, latents: Array, one_hot: Array | None) -> Array:
        """Map latents [N, Z] and one-hot labels [N, K] to images [N, C, H, H] in NumPy, with constant noise."""
        arrays = {name: tensor.numpy() for name, tensor in self.generator.items()}
        w = numpy_stylegan2.mapping(arrays, latents, one_hot)
        return numpy_stylegan2.synthesis(arrays, np.repeat(w[:, None], self._layers, axis=1), clamp=self.clamp)

    def compute_scores(self, images: Array, one_hot: Array | None, critic: nn.Module) -> Array:
        """Score images [N, C, H, H] in NumPy, with the mean deviation that our critic has: [N]."""
        assert self.critic is not None
        arrays = {name: tensor.numpy() for name, tensor in self.critic.items()}
        deviation = float(critic.get_buffer("b4.mbstd.running_mean")) if has_deviation(critic) else 0.0
        return numpy_stylegan2.critic(arrays, images, one_hot, deviation, clamp=self.clamp)

    def config(self) -> Stylegan2Config:
        """Return the configuration of our networks that these weights fit.

        Raises:
            ExportError: There is none.
        """
        generator, critic = self.generator, self.critic or {}
        first = generator["mapping.fc0.weight"]
        embedding = generator["mapping.embed.weight"].shape[0] if self.label_count else 0
        last = generator[f"synthesis.b{self.side}.conv1.weight"].shape[0]
        width = critic[f"b{self.side}.conv0.weight"].shape[0] if critic else last
        widest = [generator["synthesis.b4.conv1.weight"].shape[0]]
        widest += [critic["b4.conv.weight"].shape[0]] if critic else []
        stddev = critic["b4.conv.weight"].shape[1] - critic["b4.conv.weight"].shape[0] if critic else 1
        try:
            return Stylegan2Config(
                latent_dim=first.shape[1] - embedding,
                w_dim=first.shape[0],
                mapping_layers=_count(generator, "mapping.fc"),
                critic_mapping_layers=_count(critic, "mapping.fc") or Stylegan2Config.critic_mapping_layers,
                generator_width=last,
                critic_width=width,
                max_width=max(widest),
                minibatch_stddev_group=self.stddev_group if stddev else 0,
                critic_residual=not critic or any(".skip." in name for name in critic),
                w_average_decay=self.w_average_decay,
                activation_clamp=self.clamp,
            )
        except ConfigError as error:
            raise ExportError(f"its networks have no configuration here: {error}") from error

    def data(self, label_names: tuple[str, ...]) -> DataInfo:
        """Return the form of its samples."""
        return DataInfo(sample_shape=(self.side, self.side, self.channels), label_names=label_names)

    def networks(self, data: DataInfo) -> NetworkPair:
        """Return our networks with these weights, in eval mode.

        Raises:
            ExportError: A weight is missing, or has another shape than any configuration of ours gives it.
        """
        config = self.config()
        try:
            with torch.device("meta"):  # Shapes only: wrong ones could ask for any amount of memory.
                shapes = build_networks(config, data)
            expect_fit(shapes.generator, self.generator, "generator")
            if self.critic is not None:
                expect_fit(shapes.critic, self.critic, "critic")
            with torch.random.fork_rng(devices=[]):
                pair = build_networks(config, data)
        except ConfigError as error:
            raise ExportError(f"its networks have no configuration here: {error}") from error
        _load(pair.generator, self.generator)
        if self.critic is not None:
            _load(pair.critic, self.critic)
            measure_deviation(pair, config.latent_dim, self.label_count, self.side)
        for network in (pair.generator, pair.critic):
            network.eval().requires_grad_(False)
        return pair


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return sum(name.startswith(prefix) and name.endswith(".weight") for name in tensors)


def expect_fit(network: nn.Module, tensors: Mapping[str, Tensor], player: str) -> None:
    """Raise ExportError where weights don't fit a network, which may be without values."""
    expected = network.state_dict()
    for name, value in expected.items():
        if name not in tensors:
            if name.rpartition(".")[2] in _OWN:
                continue
            raise ExportError(f"its {player} has no {name}, which StyleGAN2 needs")
        found = tensors[name]
        if found.shape != value.shape:
            shapes = f"{list(found.shape)}, where its other weights imply {list(value.shape)}"
            raise ExportError(f"its {player}'s {name} is {shapes}: no StyleGAN2 that ganserve knows")
        if not found.isfinite().all():
            raise ExportError(f"its {player}'s {name} has values that are not finite: it diverged in training")
    if extra := sorted(name for name in tensors if name not in expected):
        raise ExportError(f"its {player} has {extra[0]}, which no StyleGAN2 that ganserve knows has")


def _load(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Let a network use these tensors, without a copy, beside its own filters and statistics."""
    network.load_state_dict(network.state_dict() | dict(tensors), assign=True)


@torch.no_grad()
def measure_deviation(pair: NetworkPair, latent_dim: int, label_count: int, side: int) -> None:
    """Set the mean of the critic's minibatch deviation, from generated images, so that it can score single samples.

    The images are made one by one, as large ones take gigabytes; their features are then compared in groups of 4.
    """
    layer = pair.critic.get_submodule("b4").get_submodule("mbstd") if has_deviation(pair.critic) else None
    if layer is None:
        return
    features: list[Tensor] = []
    random = torch.Generator().manual_seed(0)
    pair.generator.eval()
    pair.critic.eval()
    taking = layer.register_forward_pre_hook(lambda _, given: features.append(given[0]))
    for _ in range(4 * next(count for most, count in _GROUPS.items() if side <= most)):
        labels = torch.randint(0, label_count, (1,), generator=random) if label_count else None
        images = pair.generator(torch.randn(1, latent_dim, generator=random), labels).clamp(-1.0, 1.0)
        pair.critic(images, labels)
    taking.remove()
    layer.train()
    for group in torch.split(torch.cat(features), 4):
        layer(group)
    layer.eval()


def has_deviation(critic: nn.Module) -> bool:
    """Say whether a critic has a minibatch deviation."""
    return getattr(critic.get_submodule("b4"), "mbstd", None) is not None


def is_low_pass_filter(tensor: Tensor, gain: float = 1.0) -> bool:
    """Say whether a filter is [1, 3, 3, 1] along both axes, normalised, times `gain`."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    expected = torch.outer(taps, taps) / taps.sum() ** 2 * gain
    return tensor.shape == (4, 4) and math.isclose(0.0, float((tensor.float() - expected).abs().max()), abs_tol=1e-5)
