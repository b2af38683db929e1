"""Observe both players without changing them. N = samples of one look, Z = latent, C, H, W = image, M = scores.

A look draws nothing from the run's random generators, steps no optimiser, and writes to no `.grad` and no buffer: the
run continues bit for bit as without it. Its latents and real samples are fixed. So two looks differ only by what the
players learned in between, and a resumed run needs no state for them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from ganserve_training.config import TrainConfig
from ganserve_training.data import Samples, to_network
from ganserve_training.diagnosis.feature_space import FeatureSpace, mean_pairwise_distance
from ganserve_training.diagnosis.likeness import Likeness
from ganserve_training.diagnosis.observation import Observation
from ganserve_training.diagnosis.regions import Regions, cluster_regions, label_regions, mode_regions
from ganserve_training.evaluation.modes import Modes
from ganserve_training.evaluation.quality import Quality
from ganserve_training.networks.critic_output import as_output
from ganserve_training.networks.latents import LatentPrior
from ganserve_training.objectives.losses import Loss
from ganserve_training.run.random_state import capture_rng, restore_rng

_REFERENCE_SAMPLES = 1024
_CENTRE_COORDINATES = 8
_PER_LABEL = 8  # samples of one label, so that there are pairs to compare

Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Players:
    """The modules that are being trained."""

    generator: nn.Module
    """Takes latents [N, Z] and labels; returns samples."""
    critic: nn.Module
    """Takes samples and labels; returns scores [M], or an output with `scores`."""
    prior: LatentPrior
    loss: Loss
    label_names: tuple[str, ...]
    """Names of the labels that the generator takes: the data's labels, or InfoGAN's codes."""
    critic_uses_labels: bool
    """True if the critic takes the data's labels."""


class Probe:
    """Take observations of one run. Its `held_out` samples and the distribution's `modes` may be missing."""

    def __init__(
        self,
        config: TrainConfig,
        players: Players,
        train: Samples,
        held_out: Samples | None,
        device: torch.device,
        modes: Modes | None = None,
    ) -> None:
        self._players = players
        unit = config.networks.packing * max(1, config.networks.minibatch_stddev_group)  # packs and groups stay whole
        self._chunk = _whole_units(config.batch_size // config.accumulate_batches, unit)
        count = _whole_units(config.diagnosis.samples, unit)
        rng = np.random.default_rng([config.seed, 2])  # a generator other than the run's own

        classes = _shown_classes(train.info.label_names, count)
        self._real, self._labels = _take_samples(train, count, classes, rng, device)
        self._held_out: Tensor | None = None
        self._held_out_labels: Tensor | None = None
        if held_out is not None and len(held_out):
            self._held_out, self._held_out_labels = _take_samples(held_out, count, classes, rng, device)
        latents = torch.Generator().manual_seed(int(rng.integers(2**63)))
        self._latents = players.prior.draw(count, latents).to(device)
        self._fake_labels = self._labels
        if players.label_names and self._labels is None:
            self._fake_labels = torch.arange(count, device=device) % len(players.label_names)

        reference, reference_labels = _take_samples(train, _REFERENCE_SAMPLES, None, rng, device)
        self.space = FeatureSpace(reference)
        """The space in which samples are compared."""
        real = self.space(self._real)
        self._real_centre = real.mean(dim=0)
        self._spread = mean_pairwise_distance(real, None) or 1.0  # equal samples have no unit of their own
        self._paired_labels = self._fake_labels if self._labels is not None else None
        self._pair_spread = mean_pairwise_distance(real, self._paired_labels)
        if self._pair_spread == 0.0:  # one sample a label, or equal ones: compare all pairs
            self._paired_labels, self._pair_spread = None, mean_pairwise_distance(real, None)
        self._regions = self._make_regions(train, reference, reference_labels, modes, classes)

    def _make_regions(
        self,
        train: Samples,
        reference: Tensor,
        reference_labels: Tensor | None,
        modes: Modes | None,
        classes: NDArray[np.int64] | None,
    ) -> Regions:
        if modes is not None:
            return mode_regions(modes, train.info, reference)
        regions = None
        all_shown = classes is not None and len(classes) == len(train.info.label_names)
        if all_shown and reference_labels is not None and self._held_out_labels is not None:
            assert self._held_out is not None
            held_out = (self._held_out, self._held_out_labels)
            regions = label_regions(self.space, (reference, reference_labels), held_out, len(train.info.label_names))
        return regions or cluster_regions(self.space, reference)

    def look(
        self,
        step: int,
        samples_seen: int,
        *,
        growing: bool = False,
        augment: Change = lambda samples: samples,
        fade: Change = lambda samples: samples,
        quality: Quality | None = None,
        likeness: Likeness | None = None,
        untrained_quality: float | None = None,
    ) -> Observation:
        """Look at the players as they are now.

        `augment` changes all samples before the critic sees them; `fade` changes real samples before that, while
        networks grow. The other arguments are for the record.
        """
        with undisturbed(self._latents.device):
            real = fade(self._real)
            fake, slope, sample_norm, generator_norm, generator_loss = self._generator_gradient(augment, real)
            with torch.no_grad():
                fake = torch.cat([fake, *self._generate(len(fake))])
                real_scores = self._score(augment, real, self._labels)
                fake_scores = self._score(augment, fake, self._labels)
                loss, threshold = self._players.loss, self._players.loss.threshold(real_scores, fake_scores)
                held_out_accuracy = held_out_score = None
                if self._held_out is not None:
                    held_out = self._score(augment, fade(self._held_out), self._held_out_labels)
                    held_out_accuracy, held_out_score = _share(held_out > threshold), float(held_out.mean())
                critic_loss = loss.critic(real_scores, fake_scores)
                fake = _enlarged(fake, self._real.shape)
                features = self.space(fake)
                centre = (features.mean(dim=0) - self._real_centre) / self._spread
                diversity = mean_pairwise_distance(features, self._paired_labels)
                coverage = self._regions.coverage(fake, self._labels)
        return Observation(
            step=step,
            samples_seen=samples_seen,
            growing=growing,
            critic_loss=float(critic_loss),
            generator_loss=generator_loss,
            real_accuracy=_share(real_scores > threshold),
            held_out_accuracy=held_out_accuracy,
            fake_accuracy=_share(fake_scores < threshold),
            real_score=float(real_scores.mean()),
            held_out_score=held_out_score,
            fake_score=float(fake_scores.mean()),
            loss_slope=slope,
            sample_gradient_norm=sample_norm,
            generator_gradient_norm=generator_norm,
            diversity=diversity / self._pair_spread if self._pair_spread else 1.0,
            offset=float(centre.norm()),
            centre=tuple(centre[:_CENTRE_COORDINATES].tolist()),
            region_kind=coverage.kind,
            regions=coverage.regions,
            regions_reached=coverage.reached,
            region_entropy=coverage.relative_entropy,
            label_agreement=coverage.agreement,
            precision=None if likeness is None else likeness.precision,
            recall=None if likeness is None else likeness.recall,
            quality_name=None if quality is None else quality.name,
            quality=None if quality is None else quality.value,
            untrained_quality=untrained_quality,
            higher_is_better=quality is not None and quality.higher_is_better,
        )

    def _generator_gradient(self, augment: Change, real: Tensor) -> tuple[Tensor, float, float, float, float]:
        """Compute the generator's gradient on the first chunk.

        Return its samples [N, ...], the loss's slope, the mean norm of a sample's gradient, the norm of the weights'
        gradient, and the loss.
        """
        generator, part = self._players.generator, slice(0, self._chunk)
        weights = {
            name: value.detach().requires_grad_(value.requires_grad) for name, value in generator.named_parameters()
        }
        trained = [value for value in weights.values() if value.requires_grad]
        with torch.enable_grad():
            fake: Tensor = functional_call(generator, weights | _buffers(generator), self._generator_inputs(part))
            scores = self._critic(augment(fake), _cut(self._labels, part))
            with torch.no_grad():
                real_scores = self._critic(augment(real[part]), _cut(self._labels, part))
            loss = self._players.loss.generator(scores, real_scores)
            by_score, by_sample, *by_weight = torch.autograd.grad(loss, [scores, fake, *trained], allow_unused=True)
        count = len(fake)
        sample_norm = (by_sample.flatten(1).norm(dim=1) * count).mean()
        weight_norm = torch.stack([part.norm() for part in by_weight if part is not None]).norm()
        return fake.detach(), float(by_score.abs().sum()), float(sample_norm), float(weight_norm), float(loss.detach())

    def _generate(self, start: int) -> Iterator[Tensor]:
        for first in range(start, len(self._latents), self._chunk):
            inputs = self._generator_inputs(slice(first, first + self._chunk))
            yield functional_call(self._players.generator, _buffers(self._players.generator), inputs)

    def _generator_inputs(self, part: slice) -> tuple[Tensor, Tensor | None]:
        return self._latents[part], _cut(self._fake_labels, part)

    def _score(self, augment: Change, samples: Tensor, labels: Tensor | None) -> Tensor:
        parts = (slice(first, first + self._chunk) for first in range(0, len(samples), self._chunk))
        return torch.cat([self._critic(augment(samples[part]), _cut(labels, part)) for part in parts])

    def _critic(self, samples: Tensor, labels: Tensor | None) -> Tensor:
        critic = self._players.critic
        weights = {name: value.detach() for name, value in critic.named_parameters()}
        seen = labels if self._players.critic_uses_labels else None
        return as_output(functional_call(critic, weights | _buffers(critic), (samples, seen))).scores


def _buffers(module: nn.Module) -> dict[str, Tensor]:
    """Copy the buffers, so that this call cannot change running statistics and power iterations."""
    return {name: value.clone() for name, value in module.named_buffers()}


@contextmanager
def undisturbed(device: torch.device) -> Iterator[None]:
    """Restore all global random generators afterwards, as networks may draw from them."""
    unused = torch.Generator(device)
    state = capture_rng(unused)
    try:
        yield
    finally:
        restore_rng(state, unused)


def _enlarged(samples: Tensor, shape: torch.Size) -> Tensor:
    """Enlarge images of a growing network to the size of the data's images."""
    return samples if samples.shape[1:] == shape[1:] else nn.functional.interpolate(samples, shape[2:], mode="nearest")


def _cut(labels: Tensor | None, part: slice) -> Tensor | None:
    return None if labels is None else labels[part]


def _share(which: Tensor) -> float:
    return float(which.float().mean())


def _whole_units(count: int, unit: int) -> int:
    """Return the largest multiple of `unit` up to `count`, at least one unit."""
    return max(count // unit, 1) * unit


def _shown_classes(label_names: tuple[str, ...], count: int) -> NDArray[np.int64] | None:
    """Return the classes of `count` samples: all, or evenly spaced ones if there are too many; None: unlabelled."""
    if not label_names:
        return None
    shown = max(1, min(len(label_names), count // _PER_LABEL))
    return np.linspace(0, len(label_names) - 1, shown).round().astype(np.int64)


def _take_samples(
    samples: Samples, count: int, classes: NDArray[np.int64] | None, rng: np.random.Generator, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """Return `count` random samples as networks see them and their labels; samples repeat if there are too few."""
    candidates = np.arange(len(samples))
    if classes is not None and samples.labels is not None:
        wanted = np.isin(samples.labels, classes)
        candidates = candidates[wanted] if wanted.any() else candidates
    order = rng.permutation(candidates)
    chosen = np.sort(np.resize(order, count) if len(order) < count else order[:count])  # read files in their order
    chosen = chosen[rng.permutation(len(chosen))]
    labels = None if samples.labels is None else torch.from_numpy(samples.labels[chosen]).to(device)
    return to_network(torch.from_numpy(samples.read(chosen)), samples.info).to(device), labels
