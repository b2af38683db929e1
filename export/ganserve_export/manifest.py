"""Describes a package: the ModelSpec of ganserve.v1 whose JSON form is manifest.json."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ganserve.v1 import model_spec_pb2, tensor_pb2
from ganserve_export.conversion import OPSET
from ganserve_training import config_to_dict

if TYPE_CHECKING:
    from ganserve_export.calibration import LogisticCalibration
    from ganserve_export.verification import Difference
    from ganserve_training import DataInfo, TrainedModel
    from ganserve_training.latents import LatentPrior
    from ganserve_training.networks.conditioning import Conditioning

_DISTRIBUTIONS = {
    "normal": model_spec_pb2.LATENT_DISTRIBUTION_NORMAL,
    "uniform": model_spec_pb2.LATENT_DISTRIBUTION_UNIFORM,
}
LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime-gpu", "onnxruntime", "numpy", "scikit-learn")


@dataclass(frozen=True, kw_only=True, slots=True)
class CriticDescription:
    """A verified critic."""

    file: str
    """Name of its graph's file."""
    difference: Difference
    """How far its graph is from PyTorch."""
    calibration: LogisticCalibration
    """How its probabilities were calibrated."""


def describe(
    trained: TrainedModel,
    conditioning: Conditioning,
    name: str,
    generator_file: str,
    generator: Difference,
    critic: CriticDescription | str,
) -> model_spec_pb2.ModelSpec:
    """The manifest of a trained model, but for version and files, which are known only when it is published.

    Args:
        trained: The model.
        conditioning: Whose labels generator and critic take.
        name: The model's name.
        generator_file: Name of the generator's file.
        generator: How far its graph is from PyTorch.
        critic: The critic, or why the package has none.
    """
    spec = model_spec_pb2.ModelSpec(
        name=name,
        sample=_sample(trained.data),
        latent=_latent(trained.prior),
        label_names=conditioning.label_names,
        generator=describe_graph(generator_file, generator),
        provenance=_provenance(trained),
    )
    if isinstance(critic, str):
        spec.critic_absence = critic
        return spec
    calibration = critic.calibration
    spec.critic.CopyFrom(describe_graph(critic.file, critic.difference))
    spec.score.loss = trained.config.loss.name
    spec.score.label_free = bool(conditioning.label_names) and not conditioning.critic_uses_labels
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


def describe_graph(file: str, difference: Difference) -> model_spec_pb2.GraphSpec:
    """The manifest's entry for a verified graph."""
    return model_spec_pb2.GraphSpec(
        file=file,
        opset=OPSET,
        precision=model_spec_pb2.PRECISION_FLOAT32,
        verification=model_spec_pb2.Verification(
            batch_sizes=difference.batch_sizes, max_abs_difference=difference.largest, tolerance=difference.tolerance
        ),
    )


def _provenance(trained: TrainedModel) -> model_spec_pb2.Provenance:
    provenance = model_spec_pb2.Provenance(
        ganserve_version=importlib.metadata.version("ganserve"),
        libraries=_installed(),
        step=trained.step,
        checkpoint_sha256=trained.checkpoint_sha256,
        metrics=trained.metrics,
    )
    provenance.created.GetCurrentTime()
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
