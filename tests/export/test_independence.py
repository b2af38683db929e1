"""Refuse networks whose outputs depend on the rest of the batch; accept frozen statistics."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from ganserve_export import ExportError, export_run
from ganserve_export.from_run import export as exporter
from ganserve_export.package.batch_independence import check_alone
from ganserve_training import load_trained
from ganserve_training.networks import MinibatchStddev

if TYPE_CHECKING:
    from pathlib import Path

SAMPLES = [torch.randn(64, 6, generator=torch.Generator().manual_seed(0))]


class Looking(nn.Module):
    """Compare each sample with its batch."""

    def __init__(self, critic: nn.Module | None = None) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, samples, labels=None):
        values = samples.flatten(1).mean(dim=1)
        scores = 0.0 if self.critic is None else self.critic(samples, labels)
        return scores + values - values.mean()


def frozen() -> nn.Module:
    """Make a network with batch and minibatch statistics of a few batches."""
    critic = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), MinibatchStddev(4), nn.Linear(9, 1), nn.Flatten(0))
    for seed in range(3):
        critic(torch.randn(16, 6, generator=torch.Generator().manual_seed(seed)))
    return critic.eval()


def test_frozen_statistics_score_each_sample_alone() -> None:
    check_alone(frozen(), SAMPLES, (), "critic")


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (frozen().train(), "critic Mine gives another result|cannot be called with 1 samples: Expected more than 1"),
        (Looking(), r"mixes its samples: a sample's result differs by .* between a batch of 1 and one of 64"),
        (nn.Sequential(nn.Linear(6, 1), nn.Flatten(0), nn.Dropout(0.5)), "draws random numbers"),
        (nn.Linear(6, 1), r"gives \[64, 1\] for 64 samples; expected \[64\]"),
        (nn.Sequential(nn.Unflatten(1, (2, 3)), nn.Flatten(0, 1), nn.Linear(3, 1), nn.Flatten(0)), r"gives \[128\]"),
    ],
    ids=["training mode", "looking", "dropout", "column", "two a sample"],
)
def test_a_network_that_cannot_be_batched_is_refused(network: nn.Module, reason: str) -> None:
    with pytest.raises(ExportError, match=reason):
        check_alone(network, SAMPLES, (), "critic Mine")


def test_a_small_influence_of_the_batch_is_found_but_rounding_ignored() -> None:
    linear = nn.Linear(6, 1)

    def slightly(samples: torch.Tensor) -> torch.Tensor:
        scores = linear(samples).squeeze(1)
        return 1000.0 + scores + 0.1 * len(samples) ** 0.5

    with pytest.raises(ExportError, match="mixes its samples"):
        check_alone(slightly, SAMPLES, (), "critic")
    check_alone(lambda samples: 1000.0 + linear(samples).squeeze(1), SAMPLES, (), "critic")


def test_the_error_names_the_network_and_a_fix(run: Path, tmp_path: Path, monkeypatch) -> None:
    trained = load_trained(run)
    # Training would refuse this critic at its start, so replace it afterwards.
    mixing = replace(trained, critic=Looking(trained.critic).eval())
    monkeypatch.setattr(exporter, "load_trained", lambda *_, **__: mixing)
    with pytest.raises(ExportError, match=r"critic Looking mixes its samples.*MinibatchStddev.*--generator-only"):
        export_run(run, tmp_path / "digits")
    assert not (tmp_path / "digits").exists()
    package = export_run(run, tmp_path / "digits", generator_only=True)
    assert not (package.folder / "critic.onnx").exists()
