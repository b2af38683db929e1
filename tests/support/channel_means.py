"""Define a feature network with known features. N = batch, C = channels."""

import torch
from torch import Tensor, nn


class ChannelMeans(nn.Module):
    """Compute the means of the channels by a convolution, whose input channels a reader can see."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.same = nn.Conv2d(channels, channels, 1, bias=False)
        with torch.no_grad():
            self.same.weight.copy_(torch.eye(channels)[..., None, None])

    def forward(self, images: Tensor) -> Tensor:
        return self.same(images).mean(dim=(2, 3), keepdim=True)
