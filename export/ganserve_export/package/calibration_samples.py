"""Score held-out real samples and as many generated ones, and fit a critic's calibration to them. N = batch."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ganserve_export.package.calibration import LogisticCalibration, fit_calibration
from ganserve_training import Samples
from ganserve_training.networks.latents import LatentPrior

MAX_SAMPLES, MIN_SAMPLES = 10_000, 1_000
MAX_VALUES = 50_000_000  # of all samples together, so that large images take minutes at most
# Fixed: two exports of one checkpoint must give the same probabilities.
SEED = 20_000_017
BATCH = 256


@torch.inference_mode()
def calibrate(
    held_out: Samples,
    prior: LatentPrior,
    draw_labels: Callable[[int, torch.Generator], Tensor | None],
    generate: Callable[[Tensor, Tensor | None], Tensor],
    score: Callable[[Tensor, Tensor | None], Tensor],
    *,
    label_count: int,
) -> LogisticCalibration:
    """Score the first held-out real samples and as many generated ones, and fit the calibration.

    Args:
        held_out: Real samples that the critic was not trained on.
        prior: Distribution of the latents.
        draw_labels: Gives labels int64 [N]: those of the first N real samples, so that real and generated samples have
            the same mix, or random ones where the data have no such labels; None without labels.
        generate: Latents and labels -> samples in the package's form: a served critic scores rounded pixels, too.
        score: Samples in that form, and labels if the critic takes them -> scores float32 [N].
        label_count: Number of labels that the critic takes; 0: none.

    Raises:
        ExportError: There are too few samples, or a score is not finite.
    """
    size = int(np.prod(held_out.info.sample_shape))
    count = min(len(held_out), MAX_SAMPLES, max(MIN_SAMPLES, MAX_VALUES // size))
    random = torch.Generator().manual_seed(SEED)
    latents = prior.draw(count, random)
    labels = draw_labels(count, random)
    real_scores, generated_scores = [], []
    for start in range(0, count, BATCH):
        rows = slice(start, min(start + BATCH, count))
        row_labels = None if labels is None else labels[rows]
        critic_labels = row_labels if label_count else None
        real = torch.from_numpy(held_out.read(np.arange(rows.start, rows.stop)))
        generated_scores.append(score(generate(latents[rows], row_labels), critic_labels).numpy())
        real_scores.append(score(real, critic_labels).numpy())
    return fit_calibration(
        np.concatenate(real_scores),
        np.concatenate(generated_scores),
        labels=labels.numpy() if label_count and labels is not None else None,
        label_count=label_count,
    )
