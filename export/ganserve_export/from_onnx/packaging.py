"""ONNX files that were made elsewhere -> a published model package."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import onnx
import torch

from ganserve.v1 import model_spec_pb2
from ganserve_export.errors import ExportError
from ganserve_export.from_onnx.critic import ForeignCritic, OutputKind
from ganserve_export.from_onnx.generator import ForeignGenerator
from ganserve_export.from_onnx.onnx_files import MAX_BYTES, Source, precision_of
from ganserve_export.from_run.critic_scores import SEED, fit_to_scores, samples_to_score
from ganserve_export.from_run.export import CRITIC, GENERATOR, PREVIEW
from ganserve_export.package import publishing as package
from ganserve_export.package.calibration import LogisticCalibration
from ganserve_export.package.manifest import MADE_ELSEWHERE, CriticDescription, describe, describe_graph, provenance_now
from ganserve_export.package.preview import write_preview
from ganserve_export.package.random_inputs import RandomInputs
from ganserve_export.package.verification import HALF_SLACK, Difference, verify
from ganserve_training import DataInfo, Samples, TrainingError, load_split
from ganserve_training.evaluation.reference import data_config

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ganserve_training.config.networks import LatentDistribution

    from ganserve_export.from_onnx.pixels import PixelRange

NO_CRITIC = "it was packaged without one"


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxOptions:
    """How to understand ONNX files that were made elsewhere."""

    label_names: tuple[str, ...] = ()
    """Of the labels that the generator takes, in the order of their indices; empty: it takes none."""
    range: PixelRange | None = None
    """What black and white are, where images are floats."""
    layout: Literal["auto", "nchw", "nhwc"] = "auto"
    """Of the generator's images; auto: by the number of channels."""
    latent_distribution: LatentDistribution = "normal"
    """What latents are drawn from: the standard normal distribution, or uniformly from [-1, 1)."""
    latents: str | None = None
    """Name of the generator's input for latents; None: found by type and shape, and so for all of these."""
    labels_input: str | None = None
    """Name of the generator's input for labels."""
    output: str | None = None
    """Name of the generator's output."""
    critic_samples: str | None = None
    """Name of the critic's input for samples."""
    critic_labels: str | None = None
    """Name of the critic's input for labels."""
    critic_scores: str | None = None
    """Name of the critic's output."""
    critic_output: OutputKind = "auto"
    """What the critic's output is; auto: a probability if it ends in a sigmoid, else a score."""
    score_higher: Literal["real", "generated"] = "real"
    """Which samples the critic gives higher outputs."""
    data: str | None = None
    """Real data to calibrate the critic's probabilities with: a source, or the path of a file or folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Packaged:
    """What was published, what its files were taken for, and how it was verified."""

    folder: Path
    """The package, <repository>/<name>/<version>."""
    name: str
    """The model's name."""
    version: int
    """The model's version."""
    generator: Difference
    """How far the package's graph is from the original file."""
    generator_is: str
    """What the original's inputs and output were taken for."""
    critic: Difference | None
    """How far the package's graph is from the original file; None: the package has no critic."""
    critic_is: str
    """What the original's inputs and output were taken for; empty without a critic."""
    calibration: LogisticCalibration | None
    """How the critic's probabilities were calibrated; None without a critic, or without data."""


def package_onnx(
    generator_file: Path, critic_file: Path | None, model_folder: Path, options: OnnxOptions | None = None
) -> Packaged:
    """Wrap ONNX files made elsewhere as the next version of a model.

    Args:
        generator_file: The generator.
        critic_file: The critic, if there is one.
        model_folder: Where the model's versions lie: <repository>/<name>. Made if it does not exist.
        options: How to understand the files.

    Raises:
        ExportError: A file cannot be read, is not understood without doubt or cannot be served, or a wrapped graph does
            not compute what its original does. Nothing is published then.
    """
    options = options or OnnxOptions()
    name = package.check_name(model_folder)
    _check_options(options, critic_file)
    generator = ForeignGenerator(
        Source(generator_file, "generator"),
        label_count=len(options.label_names),
        distribution=options.latent_distribution,
        pixel_range=options.range,
        layout=options.layout,
        latents=options.latents,
        labels=options.labels_input,
        output=options.output,
    )
    critic, calibration = None, LogisticCalibration.uncalibrated(0)
    if critic_file is not None:
        critic = ForeignCritic(
            Source(critic_file, "critic"),
            generator,
            pixel_range=options.range,
            output_kind=options.critic_output,
            score_higher=options.score_higher,
            samples=options.critic_samples,
            labels=options.critic_labels,
            scores=options.critic_scores,
        )
        calibration = LogisticCalibration.uncalibrated(critic.label_count)
        if options.data is not None:
            calibration = _calibrate(generator, critic, options.data, options.label_names)
    elif options.range is not None and generator.pixel_range is None:
        raise ExportError(
            f"the {generator.source.name} makes uint8 images, whose range is 0 to 255 anyway: leave --range out"
        )
    with package.staging_folder(model_folder) as staging:
        return _publish(generator, critic, calibration, options, staging, model_folder, name)


def _check_options(options: OnnxOptions, critic_file: Path | None) -> None:
    if len(set(options.label_names)) != len(options.label_names) or not all(options.label_names):
        raise ExportError("--labels must be distinct and not empty")
    if critic_file is None:
        given = {
            "--data": options.data is not None,
            "--critic-samples": options.critic_samples is not None,
            "--critic-labels": options.critic_labels is not None,
            "--critic-scores": options.critic_scores is not None,
            "--critic-output": options.critic_output != "auto",
            "--score-higher": options.score_higher != "real",
        }
        for flag, is_given in given.items():
            if is_given:
                raise ExportError(f"{flag} is about a critic: name its file after the generator's, or leave it out")


def _publish(
    generator: ForeignGenerator,
    critic: ForeignCritic | None,
    calibration: LogisticCalibration,
    options: OnnxOptions,
    staging: Path,
    model_folder: Path,
    name: str,
) -> Packaged:
    """Write and verifies the package's files, and publishes them."""
    seed = secrets.randbits(32)  # fresh inputs each time; a failed verification tells the seed
    data = DataInfo(sample_shape=generator.sample_shape, mean=generator.mean, std=generator.std)
    inputs = RandomInputs(
        generator.prior,
        data,
        label_count=generator.label_count,
        critic_uses_labels=critic is not None and critic.labels is not None,
    )
    wrapped = generator.wrap()
    _write(wrapped, staging / GENERATOR)
    difference = verify(
        staging / GENERATOR,
        generator,
        inputs.for_generator,
        ("samples",),
        seed=seed,
        scale=generator.std,
        name=generator.source.name,
        slack=HALF_SLACK if generator.source.is_half else 1.0,
    )
    description, critic_difference = None, None
    if critic is not None:
        wrapped_critic = critic.wrap(calibration)
        _write(wrapped_critic, staging / CRITIC)
        critic_difference = verify(
            staging / CRITIC,
            critic.reference(calibration),
            inputs.for_critic,
            ("scores", "probabilities"),
            seed=seed,
            name=critic.source.name,
            slack=HALF_SLACK if critic.source.is_half else 1.0,
        )
        description = CriticDescription(
            graph=_describe(CRITIC, wrapped_critic, critic_difference),
            loss="unknown",
            label_free=critic.label_free,
            calibration=calibration if calibration.fitted else None,
        )
    write_preview(staging / PREVIEW, staging / GENERATOR, generator.prior, generator.label_count)
    provenance = provenance_now()
    provenance.config.update({MADE_ELSEWHERE: _origin(generator, critic, options)})
    spec = describe(
        name=name,
        data=data,
        prior=generator.prior,
        label_names=options.label_names,
        generator=_describe(GENERATOR, wrapped, difference),
        critic=description or NO_CRITIC,
        provenance=provenance,
    )
    folder = package.publish(staging, model_folder, spec)
    return Packaged(
        folder=folder,
        name=name,
        version=spec.version,
        generator=difference,
        generator_is=str(generator),
        critic=critic_difference,
        critic_is="" if critic is None else str(critic),
        calibration=calibration if calibration.fitted else None,
    )


def _write(model: onnx.ModelProto, file: Path) -> None:
    if model.ByteSize() > MAX_BYTES:
        raise ExportError(f"{file.name} would have more than 2 GiB: a package's graph is one file of less")
    onnx.save_model(model, file)


def _describe(file: str, model: onnx.ModelProto, difference: Difference) -> model_spec_pb2.GraphSpec:
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    return describe_graph(file, difference, opset=opset, precision=precision_of(model))


def _origin(generator: ForeignGenerator, critic: ForeignCritic | None, options: OnnxOptions) -> dict[str, Any]:
    """What the manifest tells of the files: their names, digests and makers, and how they were understood."""
    origin: dict[str, Any] = {"options": {**asdict(options), "label_names": list(options.label_names)}}
    for role, foreign in (("generator", generator), ("critic", critic)):
        if foreign is not None:
            model = foreign.source.model
            origin[role] = {
                "files": [asdict(file) for file in foreign.source.files],
                "producer": f"{model.producer_name} {model.producer_version}".strip(),
                "taken_for": str(foreign),
            }
    return origin


def _calibrate(
    generator: ForeignGenerator, critic: ForeignCritic, data: str, label_names: Sequence[str]
) -> LogisticCalibration:
    """Fits the critic's probabilities on held-out samples of the data and on as many generated ones."""
    try:
        held_out = load_split(data_config(data, None, generator.sample_shape), "held_out")
        if held_out.info.sample_shape != generator.sample_shape:
            raise ExportError(
                f"the {generator.source.name} makes samples of shape {list(generator.sample_shape)}, the data have "
                f"{list(held_out.info.sample_shape)}: give the data that it learned from with --data"
            )
        count = samples_to_score(held_out)
        random = torch.Generator().manual_seed(SEED)
        latents = generator.prior.draw(count, random)
        labels = _labels(held_out, count, label_names, required=critic.labels is not None, random=random)

        def generate(rows: slice) -> torch.Tensor:
            return generator(latents[rows], None if labels is None else labels[rows])

        def score(samples: torch.Tensor, rows: slice) -> torch.Tensor:
            return critic.scores(samples, labels[rows] if critic.labels is not None and labels is not None else None)

        return fit_to_scores(
            held_out,
            generate,
            score,
            labels=labels.numpy() if critic.labels is not None and labels is not None else None,
            label_count=critic.label_count,
        )
    except TrainingError as error:
        raise ExportError(str(error)) from error


def _labels(
    held_out: Samples, count: int, label_names: Sequence[str], *, required: bool, random: torch.Generator
) -> torch.Tensor | None:
    """Indice into the model's labels: those of the data by name, or uniform ones where nothing asks for the data's."""
    if not label_names:
        return None
    names, place = held_out.info.label_names, {name: index for index, name in enumerate(label_names)}
    if held_out.labels is not None and set(names) <= set(label_names):
        return torch.tensor([place[name] for name in names])[torch.from_numpy(held_out.labels[:count])]
    if required:
        theirs = f"the labels {', '.join(names[:10])}" if names else "no labels"
        raise ExportError(
            f"the critic takes labels, and the data have {theirs}: they must be among --labels, "
            f"{', '.join(label_names[:10])}"
        )
    return torch.randint(0, len(label_names), (count,), generator=random)
