"""Scores of held-out real samples and of generated ones, and the calibration that they give. N = batch, Z = latent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ganserve_export.calibration import LogisticCalibration, fit_calibration
from ganserve_training.data import from_network, to_network
from ganserve_training.networks import as_output

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from ganserve_training import Samples, TrainedModel
    from ganserve_training.networks.conditioning import Conditioning

MAX_SAMPLES, MIN_SAMPLES = 10_000, 1_000
MAX_VALUES = 50_000_000  # of all samples together: large images are fewer, so that calibration takes minutes at most
# Fixed: two exports of one checkpoint must give the same probabilities.
SEED = 20_000_017
BATCH = 256


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
    count = min(len(held_out), MAX_SAMPLES, max(MIN_SAMPLES, MAX_VALUES // int(np.prod(data.sample_shape))))
    random = torch.Generator().manual_seed(SEED)
    latents = trained.prior.draw(count, random)
    if conditioning.code_categories:
        labels: Tensor | None = torch.randint(0, conditioning.code_categories, (count,), generator=random)
    else:
        labels = None if held_out.labels is None else torch.from_numpy(held_out.labels[:count])
    uses_labels = conditioning.critic_uses_labels

    real_scores: list[npt.NDArray[np.float32]] = []
    generated_scores: list[npt.NDArray[np.float32]] = []
    for start in range(0, count, BATCH):
        rows = slice(start, min(start + BATCH, count))
        own = labels[rows] if labels is not None else None
        # Through the samples as people see them: a served critic scores rounded pixels, too.
        generated = from_network(trained.generator(latents[rows], own), data)
        real = torch.from_numpy(held_out.read(np.arange(rows.start, rows.stop)))
        for samples, scores in ((real, real_scores), (generated, generated_scores)):
            output = trained.critic(to_network(samples, data), own if uses_labels else None)
            scores.append(as_output(output).scores.numpy())
    of_critic: npt.NDArray[np.int64] | None = labels.numpy() if uses_labels and labels is not None else None
    return fit_calibration(
        np.concatenate(real_scores),
        np.concatenate(generated_scores),
        real_labels=of_critic,
        generated_labels=of_critic,
        label_count=conditioning.label_count if uses_labels else 0,
    )
