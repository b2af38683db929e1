"""Test the probe's numbers on players with known numbers, and that it changes nothing."""

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganserve_training.config import ConvolutionalConfig, DiagnosisConfig, HingeLoss, TrainConfig
from ganserve_training.data import Images, Vectors
from ganserve_training.diagnosis.feature_space import FeatureSpace, mean_pairwise_distance
from ganserve_training.diagnosis.probe import Players, Probe
from ganserve_training.diagnosis.regions import cluster_regions, label_regions, mode_regions
from ganserve_training.evaluation.modes import GaussianModes
from ganserve_training.evaluation.quality import Quality
from ganserve_training.networks.critic_output import CriticOutput
from ganserve_training.networks.latents import LatentPrior
from ganserve_training.objectives.losses import LOSSES

COUNT = 64


class Affine(nn.Module):
    """A generator with known samples: latents times a weight plus a shift."""

    def __init__(self, weight: float, shift: float, dim: int = 2) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((dim,), weight))
        self.shift = nn.Parameter(torch.full((dim,), shift))

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return latents * self.weight + self.shift


class Linear(nn.Module):
    """A critic whose score is the first value times a slope."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, samples: Tensor, labels: Tensor | None = None) -> Tensor:
        return samples[:, 0] * self.slope


def plane(count: int, shift: float = 0.0, seed: int = 0) -> Vectors:
    values = np.random.default_rng(seed).normal(shift, 1.0, (count, 2)).astype(np.float32)
    return Vectors(values=values, mean=(0.0, 0.0), std=(1.0, 1.0))


def probe(
    generator: nn.Module, critic: nn.Module, loss: str = "modified-minimax", config: Any = None, **changes: Any
) -> Probe:
    config = config or TrainConfig(
        batch_size=16,
        loss=LOSSES[loss](),
        diagnosis=DiagnosisConfig(samples=COUNT),  # type: ignore[arg-type]
    )
    players = Players(
        generator=generator,
        critic=critic,
        prior=LatentPrior(dim=2, distribution="normal", continuous_codes=0),
        loss=config.loss,
        label_names=(),
        critic_uses_labels=False,
    )
    arguments: dict[str, Any] = {"train": plane(500), "held_out": plane(300, seed=1), **changes}
    return Probe(
        config, players, arguments["train"], arguments["held_out"], torch.device("cpu"), arguments.get("modes")
    )


def test_numbers_of_known_players() -> None:
    """With D(x) = 3 x_0 and G(z) = z - 5 every number has a closed form or can be counted."""
    generator, critic = Affine(1.0, -5.0), Linear(3.0)
    look = probe(generator, critic)
    seen = look.look(10, 160)
    assert (seen.step, seen.samples_seen) == (10, 160)
    fake = look._latents - 5.0
    assert seen.fake_score == pytest.approx(3.0 * float(fake[:, 0].mean()), rel=1e-5)
    assert seen.fake_accuracy == 1.0
    assert seen.real_accuracy == pytest.approx(float((look._real[:, 0] > 0).float().mean()))
    assert look._held_out is not None
    assert seen.held_out_accuracy == pytest.approx(float((look._held_out[:, 0] > 0).float().mean()))
    assert seen.held_out_score == pytest.approx(3.0 * float(look._held_out[:, 0].mean()), rel=1e-5)

    # The generator's loss is softplus(-D): its slope is 1 - sigma(D), its gradient by a sample three times that.
    scores = 3.0 * fake[:16, 0]
    slopes = 1.0 - torch.sigmoid(scores)
    assert seen.loss_slope == pytest.approx(float(slopes.mean()), rel=1e-5)
    assert seen.sample_gradient_norm == pytest.approx(3.0 * float(slopes.mean()), rel=1e-5)
    by_shift = 3.0 * slopes.mean()
    by_weight = 3.0 * (slopes * look._latents[:16, 0]).mean()
    assert seen.generator_gradient_norm == pytest.approx(float(torch.hypot(by_shift, by_weight)), rel=1e-5)
    assert seen.generator_loss == pytest.approx(float(torch.nn.functional.softplus(-scores).mean()), rel=1e-5)

    distances = np.linalg.norm(look._real.numpy()[:, None] - look._real.numpy()[None], axis=2)
    spread = distances.sum() / (COUNT * (COUNT - 1))
    centre = (fake.mean(dim=0) - look._real.mean(dim=0)).numpy() / spread
    np.testing.assert_allclose(seen.centre, centre, rtol=1e-4)
    assert seen.offset == pytest.approx(float(np.linalg.norm(centre)), rel=1e-4)
    apart = np.linalg.norm(fake.numpy()[:, None] - fake.numpy()[None], axis=2).sum() / (COUNT * (COUNT - 1))
    assert seen.diversity == pytest.approx(apart / spread, rel=1e-4)
    assert (seen.quality, seen.quality_name) == (None, None)
    noted = look.look(10, 160, quality=Quality("gan_test", 0.9, higher_is_better=True))
    assert (noted.quality, noted.quality_name, noted.higher_is_better) == (0.9, "gan_test", True)


def test_a_saturated_loss_has_no_slope_and_collapsed_samples_no_diversity() -> None:
    seen = probe(Affine(0.0, -10.0), Linear(3.0), "minimax").look(1, 1)
    assert seen.loss_slope == pytest.approx(1.0 / (1.0 + math.exp(30.0)), rel=1e-3)
    assert seen.diversity == 0.0
    assert seen.regions_reached == 1


def test_scores_without_a_zero_are_divided_between_their_means() -> None:
    seen = probe(Affine(1.0, -5.0), Linear(3.0), "wasserstein").look(1, 1)
    assert seen.loss_slope == pytest.approx(1.0)
    assert seen.sample_gradient_norm == pytest.approx(3.0)
    assert seen.real_accuracy > 0.95
    assert seen.fake_accuracy > 0.95


def test_two_looks_at_the_same_players_agree() -> None:
    look = probe(Affine(1.0, -1.0), Linear(3.0))
    assert look.look(5, 80) == look.look(5, 80)
    assert probe(Affine(1.0, -1.0), Linear(3.0)).look(5, 80) == look.look(5, 80)


class Restless(nn.Module):
    """A critic with all that a look could change: dropout, batch normalisation, a power iteration."""

    def __init__(self, out: int) -> None:
        super().__init__()
        normed = nn.utils.parametrizations.spectral_norm(nn.Linear(2, 8))
        self.body = nn.Sequential(normed, nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, out))

    def forward(self, values: Tensor, labels: Tensor | None = None) -> Tensor:
        out: Tensor = self.body(values)
        return out if out.shape[1] > 1 else out[:, 0]


def test_a_look_changes_nothing() -> None:
    torch.manual_seed(0)
    generator, critic = Restless(2), Restless(1)
    (generator(torch.randn(16, 2)).sum() + critic(torch.randn(16, 2)).sum()).backward()
    look = probe(generator, critic)
    tensors = [*generator.state_dict().values(), *critic.state_dict().values()]
    grads = [part.grad for part in (*generator.parameters(), *critic.parameters())]
    before = [part.clone() for part in tensors], [None if part is None else part.clone() for part in grads]
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    expected = random.random(), np.random.rand(), float(torch.rand(()))
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    look.look(1, 1)
    assert (random.random(), np.random.rand(), float(torch.rand(()))) == expected
    for ours, theirs in zip(tensors, before[0], strict=True):
        assert torch.equal(ours, theirs)
    for now, then in zip(grads, before[1], strict=True):
        assert now is then is None or torch.equal(now, then)  # type: ignore[arg-type]
    assert generator.training
    assert critic.training
    assert all(part.requires_grad for part in critic.parameters())


class Pairs(nn.Module):
    """Score three samples at once and refuse labels, like a packed critic; has a second head."""

    def forward(self, samples: Tensor, labels: Tensor | None = None) -> CriticOutput:
        assert labels is None
        return CriticOutput(samples.reshape(-1, 6).sum(dim=1), code_values=samples)


def test_packs_are_complete() -> None:
    config = TrainConfig(
        batch_size=16,
        networks=ConvolutionalConfig(packing=3),
        loss=HingeLoss(),
        diagnosis=DiagnosisConfig(samples=32),
    )
    look = probe(Affine(1.0, 0.0), Pairs(), config=config)
    assert len(look._real) == 30
    assert look._chunk == 15
    assert look.look(1, 1).fake_score == pytest.approx(float(look._latents.sum()) / 10, rel=1e-4)


def test_generated_samples_get_the_real_labels_and_few_of_many_labels() -> None:
    """A generator with one image per label is diverse over all labels, but not within a label."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 40, 2000)
    images = Images(
        pixels=rng.integers(0, 256, (2000, 8, 8, 1), np.uint8), labels=labels, label_names=tuple(map(str, range(40)))
    )
    prototypes = torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    class Prototypes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(()))

        def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
            return prototypes[labels] * self.gain

    class Mean(nn.Module):
        def forward(self, samples: Tensor, labels: Tensor | None = None) -> Tensor:
            assert labels is not None
            return samples.mean(dim=(1, 2, 3))

    players = Players(
        generator=Prototypes(),
        critic=Mean(),
        prior=LatentPrior(dim=2, distribution="normal", continuous_codes=0),
        loss=HingeLoss(),
        label_names=images.label_names,
        critic_uses_labels=True,
    )
    config = TrainConfig(batch_size=16, loss=HingeLoss(), diagnosis=DiagnosisConfig(samples=COUNT))
    look = Probe(config, players, images, images.take(np.arange(500)), torch.device("cpu"))
    assert look._labels is not None
    assert len(look._labels.unique()) == COUNT // 8
    seen = look.look(1, 1)
    assert seen.diversity == 0.0
    assert seen.region_kind == "clusters"


@pytest.mark.parametrize("train", [plane(20), plane(5000)])
def test_few_training_samples_are_repeated(train: Vectors) -> None:
    look = probe(Affine(1.0, 0.0), Linear(1.0), train=train)
    assert look._real.shape == (COUNT, 2)
    assert probe(Affine(1.0, 0.0), Linear(1.0), held_out=None).look(1, 1).held_out_accuracy is None


def test_features_keep_variation_and_drop_noise() -> None:
    """For images that vary along two patterns, distances along these stay and noise shrinks to 32 of 64 parts."""
    torch.manual_seed(0)
    patterns = torch.linalg.qr(torch.randn(64, 2))[0].T
    images = (torch.randn(400, 2) * 3.0 @ patterns).view(400, 1, 8, 8)
    space = FeatureSpace(images)
    a, b = images[0], images[1]
    features = space(torch.stack([a, b]))
    assert features.shape == (2, 32)
    assert float(torch.dist(features[0], features[1])) == pytest.approx(float(torch.dist(a, b)), rel=1e-4)
    big = images.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    assert FeatureSpace(big)(big[:3]).shape == (3, 32)
    assert FeatureSpace(torch.randn(50, 5))(torch.zeros(3, 5)).shape == (3, 5)


def test_pairwise_distance_within_labels() -> None:
    features = torch.tensor([[0.0], [1.0], [10.0], [13.0]])
    assert mean_pairwise_distance(features, None) == pytest.approx((1 + 10 + 13 + 9 + 12 + 3) / 6)
    assert mean_pairwise_distance(features, torch.tensor([0, 0, 1, 1])) == pytest.approx(2.0)
    assert mean_pairwise_distance(features, torch.arange(4)) == pytest.approx(8.0)  # No pair shares a label.


def two_blobs(count: int, share: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    left = torch.arange(count) < count * share
    return torch.randn(count, 2, generator=generator) * 0.1 + torch.where(left, -3.0, 3.0)[:, None]


def test_regions_reached_are_counted() -> None:
    reference = two_blobs(400, 0.5)
    modes = GaussianModes(centres=np.array([[-3.0, -3.0], [3.0, 3.0]]), sigma=0.1)
    makers: list[Callable[[], Any]] = [
        lambda: mode_regions(modes, plane(3).info, reference),
        lambda: label_regions(
            FeatureSpace(reference),
            (reference, (torch.arange(400) >= 200).long()),
            (two_blobs(100, 0.5, seed=1), (torch.arange(100) >= 50).long()),
            2,
        ),
    ]
    for make in makers:
        regions = make()
        assert (regions.coverage(reference).reached, regions.coverage(reference).regions) == (2, 2)
        assert regions.coverage(reference).relative_entropy == pytest.approx(1.0)
        left = regions.coverage(two_blobs(100, 1.0))
        assert (left.reached, left.relative_entropy) == (1, 0.0)
        assert regions.coverage(two_blobs(100, 0.96)).reached == 1  # 4 %; from 5 % on it would count.
        assert regions.coverage(two_blobs(100, 0.94)).reached == 2
    clusters = cluster_regions(FeatureSpace(reference), reference)
    assert clusters.coverage(reference).reached == 20
    assert 5 < clusters.coverage(two_blobs(200, 1.0)).reached < 12  # k-means puts about half of the clusters there.
    assert cluster_regions(FeatureSpace(reference), reference[:1].repeat(9, 1)).coverage(reference[:1]).regions == 1


def test_an_inaccurate_judge_is_not_used() -> None:
    reference = two_blobs(400, 0.5)
    guesses = torch.randint(0, 2, (400,), generator=torch.Generator().manual_seed(0))
    space = FeatureSpace(reference)
    assert label_regions(space, (reference, guesses), (reference, 1 - guesses), 2) is None
    assert label_regions(space, (reference, torch.zeros(400).long()), (reference, guesses), 2) is None
    labels = (torch.arange(400) >= 200).long()
    for every, is_used in ((4, True), (3, False)):  # right on 75 % and on 67 %
        told = torch.where(torch.arange(400) % every == 0, 1 - labels, labels)
        assert (label_regions(space, (reference, labels), (reference, told), 2) is not None) == is_used
