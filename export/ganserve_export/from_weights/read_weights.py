"""Read the weights of a StyleGAN2 from a file of any project that ganserve knows.

N = batch, Z = latent, K = labels, C, H = channels and side of an image.
"""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import nn

from ganserve_export.errors import ExportError
from ganserve_export.from_weights import lucidrains, rosinality, stylegan2_ada
from ganserve_export.from_weights.read_file import read_file
from ganserve_training import DataInfo
from ganserve_training.errors import ConfigError
from ganserve_training.networks.build import NetworkPair

Array = npt.NDArray[np.float32]


class ForeignWeights(Protocol):
    """Networks of another project: their weights, our modules for them, and a second implementation in NumPy."""

    @property
    def origin(self) -> str:
        """Name the project."""

    @property
    def has_critic(self) -> bool:
        """Say whether there is a critic."""

    @property
    def loss(self) -> str:
        """Name the loss that trained the critic."""

    @property
    def label_count(self) -> int:
        """Return K; 0: the networks take no labels."""

    @property
    def side(self) -> int:
        """Return H."""

    def check(self) -> None:
        """Raise ExportError or ConfigError if ganserve has no such networks."""

    def describe(self) -> str:
        """Return the networks in words."""

    def data(self, label_names: tuple[str, ...]) -> DataInfo:
        """Return the form of their samples."""

    def networks(self, data: DataInfo) -> NetworkPair:
        """Return our modules with these weights, in eval mode; raise ExportError if a weight doesn't fit."""

    def compute_images(self, latents: Array, one_hot: Array | None) -> Array:
        """Map latents [N, Z] and one-hot labels [N, K] to images [N, C, H, H] in NumPy, with constant noise."""

    def compute_scores(self, images: Array, one_hot: Array | None, critic: nn.Module) -> Array:
        """Score images [N, C, H, H] in NumPy: [N]. Our module has the statistics that the file lacks."""


def read_weights(file: Path, *, with_critic: bool, with_trained: bool = False) -> ForeignWeights:
    """Read the weights of a StyleGAN2 from another project's file, without running code in it.

    `with_trained` also reads the generator that the averaged one follows, where the file has it.

    Raises:
        ExportError: It holds something else, or a network that ganserve doesn't know; the message says what.
    """
    content = read_file(file)
    try:
        weights: ForeignWeights
        if stylegan2_ada.is_network_pickle(content):
            weights = stylegan2_ada.read_network_pickle(content, with_critic=with_critic, with_trained=with_trained)
        elif rosinality.is_checkpoint(content):
            weights = rosinality.read_checkpoint(content, with_critic=with_critic, with_trained=with_trained)
        elif lucidrains.is_checkpoint(content):
            weights = lucidrains.read_checkpoint(content, file, with_critic=with_critic)
        else:
            raise ExportError(_unknown(content))
        weights.check()
        return weights
    except ExportError as error:
        raise type(error)(f"{file}: {error}.") from error
    except ConfigError as error:
        raise ExportError(f"{file}: its networks have no configuration here: {error}") from error
    except (KeyError, AttributeError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise ExportError(f"{file}: its networks are no StyleGAN2 that ganserve knows ({error!r}).") from error


def _unknown(content: Any) -> str:
    """Say what a file holds instead of a StyleGAN2."""
    held = f"a value of type {type(content).__name__}"
    if isinstance(content, dict):
        held = f"a dictionary of {', '.join(str(name)[:40] for name in list(content)[:8]) or 'nothing'}"
    return (
        f"holds {held}, no generator that ganserve knows. Give a network pickle of stylegan2-ada-pytorch or stylegan3, "
        "or a checkpoint with the names of rosinality/stylegan2-pytorch or of lucidrains/stylegan2-pytorch"
    )
