"""Typed results from the messages of responses."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from google.protobuf import json_format

from ganserve._calls.arrays import from_tensor
from ganserve._errors import ServerError
from ganserve._results.batch import SampleBatch
from ganserve._results.models import (
    Calibration,
    EngineInfo,
    GraphInfo,
    LatentControl,
    ModelInfo,
    ModelState,
    ModelSummary,
    PackageFile,
    Provenance,
    SampleShape,
    Verification,
    VersionSummary,
)
from ganserve._results.picture_reading import decode_images
from ganserve._results.scores import Scores
from ganserve._results.selection import SelectionReport
from ganserve.v1 import gan_service_pb2, model_spec_pb2, tensor_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

_FILES = (tensor_pb2.ENCODING_PNG, tensor_pb2.ENCODING_JPEG, tensor_pb2.ENCODING_WEBP)
_KINDS: Mapping[int, Literal["image", "vector"]] = {
    model_spec_pb2.SAMPLE_KIND_IMAGE: "image",
    model_spec_pb2.SAMPLE_KIND_VECTOR: "vector",
}
_DTYPES: Mapping[int, Literal["uint8", "float32"]] = {
    tensor_pb2.DATA_TYPE_UINT8: "uint8",
    tensor_pb2.DATA_TYPE_FLOAT32: "float32",
}
_DISTRIBUTIONS: Mapping[int, Literal["normal", "uniform"]] = {
    model_spec_pb2.LATENT_DISTRIBUTION_NORMAL: "normal",
    model_spec_pb2.LATENT_DISTRIBUTION_UNIFORM: "uniform",
}
_PRECISIONS: Mapping[int, Literal["float32", "float16", "bfloat16"]] = {
    model_spec_pb2.PRECISION_FLOAT32: "float32",
    model_spec_pb2.PRECISION_FLOAT16: "float16",
    model_spec_pb2.PRECISION_BFLOAT16: "bfloat16",
}
_STATES: Mapping[int, ModelState] = {
    gan_service_pb2.MODEL_STATE_LOADING: ModelState.LOADING,
    gan_service_pb2.MODEL_STATE_READY: ModelState.READY,
    gan_service_pb2.MODEL_STATE_UNLOADING: ModelState.UNLOADING,
    gan_service_pb2.MODEL_STATE_UNLOADED: ModelState.UNLOADED,
    gan_service_pb2.MODEL_STATE_FAILED: ModelState.FAILED,
}


def sample_batch(
    response: gan_service_pb2.SampleResponse, request: gan_service_pb2.SampleRequest, channels: int | None = None
) -> SampleBatch:
    """The batch of an answer to this request.

    Args:
        response: The answer.
        request: What was asked for.
        channels: C of the model's images, where their encoding does not keep it.

    Raises:
        ServerError: The answer contradicts itself.
    """
    samples = _samples(response.samples, request, channels)
    count, offset = len(samples), response.offset
    # What was not asked for is not looked at: in an application at work each look costs microseconds.
    scored, selected = request.return_scores, request.HasField("selection")
    return SampleBatch._of(  # noqa: SLF001 - made for this
        samples=samples,
        indices=np.arange(offset, offset + count, dtype=np.int64),
        labels=_per_sample(response.label_indices, count, "label indices", np.int64),
        label_names=_names(response.label_names, count),
        seed=response.seed if request.HasField("seed") else None,
        model=response.model,
        version=response.version,
        scores=_per_sample(response.scores, count, "scores", np.float32) if scored else None,
        probabilities=_per_sample(response.probabilities, count, "probabilities", np.float32) if scored else None,
        latents=from_tensor(response.latents, "latents") if request.return_latents else None,
        selection=_selection_report(response.selection) if selected else None,
    )


def _samples(
    samples: tensor_pb2.Samples, request: gan_service_pb2.SampleRequest, channels: int | None
) -> npt.NDArray[Any]:
    as_files = request.encoding in _FILES
    if not as_files and samples.HasField("tensor"):
        return from_tensor(samples.tensor, "samples")
    if as_files and samples.images.files:
        return decode_images(samples.images.files, channels)
    asked = "picture files" if as_files else "a raw tensor"
    raise ServerError(f"the answer's samples are not {asked}, which is what was asked for")


def _selection_report(report: gan_service_pb2.SelectionReport) -> SelectionReport:
    return SelectionReport(proposed=report.proposed, accepted=report.accepted)


def scores(response: gan_service_pb2.ScoreResponse, labels: tuple[str | int, ...] | None, count: int) -> Scores:
    """The scores of an answer for `count` samples with these labels.

    Raises:
        ServerError: The answer contradicts itself.
    """
    values = _per_sample(response.scores, count, "scores", np.float32)
    probabilities = _per_sample(response.probabilities, count, "probabilities", np.float32)
    if values is None or probabilities is None:
        raise ServerError("the answer has no scores")
    return Scores(
        scores=values, probabilities=probabilities, labels=labels, model=response.model, version=response.version
    )


def model_summaries(response: gan_service_pb2.ListModelsResponse) -> list[ModelSummary]:
    """The models of an answer."""
    return [
        ModelSummary(
            name=model.name,
            versions=tuple(
                VersionSummary(
                    version=version.version,
                    state=_STATES.get(version.state, ModelState.UNKNOWN),
                    reason=version.reason,
                    sample=_sample_shape(version.sample) if version.HasField("sample") else None,
                    label_names=tuple(version.label_names),
                    providers=tuple(version.providers),
                    has_critic=version.has_critic,
                    controls=_controls(version.controls),
                )
                for version in model.versions
            ),
            latest=model.latest or None,
        )
        for model in response.models
    ]


def model_info(response: gan_service_pb2.GetModelResponse) -> ModelInfo:
    """The description of an answer."""
    spec = response.spec
    calibration = spec.score.calibration if spec.HasField("score") and spec.score.HasField("calibration") else None
    return ModelInfo(
        name=spec.name,
        version=spec.version,
        sample=_sample_shape(spec.sample),
        latent_dim=spec.latent.dimension,
        latent_distribution=_DISTRIBUTIONS.get(spec.latent.distribution, "unknown"),
        controls=_controls(spec.latent.controls),
        label_names=tuple(spec.label_names),
        generator=_graph(spec.generator),
        critic=_graph(spec.critic) if spec.HasField("critic") else None,
        critic_absence=spec.critic_absence,
        critic_takes_labels=spec.HasField("critic") and bool(spec.label_names) and not spec.score.label_free,
        critic_loss=spec.score.loss if spec.HasField("score") else None,
        calibration=None if calibration is None else _calibration(calibration),
        files=tuple(PackageFile(name=file.name, sha256=file.sha256, size_bytes=file.size_bytes) for file in spec.files),
        provenance=_provenance(spec.provenance),
        engines=tuple(
            EngineInfo(
                file=engine.file,
                providers=tuple(engine.providers),
                nodes_by_provider=dict(engine.nodes_by_provider),
                max_batch_size=engine.max_batch_size,
            )
            for engine in response.engines
        ),
    )


def _per_sample(values: Sequence[Any], count: int, what: str, dtype: type[Any]) -> npt.NDArray[Any] | None:
    if not values:
        return None
    if len(values) != count:
        raise ServerError(f"the answer has {len(values)} {what} for {count} samples")
    return np.array(values[:], dtype)  # of a list, which is quicker to read than a message's container


def _names(names: Sequence[str], count: int) -> tuple[str, ...] | None:
    if not names:
        return None
    if len(names) != count:
        raise ServerError(f"the answer has {len(names)} label names for {count} samples")
    return tuple(names)


def _sample_shape(spec: model_spec_pb2.SampleSpec) -> SampleShape:
    return SampleShape(
        kind=_KINDS.get(spec.kind, "unknown"), dtype=_DTYPES.get(spec.data_type, "unknown"), shape=tuple(spec.shape)
    )


def _controls(controls: Iterable[model_spec_pb2.LatentControl]) -> tuple[LatentControl, ...]:
    return tuple(
        LatentControl(
            name=control.name,
            index=control.index,
            low=control.low,
            high=control.high,
            description=control.description,
        )
        for control in controls
    )


def _graph(graph: model_spec_pb2.GraphSpec) -> GraphInfo:
    verification = graph.verification if graph.HasField("verification") else None
    return GraphInfo(
        file=graph.file,
        opset=graph.opset,
        precision=_PRECISIONS.get(graph.precision, "unknown"),
        verification=None
        if verification is None
        else Verification(
            batch_sizes=tuple(verification.batch_sizes),
            max_abs_difference=verification.max_abs_difference,
            tolerance=verification.tolerance,
        ),
    )


def _calibration(calibration: model_spec_pb2.Calibration) -> Calibration:
    return Calibration(
        slope=calibration.slope,
        intercepts=tuple(calibration.intercepts),
        real_count=calibration.real_count,
        generated_count=calibration.generated_count,
        log_loss=calibration.log_loss,
    )


def _provenance(provenance: model_spec_pb2.Provenance) -> Provenance:
    return Provenance(
        created=provenance.created.ToDatetime(UTC) if provenance.HasField("created") else None,
        ganserve_version=provenance.ganserve_version,
        libraries=dict(provenance.libraries),
        config=json_format.MessageToDict(provenance.config),
        step=provenance.step,
        checkpoint_sha256=provenance.checkpoint_sha256,
        metrics=dict(provenance.metrics),
    )
