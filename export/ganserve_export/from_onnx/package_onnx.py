"""Turn ONNX files that were made elsewhere into a published model package."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ganserve.v1 import model_spec_pb2
from ganserve_export.errors import BadUsageError, ExportError
from ganserve_export.from_onnx.critic import ForeignCritic
from ganserve_export.from_onnx.foreign_graph import ForeignGraph
from ganserve_export.from_onnx.generator import ForeignGenerator
from ganserve_export.from_onnx.onnx_options import OnnxOptions
from ganserve_export.from_onnx.questions import Questions
from ganserve_export.package.build import build_package
from ganserve_export.package.calibration import LogisticCalibration
from ganserve_export.package.content import CriticToWrite, GraphToWrite, PackageContent, Published
from ganserve_export.package.fit_to_data import fit_to_data
from ganserve_export.package.manifest import MADE_ELSEWHERE, provenance_now
from ganserve_export.package.publishing import check_name
from ganserve_export.package.random_inputs import InputMaker, RandomInputs
from ganserve_export.package.style_inputs import random_style_inputs
from ganserve_training import DataInfo
from ganserve_training.run.command_progress import Steps

NO_CRITIC = "it was packaged without one"


@dataclass(frozen=True, kw_only=True)
class Packaged(Published):
    """A package that was made from ONNX files."""

    generator_is: str
    """Roles found for the generator's inputs and output."""
    critic_is: str
    """Roles found for the critic's inputs and output; empty without a critic."""


def package_onnx(
    generator_file: Path,
    critic_file: Path | None,
    model_folder: Path,
    options: OnnxOptions | None = None,
    steps: Steps | None = None,
) -> Packaged:
    """Wrap ONNX files made elsewhere as the next version of the model in `model_folder`, <repository>/<name>.

    Raises:
        ExportError: A file cannot be read, can be understood in several ways or cannot be served, or a wrapped graph
            does not compute what its original does. Nothing is published then.
    """
    options, steps = options or OnnxOptions(), steps or Steps()
    check_name(model_folder)
    options.check(critic_file)
    steps.expect(3 if critic_file is None else 5 if options.data is None else 7)
    questions = Questions()
    steps.next(f"trying {generator_file.name}")
    one_by_one, constants = options.batch == "one", options.constants
    graph = ForeignGraph(generator_file, "generator", constants=constants, one_by_one=one_by_one, noise=True)
    critic_graph = None
    if critic_file is not None:
        critic_graph = ForeignGraph(critic_file, "critic", constants=constants, one_by_one=one_by_one)
    _check_constants(constants, [each for each in (graph, critic_graph) if each is not None])
    generator = ForeignGenerator(graph, options, questions)
    critic = None
    if critic_file is not None and critic_graph is not None:
        steps.next(f"trying {critic_file.name}")
        critic = ForeignCritic(critic_graph, generator, options, questions)
    questions.settle()
    if critic_file is None and options.range is not None and generator.pixel_range is None:
        raise ExportError(
            f"--range {options.range}: the {generator.graph.name} makes uint8 images, which always range from 0 to "
            "255. Leave --range out"
        )
    data = DataInfo(sample_shape=generator.sample_shape, mean=generator.mean, std=generator.std)
    inputs = RandomInputs(
        prior=generator.values,
        data=data,
        label_count=generator.label_count,
        critic_uses_labels=critic is not None and critic.labels is not None,
    )
    style = generator.style
    if critic is not None and options.data is not None:
        steps.next("fitting probabilities to the data")
    with_critic = NO_CRITIC if critic is None else _critic(generator, critic, options, inputs)
    provenance = provenance_now()
    provenance.config.update({MADE_ELSEWHERE: _origin(generator, critic, options)})
    content = PackageContent(
        data=data,
        prior=generator.values,
        label_names=options.label_names,
        generator=GraphToWrite(
            make=generator.wrap,
            original=generator if style is None else generator.truncated,
            make_inputs=inputs.for_generator if style is None else _with_style(inputs.for_generator, style),
            original_name=generator.graph.name,
            is_half=generator.graph.is_half,
        ),
        critic=with_critic,
        provenance=provenance,
        style=style,
    )
    published = build_package(model_folder, content, steps)
    return Packaged(**vars(published), generator_is=str(generator), critic_is="" if critic is None else str(critic))


def _with_style(make_inputs: InputMaker, style: model_spec_pb2.StyleSpec) -> InputMaker:
    """Return a maker that also draws psi."""
    return lambda batch, random: (drawn := make_inputs(batch, random)) | random_style_inputs(style, drawn, random)


def _check_constants(constants: Mapping[str, str], graphs: Sequence[ForeignGraph]) -> None:
    for name, value in constants.items():
        if not any(name in graph.constants for graph in graphs):
            listed = ", ".join(str(tensor) for graph in graphs for tensor in graph.inputs)
            raise BadUsageError(f"--constant {name}={value}: there is no such input. There are {listed}")


def _critic(
    generator: ForeignGenerator, critic: ForeignCritic, options: OnnxOptions, inputs: RandomInputs
) -> CriticToWrite:
    calibration, typicality = LogisticCalibration.uncalibrated(critic.label_count), None
    if options.data is not None:
        fit = partial(
            fit_to_data,
            options.data,
            generator.sample_shape,
            generator.values,
            options.label_names,
            generate=generator,
            score=critic.scores,
            critic_label_count=critic.label_count,
            name=generator.graph.name,
        )
        calibration, typicality = fit()
        if critic.learn_sign(calibration):
            calibration, typicality = fit()
    graph = GraphToWrite(
        make=lambda: critic.wrap(calibration),
        original=critic.reference(calibration),
        make_inputs=inputs.for_critic,
        original_name=critic.graph.name,
        is_half=critic.graph.is_half,
    )
    return CriticToWrite(
        graph=graph,
        loss="unknown",
        takes_labels=critic.labels is not None,
        calibration=calibration,
        typicality=typicality,
    )


def _origin(generator: ForeignGenerator, critic: ForeignCritic | None, options: OnnxOptions) -> dict[str, Any]:
    """Return what the manifest says about the files: names, digests, producers, and how they were understood."""
    given = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(options).items()}
    origin: dict[str, Any] = {"options": given}
    for role, foreign in (("generator", generator), ("critic", critic)):
        if foreign is not None:
            model = foreign.graph.model
            origin[role] = {
                "files": foreign.graph.files,
                "producer": f"{model.producer_name} {model.producer_version}".strip(),
                "taken_for": str(foreign),
            }
    return origin
