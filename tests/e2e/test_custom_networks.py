"""Train, export, serve and sample networks from a user's own package with the commands."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

from commands import ganserve, said
from ganserve import Client
from server_process import running_server

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


# The two networks use labels differently; the critic has batch normalisation, which export freezes.
NETWORKS = """
import math

import torch
from torch import nn


class MyGenerator(nn.Module):
    def __init__(self, latent_dim, sample_shape, label_count, width=24):
        super().__init__()
        self.styles = nn.Embedding(label_count, latent_dim)
        self.body = nn.Sequential(nn.Linear(latent_dim, width), nn.SiLU(), nn.Linear(width, math.prod(sample_shape)))
        self.sample_shape = sample_shape

    def forward(self, latents, labels=None):
        return torch.tanh(self.body(latents * self.styles(labels))).unflatten(1, self.sample_shape)


class MyCritic(nn.Module):
    def __init__(self, sample_shape, label_count, width=24):
        super().__init__()
        self.body = nn.Sequential(
            nn.Flatten(), nn.Linear(math.prod(sample_shape), width), nn.BatchNorm1d(width), nn.ELU()
        )
        self.directions = nn.Embedding(label_count, width)

    def forward(self, samples, labels=None):
        return (self.body(samples) * self.directions(labels)).sum(1)
"""


def test_custom_networks_are_trained_exported_served_and_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "code" / "my_package"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "models.py").write_text(NETWORKS)
    networks = (
        *("--networks.architecture", "custom", "--networks.latent-dim", 6),
        *("--networks.generator-conditioning", "auto", "--networks.critic-conditioning", "auto"),
    )
    classes = (
        *("--networks.generator-class", "my_package.models:MyGenerator"),
        *("--networks.critic-class", "my_package.models:MyCritic"),
    )
    # A penalty on the gradient of single samples needs a critic without batch normalisation.
    penalties = [f"--regularisers.{name}-gamma.{end}" for name in ("r1", "r2") for end in ("start", "end")]
    game = ("--loss.name", "hinge", *(part for penalty in penalties for part in (penalty, 0)))
    sizes = ("--steps", 6, "--batch-size", 16)
    with monkeypatch.context() as path:
        path.syspath_prepend(package.parent)
        said("train", "digits", "--out", "run", *networks, *classes, *game, *sizes, folder=tmp_path)
    for name in ("my_package", "my_package.models"):
        del sys.modules[name]

    refused = ganserve("export-onnx", "run", "--out", "models/mine", folder=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.startswith("ganserve export-onnx: error: 2 problems with these networks:")
    for player in ("generator-class my_package.models:MyGenerator", "critic-class my_package.models:MyCritic"):
        assert f"- --networks.{player}: there is no module my_package. Install your package, or" in refused.stderr
    assert refused.stderr.count("\n") == 3
    assert not (tmp_path / "models").exists()

    monkeypatch.syspath_prepend(package.parent)
    printed = said("export-onnx", "run", "--out", "models/mine", folder=tmp_path)
    assert printed.startswith("mine version 1, from step 6\nverified against PyTorch")
    # The server imports neither torch nor the package.
    with running_server(tmp_path / "models") as server, Client(server.address) as client:
        batch = client.sample(12, "7", seed=3, return_scores=True)
        assert (batch.images.shape, set(batch.label_names)) == ((12, 8, 8, 1), {"7"})
        assert np.ptp(batch.images) > 0
        np.testing.assert_allclose(client.score(batch.images, "7").scores, batch.scores, rtol=1e-4, atol=1e-5)
        assert (client.score(batch.images, "1").scores != batch.scores).any()
