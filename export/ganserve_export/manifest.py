"""Describes a package: the ModelSpec of ganserve.v1 whose JSON form is manifest.json."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING

from ganserve.v1 import model_spec_pb2, tensor_pb2
from ganserve_export.conversion import OPSET
from ganserve_training import config_to_dict

if TYPE_CHECKING:
    from ganserve_export.calibration import LogisticCalibration
    from ganserve_export.verification import Difference
    from ganserve_training import TrainedModel

LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime-gpu", "onnxruntime", "numpy", "scikit-learn")


def describe(
    trained: TrainedModel,
    name: str,
    generator: model_spec_pb2.GraphSpec,
    critic: model_spec_pb2.GraphSpec,
    calibration: LogisticCalibration,
) -> model_spec_pb2.ModelSpec:
    """The manifest of a trained model, but for version and files, which are known only when it is published."""
    return model_spec_pb2.ModelSpec(
        name=name,
        sample=model_spec_pb2.SampleSpec(
            kind=model_spec_pb2.SAMPLE_KIND_IMAGE,
            data_type=tensor_pb2.DATA_TYPE_UINT8,
            shape=trained.data.sample_shape,
        ),
        latent=model_spec_pb2.LatentSpec(
            dimension=trained.prior.dim, distribution=model_spec_pb2.LATENT_DISTRIBUTION_NORMAL
        ),
        label_names=trained.data.label_names,
        generator=generator,
        critic=critic,
        score=model_spec_pb2.ScoreSpec(
            loss=trained.config.loss.name,
            calibration=model_spec_pb2.Calibration(
                slope=calibration.slope,
                intercepts=calibration.intercepts,
                real_count=calibration.real_count,
                generated_count=calibration.generated_count,
                log_loss=calibration.log_loss,
            ),
        ),
        provenance=_provenance(trained),
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
