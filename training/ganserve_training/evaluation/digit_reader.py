"""Read digits with a small convolutional network that is trained on real ones. M = images, H, W = image."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ganserve_training.data.sample_order import ShuffledOrder
from ganserve_training.data.samples import Samples

DigitReader = Callable[[NDArray[Any]], NDArray[np.int64]]
"""Reads gray images, uint8 [M, H, W, 1]: returns the digits that they show, int64 [M]."""

_STEPS = 1000
_BATCH = 64
_READ_AT_ONCE = 1024
_LEARNING_RATE = 2e-3
_SHIFT_PX = 2
_SEED = 20_000_041


def train_digit_reader(digits: Samples) -> DigitReader:
    """Train a network on labelled gray images, shifted at random by up to 2 pixels.

    Training takes 1,000 steps of AdamW on batches of 64, on the CPU, with fixed seeds: the same data give the same
    network on the same machine and version of torch.
    """
    assert digits.labels is not None
    images = _to_network(digits.read(np.arange(len(digits))))
    labels = torch.from_numpy(digits.labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        network = _network(images.shape[2] // 4 * (images.shape[3] // 4), len(digits.label_names))
        _fit(network, images, labels)
    network.eval().requires_grad_(False)

    def read_digits(pixels: NDArray[Any]) -> NDArray[np.int64]:
        parts = range(0, len(pixels), _READ_AT_ONCE)
        logits = (network(_to_network(pixels[start : start + _READ_AT_ONCE])) for start in parts)
        return np.concatenate([part.argmax(dim=1).numpy() for part in logits])

    return read_digits


def _network(positions: int, labels: int) -> nn.Module:
    """Return the network for images [M, 1, H, W] -> logits [M, labels]; `positions` is H/4 x W/4."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(32 * positions, labels),
    )


def _fit(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    optimiser = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, _STEPS)
    order = ShuffledOrder(len(images), _SEED)
    for step in range(_STEPS):
        indices = torch.from_numpy(order.indices(step * _BATCH, _BATCH))
        shift = torch.randint(-_SHIFT_PX, _SHIFT_PX + 1, (2,)).tolist()
        logits = network(images[indices].roll(shift, (2, 3)))  # The border is black, so nothing comes round.
        loss = F.cross_entropy(logits, labels[indices])
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()


def _to_network(pixels: NDArray[Any]) -> Tensor:
    """Return images uint8 [M, H, W, 1] as float32 [M, 1, H, W] in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).float() / 255.0
