"""The order in which memory holds the weights of convolutions. O, C = channels, H, W = extents of the kernel."""

from __future__ import annotations

import torch
from torch import nn

from ganserve_training.config.train import MemoryFormat


def arranged(network: nn.Module, form: MemoryFormat) -> nn.Module:
    """Put the weights [O, C, H, W] of a network into this order in memory, and return it; values do not change.

    Convolutions take over the order of their weights, so all images between them have it, too.
    """
    if form == "channels-last":
        for weight in (weight for weight in network.parameters() if weight.ndim == 4):
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return network
