"""A training run -> a published model package."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import onnx
import torch

from ganserve_export.errors import ExportError
from ganserve_export.from_run.batch_independence import BATCH, check_alone
from ganserve_export.from_run.conversion import OPSET, to_onnx
from ganserve_export.from_run.critic_scores import calibrate_if_possible
from ganserve_export.from_run.folding import fold
from ganserve_export.from_run.graph_modules import CriticGraph, GeneratorGraph
from ganserve_export.package import publishing as package
from ganserve_export.package.manifest import CriticDescription, describe, describe_graph, provenance_of_run
from ganserve_export.package.preview import write_preview
from ganserve_export.package.random_inputs import RandomInputs
from ganserve_export.package.verification import HALF_SLACK, Difference, verify
from ganserve_training import TrainingError, load_split, load_trained
from ganserve_training.data import to_network
from ganserve_training.networks import as_output
from ganserve_training.networks.build import resolve_conditioning
from ganserve_training.networks.conditioning import Conditioning
from ganserve_training.networks.growth import timetable
from ganserve_training.networks.growth_state import GrowthState
from ganserve_training.run.progress_bar import Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from ganserve_export.package.calibration import LogisticCalibration
    from ganserve_training import TrainedModel
    from ganserve_training.run.folder import Which

Weights: TypeAlias = Literal["float32", "float16"]
"""What the networks of a package compute in."""
GENERATOR, CRITIC, PREVIEW = "generator.onnx", "critic.onnx", "preview.png"


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
    critic: Difference | None
    """How far the critic's graph is from PyTorch; None: the package has no critic."""
    calibration: LogisticCalibration | None
    """How the critic's probabilities were calibrated; None without a critic, or with too few held-out real samples."""
    critic_absence: str
    """Why the package has no critic; empty with one."""
    precision: Weights
    """What its networks compute in."""


def export_run(
    run: Path,
    model_folder: Path,
    *,
    checkpoint: Which = "auto",
    generator_only: bool = False,
    precision: Weights = "float32",
    steps: Steps | None = None,
) -> Exported:
    """Export a checkpoint of a run as the next version of a model.

    Args:
        run: The folder of the training run.
        model_folder: Where the model's versions lie: <repository>/<name>. Made if it does not exist.
        checkpoint: Which checkpoint, as `ganserve_training.load_trained` takes it.
        generator_only: Leaves the critic out. One that cannot score single samples is left out in any case.
        precision: What the networks compute in; inputs, outputs and what is done to them stay as they are.
        steps: Is told what is being done.

    Raises:
        ExportError: The run cannot be read or exported, or a graph does not compute what its network computes. Nothing
            is published then.
    """
    name = package.check_name(model_folder)
    steps = steps or Steps()
    steps.next("reading the run")
    try:
        trained = load_trained(run, checkpoint)
        conditioning = resolve_conditioning(trained.config.networks, trained.data)
        _check_grown(trained, run)
        absence = "it was exported without one" if generator_only else _critic_absence(trained)
        inputs = RandomInputs(
            trained.prior,
            trained.data,
            label_count=conditioning.label_count,
            critic_uses_labels=conditioning.critic_uses_labels,
        )
        steps.expect(4 if absence else 6)
        steps.next("checking that no sample depends on another")
        _check_generator(trained, inputs)
        calibration = None
        if not absence:
            _check_critic(trained, inputs)
            steps.next("calibrating the critic")
            calibration = calibrate_if_possible(trained, conditioning, load_split(trained.config.data, "held_out"))
        with package.staging_folder(model_folder) as staging:
            return _publish(
                trained, conditioning, calibration, absence, inputs, staging, model_folder, name, precision, steps
            )
    except TrainingError as error:
        raise ExportError(str(error)) from error


def _publish(
    trained: TrainedModel,
    conditioning: Conditioning,
    calibration: LogisticCalibration | None,
    absence: str,
    inputs: RandomInputs,
    staging: Path,
    model_folder: Path,
    name: str,
    precision: Weights,
    steps: Steps,
) -> Exported:
    """Write and verifies the package's files, and publishes them."""
    seed = secrets.randbits(32)  # fresh inputs at each export; a failed verification tells the seed
    data = trained.data
    steps.next(f"writing {GENERATOR}, and comparing it with PyTorch")
    generator = _write_graph(
        staging / GENERATOR,
        GeneratorGraph(trained.generator, data),
        GeneratorGraph(_at(precision, fold(trained.generator)), data),
        inputs.for_generator,
        ("samples",),
        seed,
        precision,
        scale=data.std,
    )
    critic, description = None, None
    if calibration is not None:
        steps.next(f"writing {CRITIC}, and comparing it with PyTorch")
        critic = _write_graph(
            staging / CRITIC,
            CriticGraph(trained.critic, calibration, data),
            CriticGraph(_at(precision, fold(trained.critic)), calibration, data),
            inputs.for_critic,
            ("scores", "probabilities"),
            seed,
            precision,
        )
        description = CriticDescription(
            graph=describe_graph(CRITIC, critic, opset=OPSET, precision=precision),
            loss=trained.config.loss.name,
            label_free=bool(conditioning.label_names) and not conditioning.critic_uses_labels,
            calibration=calibration if calibration.fitted else None,
        )
    steps.next("drawing the preview")
    write_preview(staging / PREVIEW, staging / GENERATOR, trained.prior, conditioning.label_count)
    spec = describe(
        name=name,
        data=data,
        prior=trained.prior,
        label_names=conditioning.label_names,
        generator=describe_graph(GENERATOR, generator, opset=OPSET, precision=precision),
        critic=description or absence,
        provenance=provenance_of_run(trained),
    )
    folder = package.publish(staging, model_folder, spec)
    return Exported(
        folder=folder,
        name=name,
        version=spec.version,
        step=trained.step,
        generator=generator,
        critic=critic,
        calibration=calibration if calibration is not None and calibration.fitted else None,
        critic_absence=absence,
        precision=precision,
    )


def _critic_absence(trained: TrainedModel) -> str:
    """Why this model's critic cannot be served; empty: it can."""
    packing = trained.config.networks.packing
    if packing > 1:
        return f"it judges {packing} samples together (networks.packing, PacGAN) and has no score for a single one"
    return ""


def _check_grown(trained: TrainedModel, run: Path) -> None:
    """Refuses a progressively grown generator whose last level is not fully in."""
    phase = getattr(trained.generator, "phase", None)
    if not isinstance(phase, GrowthState) or phase.grown:
        return
    levels = phase.final_level
    growth = timetable(trained.generator, trained.config.networks, trained.config.batch_size)
    assert growth is not None
    # The networks learn of a batch's samples with the next one.
    missing = max(0, round(growth.grown_after) - trained.samples_seen) + growth.phase(trained.samples_seen).batch_size
    told = f"level {phase.level} of {levels} ({4 << phase.level} of {4 << levels} pixels), {phase.alpha:.0%} faded in"
    if trained.checkpoint.name.startswith("best-"):
        raise ExportError(
            f"the best checkpoint of {run}, of step {trained.step:,}, is of networks that were still growing: {told}. "
            "Use --checkpoint latest; if that grows too, the same `ganserve train` command goes on"
        )
    raise ExportError(
        f"{run} is still growing: {told}. Train on for {missing:,} more real samples ({trained.samples_seen:,} were "
        "seen): `ganserve train` with more --steps"
    )


def _check_generator(trained: TrainedModel, inputs: RandomInputs) -> None:
    network = trained.generator
    given = inputs.for_generator(BATCH, torch.Generator().manual_seed(0))
    check_alone(
        lambda latents, labels=None: network(latents, labels),
        list(given.values()),
        trained.data.network_shape,
        f"generator {type(network).__name__}",
    )


def _check_critic(trained: TrainedModel, inputs: RandomInputs) -> None:
    network = trained.critic
    given = inputs.for_critic(BATCH, torch.Generator().manual_seed(0))
    try:
        check_alone(
            lambda samples, labels=None: as_output(network(to_network(samples, trained.data), labels)).scores,
            list(given.values()),
            (),
            f"critic {type(network).__name__}",
        )
    except ExportError as error:
        raise ExportError(f"{error}, or export the generator alone with --generator-only") from error


def _write_graph(
    file: Path,
    reference: nn.Module,
    module: nn.Module,
    make_inputs: Callable[[int, torch.Generator], dict[str, Tensor]],
    output_names: tuple[str, ...],
    seed: int,
    precision: Weights,
    scale: Sequence[float] = (),
) -> Difference:
    """Convert a folded module, writes it, and compares the written file with the module as it was trained."""
    example = make_inputs(2, torch.Generator().manual_seed(seed))
    onnx.save_model(to_onnx(module.eval(), example, output_names), file)
    slack = HALF_SLACK if precision == "float16" else 1.0
    return verify(file, reference.eval(), make_inputs, output_names, seed=seed, scale=scale, slack=slack)


def _at(precision: Weights, network: nn.Module) -> nn.Module:
    """The network with its weights in a precision; changed in place."""
    return network.half() if precision == "float16" else network
