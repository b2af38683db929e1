"""How good a run's samples are."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganserve_training.config import DataConfig
from ganserve_training.data import load_split
from ganserve_training.errors import DataError
from ganserve_training.judge import Judgement, judge_samples
from ganserve_training.run_folder import RunFolder
from ganserve_training.trained import draw_samples, load_trained

EVALUATION_SAMPLES = 1500
EVALUATION_SEED = 20_000_003  # Not a seed that anyone trains with, so that no latents are seen twice.


def evaluate_samples(pixels: NDArray[np.uint8], labels: NDArray[np.int64], config: DataConfig) -> Judgement:
    """Judge generated samples against the data that ``config`` names.

    Args:
        pixels: uint8 [N, H, W, C].
        labels: the labels that were asked for, int64 [N].
        config: the data that the generator learned from.
    """
    return judge_samples(pixels, labels, load_split(config, "train"), load_split(config, "held_out"))


def balanced_labels(count: int, classes: int) -> NDArray[np.int64]:
    """``count`` labels, each of ``classes`` equally often (to within one): int64 [count]."""
    return np.arange(count, dtype=np.int64) % classes


def evaluate_run(run: Path, *, count: int = EVALUATION_SAMPLES, seed: int = EVALUATION_SEED) -> tuple[int, Judgement]:
    """Judge samples of a run's averaged generator and save the figures in its metrics.json.

    Args:
        run: the run's folder.
        count: samples to draw, with balanced labels.
        seed: of their latents.

    Returns:
        The step of the checkpoint, and the figures.

    Raises:
        CheckpointError: the run has no whole checkpoint.
        DataError: its data have no labels.
    """
    model = load_trained(run)
    if not model.data.label_names:
        raise DataError(f"{run} is unconditional: the judge needs labels")
    labels = balanced_labels(count, len(model.data.label_names))
    pixels = draw_samples(model.generator, model.latent_dim, labels, count, seed)
    judgement = evaluate_samples(pixels, labels, model.config.data)
    RunFolder(run).write_metrics(judgement.to_dict())
    return model.step, judgement
