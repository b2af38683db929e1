"""Train a small classifier of the data's labels, whose features replace those of a pretrained network.

N = batch, C = channels, F = features.
"""

import hashlib
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ganserve_training.data.sample_order import ShuffledOrder
from ganserve_training.data.samples import Samples
from ganserve_training.errors import DataError
from ganserve_training.evaluation.features.features import Features, batches
from ganserve_training.evaluation.features.resizing import FeatureInput

FEATURES = 64
_SIDE_PX = 32
_STEPS = 400
_BATCH = 64
_LEARNING_RATE = 2e-3
_SEED = 20_000_029


class _Classifier(nn.Module):
    """Images [N, C, H, W] -> features [N, 64] and logits [N, labels]."""

    def __init__(self, channels: int, labels: int) -> None:
        super().__init__()
        widths = (channels, 16, 32, FEATURES)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU())
            for before, after in pairwise(widths)
        )
        self.head = nn.Linear(FEATURES, labels)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        hidden = images
        for block in self.blocks:
            hidden = block(hidden)
            if min(hidden.shape[2:]) >= 4:
                hidden = F.avg_pool2d(hidden, 2)
        features = hidden.mean(dim=(2, 3))
        return features, self.head(features)


def classifier_features(train: Samples, held_out: Samples) -> tuple[Features, float]:
    """Train a three-layer convolutional network on real, labelled images; its last hidden layer gives the features.

    Training takes 400 steps of AdamW on batches of 64, on the CPU, with fixed seeds: the same data give the same
    network on the same machine and version of torch. Also return the network's accuracy on `held_out`: features of an
    inaccurate network say little. Raise DataError if the data are not images, or have no labels.
    """
    if not train.info.is_image or train.labels is None or held_out.labels is None:
        raise DataError("features classifier: needs labelled images. Use features pixels, or a file")
    info = train.info
    form = FeatureInput(
        height=min(info.height, _SIDE_PX), width=min(info.width, _SIDE_PX), channels=info.channels, values="-1..1"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        network = _Classifier(info.channels, len(info.label_names))
    _fit(network, form, train, train.labels)
    network.eval().requires_grad_(False)
    weights = hashlib.sha256()
    for name, value in network.state_dict().items():
        weights.update(name.encode() + value.numpy().tobytes())

    def run(pixels: NDArray[Any], output: int) -> NDArray[Any]:
        outputs = [network(torch.from_numpy(form.prepare(batch)))[output].numpy() for batch in batches(pixels, 256)]
        return np.concatenate(outputs)

    logits = run(held_out.read(np.arange(len(held_out))), 1)
    accuracy = float(np.mean(logits.argmax(axis=1) == held_out.labels))
    features = Features(
        name="classifier",
        sha256=weights.hexdigest(),
        resizer=form.resizer(info),
        extract=lambda pixels: run(pixels, 0),
    )
    return features, accuracy


def _fit(network: _Classifier, form: FeatureInput, train: Samples, labels: NDArray[np.int64]) -> None:
    optimiser = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, _STEPS)
    order = ShuffledOrder(len(train), _SEED)
    for step in range(_STEPS):
        indices = order.indices(step * _BATCH, _BATCH)
        _, logits = network(torch.from_numpy(form.prepare(train.read(indices))))
        loss = F.cross_entropy(logits, torch.from_numpy(labels[indices]))
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
