"""How good a run's samples are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.config import DataConfig
from ganserve_training.data import load_split
from ganserve_training.errors import DataError
from ganserve_training.judge import Judgement, judge_samples
from ganserve_training.run_folder import RunFolder
from ganserve_training.trained import draw_samples, load_trained

EVALUATION_SAMPLES = 1500
EVALUATION_SEED = 20_000_003  # Far from the small seeds that people train and sample with.


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What was judged, and the verdict."""

    step: int
    """Training step of the checkpoint."""
    checkpoint_sha256: str
    samples: int
    """How many were drawn, with balanced labels."""
    seed: int
    """Of their latents."""
    judgement: Judgement

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form: what metrics.json holds."""
        return {
            "step": self.step,
            "checkpoint_sha256": self.checkpoint_sha256,
            "samples": self.samples,
            "seed": self.seed,
            "metrics": self.judgement.to_dict(),
        }


def evaluate_run(run: Path, *, samples: int = EVALUATION_SAMPLES, seed: int = EVALUATION_SEED) -> Evaluation:
    """Judge samples of a run's averaged generator and save the figures in its metrics.json.

    Args:
        run: the run's folder.
        samples: how many to draw, with balanced labels.
        seed: of their latents.

    Raises:
        CheckpointError: the run has no whole checkpoint.
        DataError: its data have no labels, or there are fewer samples than labels.
    """
    model = load_trained(run)
    if not model.data.label_names:
        raise DataError(f"{run} is unconditional: the judge needs labels")
    labels = balanced_labels(samples, len(model.data.label_names))
    pixels = draw_samples(model.generator, model.prior, model.data, labels, samples, seed)
    evaluation = Evaluation(
        step=model.step,
        checkpoint_sha256=model.checkpoint_sha256,
        samples=samples,
        seed=seed,
        judgement=evaluate_samples(pixels, labels, model.config.data),
    )
    RunFolder(run).write_evaluation(evaluation.to_dict())
    return evaluation


def evaluate_samples(pixels: NDArray[np.uint8], labels: NDArray[np.int64], config: DataConfig) -> Judgement:
    """Judge generated samples, wherever they come from, against the data that ``config`` names.

    Args:
        pixels: uint8 [N, H, W, C].
        labels: the labels that were asked for, int64 [N].
        config: the data that the generator learned from.

    Raises:
        DataError: the data have no labels, the samples have another shape, or a label has no sample.
    """
    return judge_samples(pixels, labels, load_split(config, "train"), load_split(config, "held_out"))


def balanced_labels(count: int, classes: int) -> NDArray[np.int64]:
    """``count`` labels, each of ``classes`` equally often (to within one): int64 [count].

    Raises:
        DataError: there are fewer samples than labels.
    """
    if count < classes:
        raise DataError(f"samples must be at least {classes}, one for each label (got {count})")
    return np.arange(count, dtype=np.int64) % classes
