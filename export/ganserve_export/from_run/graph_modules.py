"""Define the two graphs of a package as modules: networks with pre- and post-processing inside.

N = batch, Z = latent, H, W, C = height, width, channels, D = vector. Networks work on float32 [N, C, H, W] in [-1, 1]
or standardised [N, D]; graphs use uint8 [N, H, W, C], ready to show, or float32 [N, D] in the data's own units, so
that clients in every language need no scaling, rounding or transposing. Pre- and post-processing and calibration are
always float32; a network of another precision gets its inputs converted to that, and its outputs converted back.
"""

import torch
from torch import Tensor, nn

from ganserve_export.package.calibration import LogisticCalibration
from ganserve_training import DataInfo
from ganserve_training.data import from_network, to_network
from ganserve_training.networks import as_output


class GeneratorGraph(nn.Module):
    """latents float32 [N, Z], labels int64 [N] if conditional -> samples uint8 [N, H, W, C] or float32 [N, D]."""

    def __init__(self, generator: nn.Module, data: DataInfo) -> None:
        super().__init__()
        self._data = data
        self._dtype = dtype_of(generator)
        self.generator = generator

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Make one sample from each latent."""
        return from_network(self.generator(latents.to(self._dtype), labels).to(torch.float32), self._data)


class CriticGraph(nn.Module):
    """samples, labels int64 [N] if the critic takes them -> scores and probabilities, float32 [N] each.

    Samples are uint8 [N, H, W, C] or float32 [N, D]. The graph leaves out other heads (AC-GAN's labels, InfoGAN's
    codes).
    """

    slope: Tensor
    intercepts: Tensor

    def __init__(self, critic: nn.Module, calibration: LogisticCalibration, data: DataInfo) -> None:
        super().__init__()
        self._data = data
        self._dtype = dtype_of(critic)
        self.critic = critic
        self.register_buffer("slope", torch.tensor(calibration.slope, dtype=torch.float32))
        self.register_buffer("intercepts", torch.tensor(calibration.intercepts, dtype=torch.float32))

    def forward(self, samples: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Score each sample, and return the probability that it is real."""
        inputs = to_network(samples, self._data).to(self._dtype)
        scores = as_output(self.critic(inputs, labels)).scores.to(torch.float32)
        intercepts = self.intercepts[0] if labels is None else self.intercepts[labels]
        return scores, torch.sigmoid(self.slope * scores + intercepts)


def dtype_of(network: nn.Module) -> torch.dtype:
    """Return the precision of a network's weights; float32 if it has none."""
    return next((weights.dtype for weights in network.parameters() if weights.is_floating_point()), torch.float32)
