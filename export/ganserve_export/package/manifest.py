"""Describes a package: the ModelSpec of ganserve.v1 whose JSON form is manifest.json."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from ganserve.v1 import model_spec_pb2, tensor_pb2
from ganserve_training import config_to_dict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ganserve_export.package.calibration import LogisticCalibration
    from ganserve_export.package.verification import Difference
    from ganserve_training import DataInfo, TrainedModel
    from ganserve_training.networks.latents import LatentPrior

_DISTRIBUTIONS = {
    "normal": model_spec_pb2.LATENT_DISTRIBUTION_NORMAL,
    "uniform": model_spec_pb2.LATENT_DISTRIBUTION_UNIFORM,
}
Precision: TypeAlias = Literal["float32", "float16", "bfloat16"]
"""Of a graph's weights."""
_PRECISIONS: dict[Precision, model_spec_pb2.Precision.ValueType] = {
    "float32": model_spec_pb2.PRECISION_FLOAT32,
    "float16": model_spec_pb2.PRECISION_FLOAT16,
    "bfloat16": model_spec_pb2.PRECISION_BFLOAT16,
}
MADE_ELSEWHERE = "made_elsewhere"
"""Key of provenance.config that packages of files made elsewhere have in place of a training configuration."""
LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime-gpu", "onnxruntime", "numpy", "scikit-learn")


@dataclass(frozen=True, kw_only=True, slots=True)
class CriticDescription:
    """A verified critic."""

    graph: model_spec_pb2.GraphSpec
    """Its graph, from `describe_graph`."""
    loss: str
    """What it was trained with."""
    label_free: bool
    """It takes no labels although the generator does."""
    calibration: LogisticCalibration | None
    """What turns its scores into probabilities; None: nothing was fitted, and they are no odds to go by."""


def describe(
    *,
    name: str,
    data: DataInfo,
    prior: LatentPrior,
    label_names: Sequence[str],
    generator: model_spec_pb2.GraphSpec,
    critic: CriticDescription | str,
    provenance: model_spec_pb2.Provenance,
) -> model_spec_pb2.ModelSpec:
    """The manifest of a package, but for version and files, which are known only when it is published.

    Args:
        name: The model's name.
        data: What a sample is.
        prior: What latents are drawn from.
        label_names: Of the labels that the generator takes; empty: none.
        generator: The generator's graph, from `describe_graph`.
        critic: The critic, or why the package has none.
        provenance: Where it came from.
    """
    spec = model_spec_pb2.ModelSpec(
        name=name,
        sample=_sample(data),
        latent=_latent(prior),
        label_names=label_names,
        generator=generator,
        provenance=provenance,
    )
    if isinstance(critic, str):
        spec.critic_absence = critic
        return spec
    spec.critic.CopyFrom(critic.graph)
    spec.score.loss = critic.loss
    spec.score.label_free = critic.label_free
    calibration = critic.calibration
    if calibration is not None:
        spec.score.calibration.CopyFrom(
            model_spec_pb2.Calibration(
                slope=calibration.slope,
                intercepts=calibration.intercepts,
                real_count=calibration.real_count,
                generated_count=calibration.generated_count,
                log_loss=calibration.log_loss,
            )
        )
    return spec


def _sample(data: DataInfo) -> model_spec_pb2.SampleSpec:
    return model_spec_pb2.SampleSpec(
        kind=model_spec_pb2.SAMPLE_KIND_IMAGE if data.is_image else model_spec_pb2.SAMPLE_KIND_VECTOR,
        data_type=tensor_pb2.DATA_TYPE_UINT8 if data.is_image else tensor_pb2.DATA_TYPE_FLOAT32,
        shape=data.sample_shape,
    )


def _latent(prior: LatentPrior) -> model_spec_pb2.LatentSpec:
    """The prior's continuous codes, its last values, become controls."""
    first = prior.dim - prior.continuous_codes
    return model_spec_pb2.LatentSpec(
        dimension=prior.dim,
        distribution=_DISTRIBUTIONS[prior.distribution],
        controls=[
            model_spec_pb2.LatentControl(
                name=f"c{code}",
                index=first + code,
                low=-1.0,
                high=1.0,
                description=f"continuous code {code}: what it changes was found in training (InfoGAN)",
            )
            for code in range(prior.continuous_codes)
        ],
    )


def describe_graph(
    file: str,
    difference: Difference,
    *,
    opset: int,
    precision: Precision = "float32",
) -> model_spec_pb2.GraphSpec:
    """The manifest's entry for a verified graph."""
    return model_spec_pb2.GraphSpec(
        file=file,
        opset=opset,
        precision=_PRECISIONS[precision],
        verification=model_spec_pb2.Verification(
            batch_sizes=difference.batch_sizes, max_abs_difference=difference.largest, tolerance=difference.tolerance
        ),
    )


def provenance_now() -> model_spec_pb2.Provenance:
    """Time and versions; what the package was made from is still to be added."""
    provenance = model_spec_pb2.Provenance(
        ganserve_version=importlib.metadata.version("ganserve"), libraries=_installed()
    )
    provenance.created.GetCurrentTime()
    return provenance


def provenance_of_run(trained: TrainedModel) -> model_spec_pb2.Provenance:
    """Of a model that ganserve trained."""
    provenance = provenance_now()
    provenance.step = trained.step
    provenance.checkpoint_sha256 = trained.checkpoint_sha256
    provenance.metrics.update(trained.metrics)
    provenance.config.update(config_to_dict(trained.config))
    return provenance


def _installed() -> dict[str, str]:
    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue  # of onnxruntime and onnxruntime-gpu, one is installed
    return versions
