"""Turn a file of another project's weights into a model package, or into a run to train on from.

N = batch, Z = latent, W = style vector w, L = layers that take one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

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
from ganserve_export.from_weights import numpy_stylegan2, rosinality, stylegan2_ada
from ganserve_export.from_weights.read_file import read_file
from ganserve_export.from_weights.stylegan2_weights import Stylegan2Weights
from ganserve_export.package.build import build_package
from ganserve_export.package.calibration import LogisticCalibration
from ganserve_export.package.content import CriticToWrite, GraphToWrite, PackageContent, Published
from ganserve_export.package.fit_to_data import fit_to_data
from ganserve_export.package.latent_values import LatentValues
from ganserve_export.package.manifest import MADE_ELSEWHERE, provenance_now
from ganserve_export.package.publishing import check_name
from ganserve_export.package.random_inputs import InputMaker, RandomInputs
from ganserve_training import DataInfo
from ganserve_training.data import from_network, to_network
from ganserve_training.errors import ConfigError
from ganserve_training.files import file_sha256
from ganserve_training.networks.build import NetworkPair
from ganserve_training.networks.latents import LatentPrior
from ganserve_training.run.command_progress import Steps

TOLERANCE = 1e-4
"""Largest difference between our networks and the NumPy ones, as a share of the largest value."""
_LARGE = 512  # pixels from which one sample is compared, not two
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


def read_weights(file: Path, *, with_critic: bool) -> Stylegan2Weights:
    """Read the weights of a StyleGAN2 from another project's file, without running code in it.

    Raises:
        ExportError: It holds something else, or a network that ganserve doesn't know; the message says what.
    """
    content = read_file(file)
    try:
        if stylegan2_ada.is_network_pickle(content):
            weights = stylegan2_ada.read_network_pickle(content, with_critic=with_critic)
        elif rosinality.is_checkpoint(content):
            weights = rosinality.read_checkpoint(content, with_critic=with_critic)
        else:
            raise ExportError(unknown(content))
        weights.config().levels((weights.channels, weights.side, weights.side))
        return weights
    except ExportError as error:
        raise type(error)(f"{file}: {error}.") from error
    except ConfigError as error:
        raise ExportError(f"{file}: its networks have no configuration here: {error}") from error
    except (KeyError, AttributeError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise ExportError(f"{file}: its networks are no StyleGAN2 that ganserve knows ({error!r}).") from error


def unknown(content: Any) -> str:
    """Say what a file holds instead of a StyleGAN2."""
    held = f"a value of type {type(content).__name__}"
    if isinstance(content, dict):
        held = f"a dictionary of {', '.join(str(name)[:40] for name in list(content)[:8]) or 'nothing'}"
    if isinstance(content, dict) and isinstance(content.get("GAN"), dict):
        return (
            "is a checkpoint of lucidrains/stylegan2-pytorch, whose networks are another variant of StyleGAN2 "
            "(bilinear doubling, styles of levels, one noise image). Export its generator to ONNX with that code, and "
            "give the file to `ganserve package`"
        )
    return (
        f"holds {held}, no generator that ganserve knows. Give a network pickle of stylegan2-ada-pytorch or stylegan3, "
        "or a checkpoint with the names of rosinality/stylegan2-pytorch"
    )


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
    steps.expect(5 if options.generator_only else 7)
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
    if weights.critic is not None:
        if options.data is not None:
            steps.next("fitting probabilities to the data")
        critic = _critic(pair, data, prior, inputs, options)
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
        networks=_describe(weights),
        numpy_difference=difference,
        critic_absence=critic if isinstance(critic, str) else "",
    )


def _check(options: ImportOptions) -> None:
    if options.generator_only and options.data is not None:
        raise BadUsageError(f"--data {options.data}: it calibrates the critic. Leave out --generator-only or --data.")
    if options.truncation is not None and not 0.0 <= options.truncation <= 1.0:
        raise BadUsageError(f"--truncation {options.truncation:g}: expected psi from 0 to 1.")


def _label_names(weights: Stylegan2Weights, options: ImportOptions, file: Path) -> tuple[str, ...]:
    names, count = options.label_names, weights.label_count
    if names and len(names) != count:
        takes = f"takes {count} labels" if count else "takes no labels"
        fix = "Give as many names" if count else "Leave --labels out"
        raise BadUsageError(f"--labels: {len(names)} names, but the generator in {file} {takes}. {fix}.")
    return names or tuple(map(str, range(count)))


def _describe(weights: Stylegan2Weights) -> str:
    config = weights.config()
    labels = f", {weights.label_count} labels" if weights.label_count else ""
    kind = {1: "gray", 3: "RGB"}.get(weights.channels, f"{weights.channels} channels")
    return (
        f"StyleGAN2, {weights.side}x{weights.side} {kind}{labels}, latent {config.latent_dim}, "
        f"w {2 * int(np.log2(weights.side)) - 2} x {config.w_dim}"
    )


def _critic(
    pair: NetworkPair, data: DataInfo, prior: LatentValues, inputs: RandomInputs, options: ImportOptions
) -> CriticToWrite:
    count = len(data.label_names)
    calibration, typicality = LogisticCalibration.uncalibrated(count), None
    if options.data is not None:
        calibration, typicality = fit_to_data(
            options.data,
            data.sample_shape,
            prior,
            data.label_names,
            generate=lambda latents, labels: from_network(pair.generator(latents, labels), data),
            score=lambda samples, labels: pair.critic(to_network(samples, data), labels),
            critic_label_count=count,
            name="generator",
        )
    return CriticToWrite(
        graph=_graph(
            partial(CriticGraph, calibration=calibration, data=data),
            pair.critic,
            inputs.for_critic,
            ("scores", "probabilities"),
        ),
        loss="non-saturating",
        takes_labels=count > 0,
        calibration=calibration,
        typicality=typicality,
    )


def _graph(
    wrap: Callable[[nn.Module], nn.Module], network: nn.Module, make_inputs: InputMaker, output_names: tuple[str, ...]
) -> GraphToWrite:
    def make() -> onnx.ModelProto:
        return to_onnx(wrap(fold(network)).eval(), make_inputs(2, torch.Generator().manual_seed(0)), output_names)

    return GraphToWrite(make=make, original=wrap(network).eval(), make_inputs=make_inputs)


@torch.no_grad()
def check_with_numpy(weights: Stylegan2Weights, pair: NetworkPair, file: Path) -> float:
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
    generator = {name: tensor.numpy() for name, tensor in weights.generator.items()}
    w = numpy_stylegan2.mapping(generator, latents.numpy(), one_hot)
    layers = 2 * int(np.log2(weights.side)) - 2
    images = numpy_stylegan2.synthesis(generator, np.repeat(w[:, None], layers, axis=1), clamp=weights.clamp)
    compared = {"images": (pair.generator(latents, labels), images)}
    if weights.critic is not None:
        critic = {name: tensor.numpy() for name, tensor in weights.critic.items()}
        deviation = float(pair.critic.b4.mbstd.running_mean) if pair.critic.b4.mbstd is not None else 0.0  # type: ignore[union-attr, arg-type]
        shown = np.clip(images, -1.0, 1.0)
        scores = numpy_stylegan2.critic(critic, shown, one_hot, deviation, clamp=weights.clamp)
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
