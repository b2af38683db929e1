"""Describe a package: the ModelSpec of ganserve.v1, whose JSON form is manifest.json."""

import importlib.metadata
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx
from google.protobuf import json_format

from ganserve.v1 import model_spec_pb2, tensor_pb2
from ganserve_export.errors import ExportError
from ganserve_export.package.content import PackageContent
from ganserve_export.package.latent_values import LatentValues
from ganserve_export.package.onnx_graphs import Precision, opset_of, precision_of
from ganserve_export.package.verification import Difference
from ganserve_export.typicality.typicality import THRESHOLD
from ganserve_training import TrainedModel, config_to_dict

MANIFEST = "manifest.json"
_DISTRIBUTIONS = {
    "normal": model_spec_pb2.LATENT_DISTRIBUTION_NORMAL,
    "uniform": model_spec_pb2.LATENT_DISTRIBUTION_UNIFORM,
}
_PRECISIONS: dict[Precision, model_spec_pb2.Precision.ValueType] = {
    "float32": model_spec_pb2.PRECISION_FLOAT32,
    "float16": model_spec_pb2.PRECISION_FLOAT16,
    "bfloat16": model_spec_pb2.PRECISION_BFLOAT16,
}
MADE_ELSEWHERE = "made_elsewhere"
"""Key of provenance.config in packages of files made elsewhere, which have no training configuration."""
LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime-gpu", "onnxruntime", "numpy", "scikit-learn")


def describe_package(
    name: str,
    content: PackageContent,
    generator: model_spec_pb2.GraphSpec,
    critic: model_spec_pb2.GraphSpec | None,
    typicality: model_spec_pb2.GraphSpec | None,
) -> model_spec_pb2.ModelSpec:
    """Return a package's manifest without its version and files, which `publish` fills in."""
    kind, data_type = model_spec_pb2.SAMPLE_KIND_VECTOR, tensor_pb2.DATA_TYPE_FLOAT32
    if content.data.is_image:
        kind, data_type = model_spec_pb2.SAMPLE_KIND_IMAGE, tensor_pb2.DATA_TYPE_UINT8
    spec = model_spec_pb2.ModelSpec(
        name=name,
        sample=model_spec_pb2.SampleSpec(kind=kind, data_type=data_type, shape=content.data.sample_shape),
        latent=_latent(content.prior),
        label_names=content.label_names,
        generator=generator,
        provenance=content.provenance,
    )
    if content.style is not None:
        spec.style.CopyFrom(content.style)
    if isinstance(content.critic, str) or critic is None:
        spec.critic_absence = str(content.critic)
        return spec
    spec.critic.CopyFrom(critic)
    spec.score.loss = content.critic.loss
    spec.score.label_free = bool(content.label_names) and not content.critic.takes_labels
    calibration = content.critic.calibration
    if calibration.fitted:
        numbers = {name: value for name, value in asdict(calibration).items() if name not in ("auc", "raw_auc")}
        spec.score.calibration.CopyFrom(model_spec_pb2.Calibration(**numbers))
    if content.critic.typicality is not None and typicality is not None:
        spec.typicality.graph.CopyFrom(typicality)
        spec.typicality.threshold = THRESHOLD
        spec.typicality.training_count = content.critic.typicality.training_count
        spec.typicality.real_count = len(content.critic.typicality.held_out)
    return spec


def describe_graph(file: str, model: onnx.ModelProto) -> model_spec_pb2.GraphSpec:
    """Return the manifest's entry for a graph, without its verification."""
    return model_spec_pb2.GraphSpec(file=file, opset=opset_of(model), precision=_PRECISIONS[precision_of(model)])


def describe_difference(difference: Difference) -> model_spec_pb2.Verification:
    """Return the manifest's entry for the verification of a graph."""
    return model_spec_pb2.Verification(
        batch_sizes=difference.batch_sizes, max_abs_difference=difference.largest, tolerance=difference.tolerance
    )


def read_manifest(folder: Path) -> model_spec_pb2.ModelSpec:
    """Read the manifest of a package; raise ExportError if the file is missing or damaged."""
    file = folder / MANIFEST
    try:
        return json_format.Parse(
            file.read_text(encoding="utf-8"), model_spec_pb2.ModelSpec(), ignore_unknown_fields=True
        )
    except (OSError, UnicodeDecodeError, json_format.ParseError) as error:
        raise ExportError(f"{file} cannot be read: {error}") from error


def write_manifest(folder: Path, spec: model_spec_pb2.ModelSpec) -> None:
    """Write the manifest of a package."""
    text = json_format.MessageToJson(spec, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _latent(values: LatentValues) -> model_spec_pb2.LatentSpec:
    """Describe the latents; controls are their last values."""
    spec = model_spec_pb2.LatentSpec(dimension=values.dim, distribution=_DISTRIBUTIONS[values.distribution])
    for index, control in enumerate(values.controls, values.prior.dim):
        spec.controls.add(
            name=control.name,
            index=index,
            low=control.low,
            high=control.high,
            default=control.default,
            description=control.description,
        )
    return spec


def provenance_now() -> model_spec_pb2.Provenance:
    """Return the current time and versions of libraries; the caller adds where the model came from."""
    provenance = model_spec_pb2.Provenance(ganserve_version=importlib.metadata.version("ganserve"))
    for library in LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):  # of onnxruntime and onnxruntime-gpu, one is installed
            provenance.libraries[library] = importlib.metadata.version(library)
    provenance.created.GetCurrentTime()
    return provenance


def provenance_of_run(trained: TrainedModel) -> model_spec_pb2.Provenance:
    """Return the provenance of a model that ganserve trained."""
    provenance = provenance_now()
    provenance.step = trained.step
    provenance.checkpoint_sha256 = trained.checkpoint_sha256
    provenance.metrics.update(trained.metrics)
    provenance.config.update(_in_utf8(config_to_dict(trained.config)))
    return provenance


def _in_utf8(value: Any) -> Any:
    """Return a configuration without text that is not UTF-8, such as some folders' names: no message can hold it."""
    if isinstance(value, dict):
        return {name: _in_utf8(item) for name, item in value.items()}
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
