"""A training run -> a published model package."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch

from ganserve_export import package
from ganserve_export._errors import ExportError
from ganserve_export.calibration import LogisticCalibration, fit_calibration
from ganserve_export.conversion import to_onnx
from ganserve_export.folding import fold
from ganserve_export.graphs import CriticGraph, GeneratorGraph
from ganserve_export.manifest import describe, describe_graph
from ganserve_export.preview import write_preview
from ganserve_export.verification import Difference, verify
from ganserve_training import TrainingError, draw_samples, load_split, load_trained
from ganserve_training.data import to_network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt
    from torch import Tensor, nn

    from ganserve_training import Samples, TrainedModel

GENERATOR, CRITIC, PREVIEW = "generator.onnx", "critic.onnx", "preview.png"
MAX_CALIBRATION_SAMPLES = 10_000
# Fixed: two exports of one checkpoint must give the same probabilities.
CALIBRATION_SEED = 20_000_017
BATCH = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What an export published, and how it was verified."""

    folder: Path
    """The package, <repository>/<name>/<version>."""
    name: str
    """The model's name."""
    version: int
    """The model's version."""
    step: int
    """Training step of the checkpoint."""
    generator: Difference
    """How far the generator's graph is from PyTorch."""
    critic: Difference
    """How far the critic's graph is from PyTorch."""
    calibration: LogisticCalibration
    """How the critic's probabilities were calibrated."""


def export_run(run: Path, model_folder: Path) -> Exported:
    """Exports the latest checkpoint of a run as the next version of a model.

    Args:
        run: The folder of the training run.
        model_folder: Where the model's versions lie: <repository>/<name>. Made if it does not exist.

    Raises:
        ExportError: The run cannot be read or exported, or a graph does not compute what its network computes. Nothing
            is published then.
    """
    name = package.check_name(model_folder)
    try:
        trained = load_trained(run)
        held_out = load_split(trained.config.data, "held_out")
    except TrainingError as error:
        raise ExportError(str(error)) from error

    seed = secrets.randbits(32)  # fresh inputs at each export; a failed verification tells the seed
    calibration = _calibrate(trained, held_out)
    inputs = _RandomInputs(trained)
    with package.staging_folder(model_folder) as staging:
        generator = _write_graph(
            staging / GENERATOR,
            GeneratorGraph(trained.generator, trained.data),
            GeneratorGraph(fold(trained.generator), trained.data),
            inputs.for_generator,
            ("samples",),
            seed,
        )
        critic = _write_graph(
            staging / CRITIC,
            CriticGraph(trained.critic, calibration, trained.data),
            CriticGraph(fold(trained.critic), calibration, trained.data),
            inputs.for_critic,
            ("scores", "probabilities"),
            seed,
        )
        write_preview(staging / PREVIEW, staging / GENERATOR, trained.data, trained.prior.dim)
        spec = describe(
            trained, name, describe_graph(GENERATOR, generator), describe_graph(CRITIC, critic), calibration
        )
        folder = package.publish(staging, model_folder, spec)
    return Exported(
        folder=folder,
        name=name,
        version=spec.version,
        step=trained.step,
        generator=generator,
        critic=critic,
        calibration=calibration,
    )


class _RandomInputs:
    """Draws inputs for the two graphs of a model."""

    def __init__(self, trained: TrainedModel) -> None:
        self._latent_dim = trained.prior.dim
        self._label_count = len(trained.data.label_names)
        self._shape = trained.data.sample_shape

    def for_generator(self, batch: int, random: torch.Generator) -> dict[str, Tensor]:
        """Standard normal latents and uniform labels."""
        latents = torch.randn(batch, self._latent_dim, generator=random)
        return {"latents": latents, **self._labels(batch, random)}

    def for_critic(self, batch: int, random: torch.Generator) -> dict[str, Tensor]:
        """Uniform pixels and uniform labels."""
        samples = torch.randint(0, 256, (batch, *self._shape), generator=random, dtype=torch.uint8)
        return {"samples": samples, **self._labels(batch, random)}

    def _labels(self, batch: int, random: torch.Generator) -> dict[str, Tensor]:
        if not self._label_count:
            return {}
        return {"labels": torch.randint(0, self._label_count, (batch,), generator=random)}


def _write_graph(
    file: Path,
    reference: nn.Module,
    module: nn.Module,
    make_inputs: Callable[[int, torch.Generator], dict[str, Tensor]],
    output_names: tuple[str, ...],
    seed: int,
) -> Difference:
    """Converts a folded module, writes it, and compares the written file with the module as it was trained."""
    example = make_inputs(2, torch.Generator().manual_seed(seed))
    onnx.save_model(to_onnx(module.eval(), example, output_names), file)
    return verify(file, reference.eval(), make_inputs, output_names, seed=seed)


def _calibrate(trained: TrainedModel, held_out: Samples) -> LogisticCalibration:
    """Scores held-out real samples and as many generated ones with the same labels, and fits the calibration."""
    real = held_out.read(np.arange(min(len(held_out), MAX_CALIBRATION_SAMPLES)))
    labels = None if held_out.labels is None else held_out.labels[:MAX_CALIBRATION_SAMPLES]
    generated = draw_samples(trained.generator, trained.prior, trained.data, labels, len(real), CALIBRATION_SEED)
    return fit_calibration(
        _scores(trained, real, labels),
        _scores(trained, generated, labels),
        real_labels=labels,
        generated_labels=labels,
        label_count=len(trained.data.label_names),
    )


@torch.inference_mode()
def _scores(
    trained: TrainedModel, pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64] | None
) -> npt.NDArray[np.float32]:
    """The critic's scores [N] of uint8 samples [N, H, W, C]."""
    parts = []
    for start in range(0, len(pixels), BATCH):
        batch = to_network(torch.from_numpy(pixels[start : start + BATCH]), trained.data)
        batch_labels = None if labels is None else torch.from_numpy(labels[start : start + BATCH])
        parts.append(trained.critic(batch, batch_labels).numpy())
    return np.concatenate(parts)
