"""Turn a file of another project's weights into a model package, or into a run to train on from.

N = batch, Z = latent, W = style vector w, L = layers that take one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from ganserve_export.errors import BadUsageError, ExportError, VerificationError
from ganserve_export.from_run.folding import fold
from ganserve_export.from_run.graph_modules import CriticGraph
from ganserve_export.from_run.style_graph import style_graph, style_input_maker, style_spec
from ganserve_export.from_run.torch_to_onnx import to_onnx
from ganserve_export.from_weights.lucidrains_networks import Critic as SignedCritic
from ganserve_export.from_weights.read_weights import ForeignWeights, read_weights
from ganserve_export.package.build import build_package
from ganserve_export.package.calibration import LogisticCalibration
from ganserve_export.package.content import CriticToWrite, GraphToWrite, PackageContent, Published
from ganserve_export.package.fit_to_data import fit_to_data
from ganserve_export.package.latent_values import LatentValues
from ganserve_export.package.manifest import MADE_ELSEWHERE, provenance_now
from ganserve_export.package.publishing import check_name
from ganserve_export.package.random_inputs import InputMaker, RandomInputs
from ganserve_export.typicality.typicality import Typicality
from ganserve_training import DataInfo
from ganserve_training.data import from_network, to_network
from ganserve_training.files import file_sha256
from ganserve_training.networks.build import NetworkPair
from ganserve_training.networks.latents import LatentPrior
from ganserve_training.run.command_progress import Steps

TOLERANCE = 1e-4
"""Largest difference between our networks and the NumPy ones, as a share of the largest value."""
_LARGE = 256  # pixels from which one sample is compared, not two
_SEED = 0


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """Choices for an import."""

    label_names: tuple[str, ...] = ()
    """Names of the labels; empty: 0, 1, 2 and so on, if the network takes labels."""
    generator_only: bool = False
    """Leave the critic out."""
    data: str | None = None
    """Real data that calibrate probabilities; None: sigmoid of the score."""
    truncation: float | None = None
    """psi unless a request sets it; None: 1."""


@dataclass(frozen=True, kw_only=True)
class Imported(Published):
    """A package that was made from another project's weights."""

    origin: str
    """The project."""
    networks: str
    """The networks in words."""
    numpy_difference: float
    """Largest difference between our networks and the second implementation, as a share of the largest value."""
    critic_absence: str
    """Reason why the package has no critic; empty with one."""


def import_weights(
    file: Path, model_folder: Path, options: ImportOptions | None = None, steps: Steps | None = None
) -> Imported:
    """Publish the networks in another project's file as the next version of the model in `model_folder`.

    Raises:
        ExportError: The file can't be read or holds other networks, or our networks differ from the NumPy ones. Then
            nothing is published.
    """
    options, steps = options or ImportOptions(), steps or Steps()
    check_name(model_folder)
    _check(options)
    steps.expect(5 if options.generator_only else 6 if options.data is None else 8)
    steps.next(f"reading {file.name}")
    weights = read_weights(file, with_critic=not options.generator_only)
    data = weights.data(_label_names(weights, options, file))
    steps.next("building the networks")
    try:
        pair = weights.networks(data)
    except ExportError as error:
        raise ExportError(f"{file}: {error}.") from error
    steps.next("comparing them with their NumPy form")
    difference = check_with_numpy(weights, pair, file)
    prior = LatentValues.of(LatentPrior(dim=pair.generator.latent_dim, distribution="normal", continuous_codes=0))  # type: ignore[arg-type]
    takes_labels = weights.label_count > 0
    inputs = RandomInputs(prior=prior, data=data, label_count=weights.label_count, critic_uses_labels=takes_labels)
    spec = style_spec(pair.generator)  # type: ignore[arg-type]
    if options.truncation is not None:
        spec.default_truncation = options.truncation
    provenance = provenance_now()
    origin = {"file": file.name, "sha256": file_sha256(file), "from": weights.origin}
    provenance.config.update({MADE_ELSEWHERE: origin})
    critic: CriticToWrite | str = "it was imported without one"
    if weights.has_critic:
        if options.data is not None:
            steps.next("fitting probabilities to the data")
        critic = _critic(pair, weights.loss, data, prior, inputs, options)
    content = PackageContent(
        data=data,
        prior=prior,
        label_names=data.label_names,
        generator=_graph(
            lambda network: style_graph(network, data),  # type: ignore[arg-type]
            pair.generator,
            style_input_maker(inputs.for_generator, spec),
            ("samples", "used_w"),
        ),
        critic=critic,
        provenance=provenance,
        style=spec,
    )
    published = build_package(model_folder, content, steps)
    return Imported(
        **vars(published),
        origin=weights.origin,
        networks=weights.describe(),
        numpy_difference=difference,
        critic_absence=critic if isinstance(critic, str) else "",
    )


def _check(options: ImportOptions) -> None:
    if options.generator_only and options.data is not None:
        raise BadUsageError(f"--data {options.data}: it calibrates the critic. Leave out --generator-only or --data.")
    if options.truncation is not None and not 0.0 <= options.truncation <= 1.0:
        raise BadUsageError(f"--truncation {options.truncation:g}: expected psi from 0 to 1.")


def _label_names(weights: ForeignWeights, options: ImportOptions, file: Path) -> tuple[str, ...]:
    names, count = options.label_names, weights.label_count
    if names and len(names) != count:
        takes = f"takes {count} labels" if count else "takes no labels"
        fix = "Give as many names" if count else "Leave --labels out"
        raise BadUsageError(f"--labels: {len(names)} names, but the generator in {file} {takes}. {fix}.")
    return names or tuple(map(str, range(count)))


def _critic(
    pair: NetworkPair, loss: str, data: DataInfo, prior: LatentValues, inputs: RandomInputs, options: ImportOptions
) -> CriticToWrite:
    count = len(data.label_names)
    calibration, typicality = LogisticCalibration.uncalibrated(count), None
    if options.data is not None:
        calibration, typicality = _fit(pair, data, prior, options.data)
        if not calibration.informative and isinstance(pair.critic, SignedCritic):
            pair.critic.sign = -pair.critic.sign  # The data tell which loss trained it; its file doesn't.
            calibration, typicality = _fit(pair, data, prior, options.data)
    return CriticToWrite(
        graph=_graph(
            partial(CriticGraph, calibration=calibration, data=data),
            pair.critic,
            inputs.for_critic,
            ("scores", "probabilities"),
        ),
        loss=loss,
        takes_labels=count > 0,
        calibration=calibration,
        typicality=typicality,
    )


def _fit(
    pair: NetworkPair, data: DataInfo, prior: LatentValues, source: str
) -> tuple[LogisticCalibration, Typicality | None]:
    return fit_to_data(
        source,
        data.sample_shape,
        prior,
        data.label_names,
        generate=lambda latents, labels: from_network(pair.generator(latents, labels), data),
        score=lambda samples, labels: pair.critic(to_network(samples, data), labels),
        critic_label_count=len(data.label_names),
        name="generator",
    )


def _graph(
    wrap: Callable[[nn.Module], nn.Module], network: nn.Module, make_inputs: InputMaker, output_names: tuple[str, ...]
) -> GraphToWrite:
    def make() -> onnx.ModelProto:
        return to_onnx(wrap(fold(network)).eval(), make_inputs(2, torch.Generator().manual_seed(0)), output_names)

    return GraphToWrite(make=make, original=wrap(network).eval(), make_inputs=make_inputs)


@torch.no_grad()
def check_with_numpy(weights: ForeignWeights, pair: NetworkPair, file: Path) -> float:
    """Compare our networks with the second implementation; return the largest difference, relative to the values.

    Raises:
        VerificationError: It is larger than `TOLERANCE`.
    """
    random = torch.Generator().manual_seed(_SEED)
    count = 1 if weights.side >= _LARGE else 2
    latents = torch.randn(count, pair.generator.latent_dim, generator=random)  # type: ignore[call-overload]
    labels, one_hot = None, None
    if weights.label_count:
        labels = torch.randint(0, weights.label_count, (count,), generator=random)
        one_hot = np.eye(weights.label_count, dtype=np.float32)[labels.numpy()]
    images = weights.compute_images(latents.numpy(), one_hot)
    compared = {"images": (pair.generator(latents, labels), images)}
    if weights.has_critic:
        shown = np.clip(images, -1.0, 1.0)
        scores = weights.compute_scores(shown, one_hot, pair.critic)
        compared["scores"] = pair.critic(torch.from_numpy(shown), labels), scores
    return max(_difference(file, what, ours, theirs) for what, (ours, theirs) in compared.items())


def _difference(file: Path, what: str, ours: Tensor, theirs: npt.NDArray[np.float32]) -> float:
    size = max(1.0, float(np.abs(theirs).max()))
    difference = float(np.abs(ours.numpy() - theirs).max()) / size
    if not difference <= TOLERANCE:  # NaN, too
        raise VerificationError(
            f"{file}: the {what} of the imported network differ from those of its NumPy form by {difference:.2g} of "
            f"their size (at most {TOLERANCE:g} expected). Nothing was published. Please report this file."
        )
    return difference
