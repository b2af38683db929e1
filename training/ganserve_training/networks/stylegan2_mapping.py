"""StyleGAN2's mapping network, and arithmetic with its results (Karras et al. 2019, 2020).

N = batch, Z = latent, E = label embedding, K = labels, W = length of a style vector w, L = layers that take one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganserve_training.networks.equalised import pixel_norm
from ganserve_training.networks.stylegan2_layers import EqualisedLinear

MAPPING_RATE = 0.01
"""Learning rate of the mapping network, as a share of the others'."""


class Mapping(nn.Module):
    """Maps latents and labels to style vectors w by fully connected layers `fc0`, `fc1` and so on.

    The latent, and the label's linear embedding, are each divided by their root mean square and concatenated. In
    training, `w_avg` follows the mean of w; truncation uses it.

    Args:
        latent_dim: Z; 0: only labels, as for a critic.
        label_count: K; 0: no labels.
        embedding_dim: E.
        w_dim: W.
        layers: Number of fully connected layers.
        average_decay: Weight of the old `w_avg` in each update; 0: there is none.
    """

    w_avg: Tensor

    def __init__(
        self, latent_dim: int, label_count: int, embedding_dim: int, w_dim: int, layers: int, average_decay: float = 0.0
    ) -> None:
        super().__init__()
        self._latent_dim = latent_dim
        self._average_decay = average_decay
        self.embed = EqualisedLinear(label_count, embedding_dim) if label_count else None
        width = latent_dim + (embedding_dim if label_count else 0)
        for index in range(layers):
            layer = EqualisedLinear(width if index == 0 else w_dim, w_dim, active=True, rate=MAPPING_RATE)
            self.add_module(f"fc{index}", layer)
        self._layers = layers
        if average_decay:
            self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, latents: Tensor | None, labels: Tensor | None = None, *, track: bool = True) -> Tensor:
        """Map latents [N, Z] and labels int64 [N], each if the network takes them, to w [N, W].

        In training mode, update `w_avg` unless `track` is false.
        """
        parts = []
        if self._latent_dim:
            assert latents is not None
            parts.append(pixel_norm(latents))
        if self.embed is not None:
            assert labels is not None
            parts.append(pixel_norm(self.embed.of_labels(labels)))
        w = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        for index in range(self._layers):
            w = self.get_submodule(f"fc{index}")(w)
        if track and self.training and self._average_decay:
            mean = w.detach().mean(dim=0).to(self.w_avg.dtype)
            self.w_avg.copy_(torch.lerp(mean, self.w_avg, self._average_decay))
        return w


def mix_styles(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Return (1 - share) * first + share * second in each layer: w's [N, W] or [N, L, W], share [N, L] -> [N, L, W].

    A share of 0 or 1 gives exactly one of them: rows of both are style mixing.
    """
    first, second = (w[:, None] if w.ndim == 2 else w for w in (first, second))
    return (1.0 - share[:, :, None]) * first + share[:, :, None] * second


def truncate_styles(styles: Tensor, mean: Tensor, psi: Tensor) -> Tensor:
    """Return mean + psi * (w - mean) for w's [N, L, W], their mean [W] and psi [N, L]; a psi of 1 changes nothing."""
    return (1.0 - psi[:, :, None]) * mean + psi[:, :, None] * styles
