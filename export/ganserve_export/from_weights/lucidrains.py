"""Read checkpoints of lucidrains/stylegan2-pytorch, whose networks are a variant of StyleGAN2.

Z = latent, W = style vector w, L = levels, each with a w, C, H = channels and side of an image.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ganserve_export.errors import ExportError
from ganserve_export.from_weights import numpy_lucidrains
from ganserve_export.from_weights.lucidrains_networks import Critic, Generator, MappingNetwork, Synthesis, load
from ganserve_export.from_weights.records import tensors_of_dictionary
from ganserve_export.from_weights.stylegan2_weights import Tensors, expect_fit
from ganserve_training import DataInfo
from ganserve_training.networks.build import NetworkPair

ORIGIN = "lucidrains/stylegan2-pytorch"
_MARK = "GE.initial_conv.weight"
_DEFAULT_RATE = 0.1
_LATENTS_FOR_MEAN = 20_000  # that code takes 2,000
_SMALLEST, _LARGEST = 8, 1024
_FILTER = (1.0, 2.0, 1.0)
_NOT_USED = re.compile(r"\.f$|num_batches_tracked$")
NO_RUN = (
    "its networks are lucidrains' variant of StyleGAN2 (bilinear doubling, one noise image, other scales of weights), "
    "which ganserve serves and does not train. Make a package with --out, or train with that code"
)


def is_checkpoint(content: Any) -> bool:
    """Say whether a file holds networks with these names."""
    held = content.get("GAN", content) if isinstance(content, dict) else None
    return isinstance(held, dict) and any(str(name).startswith(("GE.", "SE.")) for name in held)


def read_checkpoint(content: dict[str, Any], file: Path, *, with_critic: bool) -> "LucidrainsWeights":
    """Return the averaged weights in a checkpoint.

    Raises:
        ExportError: It is of a version before 1.1, or has parts that can't be read.
    """
    held = content.get("GAN", content)
    if _MARK not in held or not any(str(name).endswith("to_rgb.upsample.1.f") for name in held):
        raise ExportError(
            "is a checkpoint of lucidrains/stylegan2-pytorch before version 1.1, whose networks differ. ganserve "
            "reads those of 1.1 and later"
        )
    if with_critic and any(str(name).startswith("D.quantize_blocks.") for name in held):
        raise ExportError(
            "its critic quantises features (fq_layers), which ganserve does not compute. Add --generator-only"
        )
    critic = _part(held, "D.") if with_critic else None
    if critic is not None and "to_logit.weight" not in critic:
        raise ExportError("holds no critic (D). Add --generator-only")
    rate, source = _mapping_rate(file)
    return LucidrainsWeights(
        mapping=_part(held, "SE."), generator=_part(held, "GE."), critic=critic, rate=rate, rate_from=source
    )


def _part(held: Mapping[Any, Any], prefix: str) -> Tensors:
    """Return one network's weights as float32, without its fixed filters."""
    named = {str(name).removeprefix(prefix): value for name, value in held.items() if str(name).startswith(prefix)}
    tensors = tensors_of_dictionary(named)
    for name, tensor in tensors.items():
        if name.endswith(".f") and (tensor.shape != (3,) or tensor.tolist() != list(_FILTER)):
            raise ExportError(f"its {prefix}{name} is another filter than [1, 2, 1]")
    return {name: tensor.float() for name, tensor in tensors.items() if not _NOT_USED.search(name)}


def _mapping_rate(file: Path) -> tuple[float, str]:
    """Return the factor of the mapping's weights (lr_mlp), which only the configuration beside the file has."""
    config = file.with_name(".config.json")
    try:
        rate = json.loads(config.read_text()).get("lr_mlp", _DEFAULT_RATE) if config.is_file() else None
    except (OSError, ValueError, AttributeError) as error:
        raise ExportError(f"the configuration beside it, {config}, can't be read ({error}). Copy it again") from error
    if rate is None:
        return _DEFAULT_RATE, "its default: no .config.json lies beside the file"
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0.0 < rate < 1e6:
        raise ExportError(f"lr_mlp in {config} is {rate!r:.40}, expected a positive number")
    return float(rate), "from .config.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class LucidrainsWeights:
    """The averaged weights of one checkpoint."""

    mapping: Tensors
    generator: Tensors
    critic: Tensors | None
    """None: it isn't wanted."""
    rate: float
    """Factor of the mapping's weights."""
    rate_from: str
    """Source of the factor, in words."""
    sign: float = -1.0
    """Factor of the critic's scores: -1 for that code's hinge loss, in which real images score low."""
    loss: str = field(default="hinge", init=False)
    origin: str = field(default=ORIGIN, init=False)
    label_count: int = field(default=0, init=False)

    @property
    def has_critic(self) -> bool:
        """Say whether there is a critic."""
        return self.critic is not None

    @property
    def layers(self) -> int:
        """Return L."""
        return _count(self.generator, r"blocks\.\d+\.conv1\.weight")

    @property
    def side(self) -> int:
        """Return H."""
        return 2 << self.layers

    @property
    def channels(self) -> int:
        """Return C."""
        return self.generator["blocks.0.to_rgb.conv.weight"].shape[0]

    @property
    def w_dim(self) -> int:
        """Return W."""
        return self.generator["blocks.0.to_style1.weight"].shape[1]

    def check(self) -> None:
        """Raise ExportError if the image has a size that can't be served."""
        if not _SMALLEST <= self.side <= _LARGEST:
            raise ExportError(f"its images have {self.side} pixels a side, ganserve knows {_SMALLEST} to {_LARGEST}")

    def describe(self) -> str:
        """Return the networks in words."""
        kind = {3: "RGB", 4: "RGBA"}.get(self.channels, f"{self.channels} channels")
        return (
            f"StyleGAN2 of lucidrains, {self.side}x{self.side} {kind}, latent {self._mapping_widths()[0]}, "
            f"w {self.layers} x {self.w_dim}, lr_mlp {self.rate:g} ({self.rate_from})"
        )

    def data(self, label_names: tuple[str, ...]) -> DataInfo:
        """Return the form of its samples."""
        return DataInfo(sample_shape=(self.side, self.side, self.channels), label_names=label_names)

    def networks(self, data: DataInfo) -> NetworkPair:  # noqa: ARG002
        """Return the networks with these weights, in eval mode.

        Raises:
            ExportError: A weight is missing, or its shape contradicts the others.
        """
        widths = self._mapping_widths()
        with torch.device("meta"):  # Without values: wrong shapes could ask for any amount of memory.
            mapping = MappingNetwork(widths, self.rate)
            synthesis = self._synthesis()
            critic = None if self.critic is None else self._critic()
        expect_fit(mapping, self.mapping | {"w_avg": torch.zeros(widths[-1])}, "mapping")
        random = torch.Generator().manual_seed(0)
        noise = torch.randn(self.side, self.side, generator=random)
        expect_fit(synthesis, self.generator | {"noise": noise}, "generator")
        load(mapping, self.mapping | {"w_avg": torch.zeros(widths[-1])})
        load(synthesis, self.generator | {"noise": noise})
        mapping.w_avg.copy_(_mean_of_w(mapping, widths[0]))
        if critic is not None and self.critic is not None:
            expect_fit(critic, self.critic, "critic")
            load(critic, self.critic)
        return NetworkPair(Generator(mapping, synthesis, widths[0]).eval(), critic or torch.nn.Identity())

    def _mapping_widths(self) -> list[int]:
        count = _count(self.mapping, r"net\.\d+\.weight")
        return [
            self.mapping["net.0.weight"].shape[1],
            *(self.mapping[f"net.{2 * n}.weight"].shape[0] for n in range(count)),
        ]

    def _synthesis(self) -> Synthesis:
        widths = [self.generator["initial_conv.weight"].shape[0]]
        widths += [self.generator[f"blocks.{level}.conv1.weight"].shape[0] for level in range(self.layers)]
        attended = _attended(self.generator, "attns")
        return Synthesis(widths, self.channels, self.w_dim, attended, from_w="initial_block" not in self.generator)

    def _critic(self) -> Critic:
        assert self.critic is not None
        count = _count(self.critic, r"blocks\.\d+\.conv_res\.weight")
        widths = [self.channels, *(self.critic[f"blocks.{level}.conv_res.weight"].shape[0] for level in range(count))]
        if count != self.layers + 1:
            raise ExportError(f"its critic has {count} blocks, where its generator's size implies {self.layers + 1}")
        return Critic(widths, _attended(self.critic, "attn_blocks"), self.sign)

    def compute_images(self, latents: npt.NDArray[np.float32], _: Any) -> npt.NDArray[np.float32]:
        """Return images in [-1, 1] with the constant noise, by the second implementation."""
        arrays = {name: tensor.numpy() for name, tensor in self.generator.items()}
        w = numpy_lucidrains.mapping(
            {name: tensor.numpy() for name, tensor in self.mapping.items()}, latents, self.rate
        )
        normal = torch.randn(self.side, self.side, generator=torch.Generator().manual_seed(0))
        noise = np.repeat(torch.special.ndtr(normal).numpy()[None], len(w), axis=0)
        images = numpy_lucidrains.synthesis(arrays, np.repeat(w[:, None], self.layers, axis=1), noise)
        return images * 2 - 1

    def compute_scores(self, images: npt.NDArray[np.float32], *_: Any) -> npt.NDArray[np.float32]:
        """Return scores of images in [-1, 1], by the second implementation."""
        assert self.critic is not None
        arrays = {name: tensor.numpy() for name, tensor in self.critic.items()}
        return numpy_lucidrains.critic(arrays, images * np.float32(0.5) + np.float32(0.5), self.sign)


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in tensors)


def _attended(tensors: Mapping[str, Tensor], name: str) -> frozenset[int]:
    """Return the places of blocks with attention."""
    return frozenset(int(name_.split(".")[1]) for name_ in tensors if re.match(rf"{name}\.\d+\.", name_))


@torch.no_grad()
def _mean_of_w(mapping: MappingNetwork, latent_dim: int) -> Tensor:
    """Return the mean of w over many latents, which that code measures whenever it truncates."""
    random = torch.Generator().manual_seed(0)
    total = torch.zeros(mapping.w_avg.shape[0], dtype=torch.float64)
    for _ in range(_LATENTS_FOR_MEAN // 10_000):
        total += mapping(torch.randn(10_000, latent_dim, generator=random)).double().sum(dim=0)
    return (total / _LATENTS_FOR_MEAN).float()
