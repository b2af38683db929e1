"""Turn a checkpoint of a training run into a published model package."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import onnx
import torch
from torch import Tensor, nn

from ganserve.v1 import model_spec_pb2
from ganserve_export.errors import ExportError, export_error
from ganserve_export.from_run.folding import fold
from ganserve_export.from_run.graph_modules import CriticGraph, GeneratorGraph
from ganserve_export.from_run.style_graph import SAMPLES, USED_W, style_graph, style_input_maker, style_spec
from ganserve_export.from_run.torch_to_onnx import to_onnx
from ganserve_export.package.batch_independence import BATCH, check_alone
from ganserve_export.package.build import build_package
from ganserve_export.package.calibration import MIN_SAMPLES, LogisticCalibration, calibrate
from ganserve_export.package.content import CriticToWrite, GraphToWrite, PackageContent, Published
from ganserve_export.package.latent_values import LatentValues
from ganserve_export.package.manifest import provenance_of_run
from ganserve_export.package.publishing import check_name
from ganserve_export.package.random_inputs import InputMaker, RandomInputs
from ganserve_export.typicality.typicality import fit_typicality
from ganserve_training import Samples, TrainedModel, TrainingError, load_split, load_trained
from ganserve_training.data import from_network, to_network
from ganserve_training.evaluation.reference import data_config
from ganserve_training.networks import as_output
from ganserve_training.networks.build import resolve_conditioning
from ganserve_training.networks.conditioning import Conditioning
from ganserve_training.networks.growth import timetable
from ganserve_training.networks.growth_state import GrowthState
from ganserve_training.networks.own_code import failures_told
from ganserve_training.networks.stylegan2 import Stylegan2Generator
from ganserve_training.run.command_progress import Steps
from ganserve_training.run.run_folder import Which

Weights: TypeAlias = Literal["float32", "float16"]
"""Number format that a package's networks compute in."""


@dataclass(frozen=True, kw_only=True)
class Exported(Published):
    """A package that was exported from a run."""

    step: int
    """Training step of the checkpoint."""
    critic_absence: str
    """Reason why the package has no critic; empty with one."""
    precision: Weights
    metrics_problem: str
    """Reason why the package has no figures of `ganserve evaluate`, if the run's can't be read; else empty."""


def export_run(
    run: Path,
    model_folder: Path,
    *,
    checkpoint: Which = "auto",
    data: str | None = None,
    generator_only: bool = False,
    precision: Weights = "float32",
    steps: Steps | None = None,
    trust: bool = False,
) -> Exported:
    """Export a checkpoint of a run as the next version of the model in `model_folder`, <repository>/<name>.

    Args:
        run: The folder of the training run.
        model_folder: Made if it does not exist.
        checkpoint: The checkpoint, as `ganserve_training.load_trained` takes it.
        data: Path of the data, if they are elsewhere than in training.
        generator_only: Leave the critic out. A critic that cannot score single samples is always left out.
        precision: Number format of the networks; inputs, outputs, pre- and post-processing stay as they are.
        steps: Takes a message before each step.
        trust: Allow code that the run names, as `load_trained` takes it.

    Raises:
        ExportError: The run cannot be read or exported, or a graph does not compute what its network computes. Nothing
            is published then.
    """
    check_name(model_folder)
    steps = steps or Steps()
    steps.next("reading the run")
    try:
        with failures_told():
            trained = load_trained(run, checkpoint, trust=trust)
            if data is not None:
                moved = data_config(data, trained.config.data, trained.data.sample_shape)
                trained = replace(trained, config=replace(trained.config, data=moved.anchored()))
            conditioning = resolve_conditioning(trained.config.networks, trained.data)
            _check_grown(trained, run)
            packing = trained.config.networks.packing
            absence = "it was exported without one" if generator_only else ""
            if packing > 1 and not generator_only:
                together = f"it judges {packing} samples together (networks.packing, PacGAN)"
                absence = f"{together} and has no score for a single one"
            inputs = RandomInputs(
                prior=LatentValues.of(trained.prior),
                data=trained.data,
                label_count=conditioning.label_count,
                critic_uses_labels=conditioning.critic_uses_labels,
            )
            steps.expect(4 if absence else 8)
            steps.next("checking that no sample depends on another")
            _check_generator(trained, inputs)
            critic: CriticToWrite | str = absence
            if not absence:
                _check_critic(trained, inputs)
                critic = _critic(trained, conditioning, inputs, precision, steps)
            style = style_spec(trained.generator) if isinstance(trained.generator, Stylegan2Generator) else None
            content = PackageContent(
                data=trained.data,
                prior=LatentValues.of(trained.prior),
                label_names=conditioning.label_names,
                generator=_generator(trained, style, inputs, precision),
                critic=critic,
                provenance=provenance_of_run(trained),
                style=style,
            )
            published = build_package(model_folder, content, steps)
    except TrainingError as error:
        raise export_error(error) from error
    return Exported(
        **vars(published),
        step=trained.step,
        critic_absence=absence,
        precision=precision,
        metrics_problem=trained.metrics_problem,
    )


def _generator(
    trained: TrainedModel, style: model_spec_pb2.StyleSpec | None, inputs: RandomInputs, precision: Weights
) -> GraphToWrite:
    if style is None:
        wrap = partial(GeneratorGraph, data=trained.data)
        return _graph(wrap, trained.generator, inputs.for_generator, (SAMPLES,), precision)
    make_inputs = style_input_maker(inputs.for_generator, style)

    def wrap_styles(network: nn.Module) -> nn.Module:
        assert isinstance(network, Stylegan2Generator)
        return style_graph(network, trained.data)

    return _graph(wrap_styles, trained.generator, make_inputs, (SAMPLES, USED_W), precision)


def _critic(
    trained: TrainedModel, conditioning: Conditioning, inputs: RandomInputs, precision: Weights, steps: Steps
) -> CriticToWrite:
    data = trained.config.data
    held_out = load_split(data, "held_out")
    steps.next("calibrating the critic")
    calibration = _calibration(trained, conditioning, held_out)
    steps.next("fitting what is typical of the data")
    typicality = fit_typicality(load_split(data, "train"), held_out, flip=data.flip)
    if typicality is None:
        steps.expect(7)  # one graph less
    wrap = partial(CriticGraph, calibration=calibration, data=trained.data)
    return CriticToWrite(
        graph=_graph(wrap, trained.critic, inputs.for_critic, ("scores", "probabilities"), precision),
        loss=trained.config.loss.name,
        takes_labels=conditioning.critic_uses_labels,
        calibration=calibration,
        typicality=typicality,
    )


def _graph(
    wrap: Callable[[nn.Module], nn.Module],
    network: nn.Module,
    make_inputs: InputMaker,
    output_names: tuple[str, ...],
    precision: Weights,
) -> GraphToWrite:
    """Pair a network as it was trained with the graph of its folded copy."""
    is_half = precision == "float16"

    def make() -> onnx.ModelProto:
        folded = fold(network)
        module = wrap(folded.half() if is_half else folded)
        return to_onnx(module.eval(), make_inputs(2, torch.Generator().manual_seed(0)), output_names)

    return GraphToWrite(make=make, original=wrap(network).eval(), make_inputs=make_inputs, is_half=is_half)


def _calibration(trained: TrainedModel, conditioning: Conditioning, held_out: Samples) -> LogisticCalibration:
    """Calibrate the critic on held-out data; with too few samples, return an uncalibrated sigmoid."""
    label_count = conditioning.label_count if conditioning.critic_uses_labels else 0
    if len(held_out) < MIN_SAMPLES:
        return LogisticCalibration.uncalibrated(label_count)

    def draw_labels(count: int, random: torch.Generator) -> Tensor | None:
        if conditioning.code_categories:  # the generator's labels are InfoGAN's codes, which the data do not have
            return torch.randint(0, conditioning.code_categories, (count,), generator=random)
        return None if held_out.labels is None else torch.from_numpy(held_out.labels[:count])

    return calibrate(
        held_out,
        LatentValues.of(trained.prior),
        draw_labels,
        lambda latents, labels: from_network(trained.generator(latents, labels), trained.data),
        partial(_scores, trained),
        label_count=label_count,
    )


def _scores(trained: TrainedModel, samples: Tensor, labels: Tensor | None = None) -> Tensor:
    return as_output(trained.critic(to_network(samples, trained.data), labels)).scores


def _check_grown(trained: TrainedModel, run: Path) -> None:
    """Refuse a progressively grown generator whose last level is not fully faded in."""
    phase = getattr(trained.generator, "phase", None)
    if not isinstance(phase, GrowthState) or phase.grown:
        return
    growth = timetable(trained.generator, trained.config.networks, trained.config.batch_size)
    assert growth is not None
    # The networks learn of a batch's samples with the next batch.
    missing = max(0, round(growth.grown_after) - trained.samples_seen) + growth.phase(trained.samples_seen).batch_size
    if trained.checkpoint.name.startswith("best-"):
        raise ExportError(
            f"the best checkpoint of {run}, of step {trained.step:,}, is of networks that were still growing: "
            f"{phase.standing}. Use --checkpoint latest; if that is still growing too, train on with the same "
            "`ganserve train` command"
        )
    raise ExportError(
        f"{run} is still growing: {phase.standing}. Train on for {missing:,} more real samples "
        f"({trained.samples_seen:,} were seen): `ganserve train` with more --steps"
    )


def _check_generator(trained: TrainedModel, inputs: RandomInputs) -> None:
    def call(latents: Tensor, labels: Tensor | None = None) -> Tensor:
        samples: Tensor = trained.generator(latents, labels)
        return samples

    given = inputs.for_generator(BATCH, torch.Generator().manual_seed(0))
    name = f"generator {type(trained.generator).__name__}"
    check_alone(call, list(given.values()), trained.data.network_shape, name)


def _check_critic(trained: TrainedModel, inputs: RandomInputs) -> None:
    given = inputs.for_critic(BATCH, torch.Generator().manual_seed(0))
    try:
        check_alone(partial(_scores, trained), list(given.values()), (), f"critic {type(trained.critic).__name__}")
    except ExportError as error:
        raise ExportError(f"{error}, or export the generator alone with --generator-only") from error
