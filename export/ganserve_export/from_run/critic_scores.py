"""Scores of held-out real samples and of generated ones, and the calibration that they give. N = batch, Z = latent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ganserve_export.package.calibration import MIN_SAMPLES as FEWEST
from ganserve_export.package.calibration import LogisticCalibration, fit_calibration
from ganserve_training.data import from_network, to_network
from ganserve_training.networks import as_output

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    from torch import Tensor

    from ganserve_training import Samples, TrainedModel
    from ganserve_training.networks.conditioning import Conditioning

MAX_SAMPLES, MIN_SAMPLES = 10_000, 1_000
MAX_VALUES = 50_000_000  # of all samples together: large images are fewer, so that calibration takes minutes at most
# Fixed: two exports of one checkpoint must give the same probabilities.
SEED = 20_000_017
BATCH = 256


def calibrate_if_possible(trained: TrainedModel, conditioning: Conditioning, held_out: Samples) -> LogisticCalibration:
    """As `calibrate`; with too few held-out samples, an uncalibrated one, which says so.

    Raises:
        ExportError: A score is not finite.
    """
    if len(held_out) >= FEWEST:
        return calibrate(trained, conditioning, held_out)
    return LogisticCalibration.uncalibrated(conditioning.label_count if conditioning.critic_uses_labels else 0)


@torch.inference_mode()
def calibrate(trained: TrainedModel, conditioning: Conditioning, held_out: Samples) -> LogisticCalibration:
    """Scores held-out real samples and as many generated ones, and fits the calibration.

    The generated samples have the labels of the real ones, so that both are mixed alike; where the generator's labels
    are codes that the data don't have, they are uniform.

    Args:
        trained: Generator and critic.
        conditioning: Whether they take labels, and whose.
        held_out: Samples that the critic was not trained on.

    Raises:
        ExportError: There are too few of them, or a score is not finite.
    """
    data = trained.data
    count = samples_to_score(held_out)
    random = torch.Generator().manual_seed(SEED)
    latents = trained.prior.draw(count, random)
    if conditioning.code_categories:
        labels: Tensor | None = torch.randint(0, conditioning.code_categories, (count,), generator=random)
    else:
        labels = None if held_out.labels is None else torch.from_numpy(held_out.labels[:count])
    uses_labels = conditioning.critic_uses_labels

    def generate(rows: slice) -> Tensor:
        return from_network(trained.generator(latents[rows], labels[rows] if labels is not None else None), data)

    def score(samples: Tensor, rows: slice) -> Tensor:
        own = labels[rows] if uses_labels and labels is not None else None
        return as_output(trained.critic(to_network(samples, data), own)).scores

    return fit_to_scores(
        held_out,
        generate,
        score,
        labels=labels.numpy() if uses_labels and labels is not None else None,
        label_count=conditioning.label_count if uses_labels else 0,
    )


def samples_to_score(held_out: Samples) -> int:
    """How many samples of either kind the calibration is fitted on."""
    size = int(np.prod(held_out.info.sample_shape))
    return min(len(held_out), MAX_SAMPLES, max(MIN_SAMPLES, MAX_VALUES // size))


def fit_to_scores(
    held_out: Samples,
    generate: Callable[[slice], Tensor],
    score: Callable[[Tensor, slice], Tensor],
    *,
    labels: npt.NDArray[np.int64] | None,
    label_count: int,
) -> LogisticCalibration:
    """Scores the first `samples_to_score` real samples and as many generated ones, and fits the calibration.

    Args:
        held_out: Real samples.
        generate: Draws the samples of some rows, as people see them: a served critic scores rounded pixels, too.
        score: Scores samples, as people see them, that have the labels of some rows: [N, ...] -> [N].
        labels: Labels of the rows, for a critic that takes them.
        label_count: How many labels there are, for a critic that takes them; else 0.

    Raises:
        ExportError: There are too few samples, or a score is not finite.
    """
    count = samples_to_score(held_out)
    real_scores: list[npt.NDArray[np.float32]] = []
    generated_scores: list[npt.NDArray[np.float32]] = []
    for start in range(0, count, BATCH):
        rows = slice(start, min(start + BATCH, count))
        real = torch.from_numpy(held_out.read(np.arange(rows.start, rows.stop)))
        generated_scores.append(score(generate(rows), rows).numpy())
        real_scores.append(score(real, rows).numpy())
    return fit_calibration(
        np.concatenate(real_scores),
        np.concatenate(generated_scores),
        real_labels=labels,
        generated_labels=labels,
        label_count=label_count,
    )
