"""Turn the messages of responses into typed results."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from google.protobuf import json_format
from google.protobuf.message import Message

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
    Style,
    Typicality,
    Verification,
    VersionSummary,
)
from ganserve._results.origin import Origin
from ganserve._results.picture_reading import decode_images
from ganserve._results.scores import Scores
from ganserve._results.selection import SelectionReport
from ganserve.v1 import gan_service_pb2, model_spec_pb2, tensor_pb2

InfoT = TypeVar("InfoT")

_FILES = (tensor_pb2.ENCODING_PNG, tensor_pb2.ENCODING_JPEG, tensor_pb2.ENCODING_WEBP)


def _words(enum: Any, prefix: str) -> dict[int, Any]:
    """Return the SDK's words for an enum's values: "image" for SAMPLE_KIND_IMAGE."""
    return {value: name.removeprefix(prefix).lower() for name, value in enum.items() if value}


_KINDS = _words(model_spec_pb2.SampleKind, "SAMPLE_KIND_")
_DTYPES = _words(tensor_pb2.DataType, "DATA_TYPE_")
_DISTRIBUTIONS = _words(model_spec_pb2.LatentDistribution, "LATENT_DISTRIBUTION_")
_PRECISIONS = _words(model_spec_pb2.Precision, "PRECISION_")
_NOISE_MODES = _words(model_spec_pb2.NoiseMode, "NOISE_MODE_")
_STATES = _words(gan_service_pb2.ModelState, "MODEL_STATE_")


def sample_batch(
    response: gan_service_pb2.SampleResponse, request: gan_service_pb2.SampleRequest, channels: int | None = None
) -> SampleBatch:
    """Return the batch of an answer.

    Args:
        response: The answer.
        request: The request that it answers.
        channels: C of the model's images, where their encoding does not tell it.

    Raises:
        ServerError: The answer contradicts itself.
    """
    samples = _samples(response.samples, request, channels)
    count, offset = len(samples), response.offset
    # Skip what was not requested: in a busy application each access costs microseconds.
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
        latents=_inputs(response, request, "latents"),
        w=_inputs(response, request, "w"),
        selection=_copy(SelectionReport, response.selection) if selected else None,
        origin=Origin(response.package_sha256, request, w_given=request.HasField("w")),
    )


def _inputs(
    response: gan_service_pb2.SampleResponse, request: gan_service_pb2.SampleRequest, field: Literal["latents", "w"]
) -> npt.NDArray[np.float32] | None:
    """Return the latents or w's that the samples were made from, if the answer or the request has them."""
    name = "latents" if field == "latents" else "w's"
    if getattr(request, f"return_{field}"):
        return from_tensor(getattr(response, field), name)
    return from_tensor(getattr(request, field), name) if request.HasField(field) else None


def _samples(
    samples: tensor_pb2.Samples, request: gan_service_pb2.SampleRequest, channels: int | None
) -> npt.NDArray[Any]:
    as_files = request.encoding in _FILES
    if not as_files and samples.HasField("tensor"):
        return from_tensor(samples.tensor, "samples")
    if as_files and samples.images.files:
        return decode_images(samples.images.files, channels)
    asked = "picture files" if as_files else "a raw tensor"
    raise ServerError(f"the answer's samples are not {asked}, as the request asked")


def scores(response: gan_service_pb2.ScoreResponse, labels: tuple[str | int, ...] | None, count: int) -> Scores:
    """Return the scores of an answer for `count` samples with these labels.

    Raises:
        ServerError: The answer contradicts itself.
    """
    values = _per_sample(response.scores, count, "scores", np.float32)
    probabilities = _per_sample(response.probabilities, count, "probabilities", np.float32)
    if values is None or probabilities is None:
        raise ServerError("the answer has no scores")
    return Scores(
        scores=values,
        probabilities=probabilities,
        labels=labels,
        model=response.model,
        version=response.version,
        typicality=_per_sample(response.typicality, count, "typicalities", np.float32),
        out_of_distribution=_per_sample(response.out_of_distribution, count, "marks out_of_distribution", np.bool_),
    )


def model_summaries(response: gan_service_pb2.ListModelsResponse) -> list[ModelSummary]:
    """Return the models of an answer."""
    return [
        ModelSummary(
            name=model.name,
            versions=tuple(
                _copy(
                    VersionSummary,
                    version,
                    state=ModelState(_STATES.get(version.state, "unknown")),
                    sample=_sample_shape(version.sample) if version.HasField("sample") else None,
                    controls=_controls(version.controls),
                    style=_style(version.style) if version.HasField("style") else None,
                )
                for version in model.versions
            ),
            latest=model.latest or None,
        )
        for model in response.models
    ]


def model_info(response: gan_service_pb2.GetModelResponse) -> ModelInfo:
    """Return the model that an answer describes."""
    spec = response.spec
    calibration = spec.score.calibration if spec.HasField("score") and spec.score.HasField("calibration") else None
    return _copy(
        ModelInfo,
        spec,
        sample=_sample_shape(spec.sample),
        latent_dim=spec.latent.dimension,
        latent_distribution=_DISTRIBUTIONS.get(spec.latent.distribution, "unknown"),
        controls=_controls(spec.latent.controls),
        truncation_absence=spec.latent.truncation_absence,
        style=_style(spec.style) if spec.HasField("style") else None,
        generator=_graph(spec.generator),
        critic=_graph(spec.critic) if spec.HasField("critic") else None,
        critic_takes_labels=spec.HasField("critic") and bool(spec.label_names) and not spec.score.label_free,
        critic_loss=spec.score.loss if spec.HasField("score") else None,
        calibration=None if calibration is None else _copy(Calibration, calibration),
        typicality=_typicality(spec.typicality) if spec.HasField("typicality") else None,
        files=tuple(_copy(PackageFile, file) for file in spec.files),
        provenance=_provenance(spec.provenance),
        engines=tuple(_copy(EngineInfo, engine) for engine in response.engines),
        package_sha256=response.package_sha256,
    )


def _per_sample(values: Sequence[Any], count: int, what: str, dtype: type[Any]) -> npt.NDArray[Any] | None:
    if not values:
        return None
    if len(values) != count:
        raise ServerError(f"the answer has {len(values)} {what} for {count} samples")
    return np.array(values[:], dtype)  # the slice is a list, which NumPy reads faster than a message's container


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
        _copy(LatentControl, control, default=control.default if control.HasField("default") else None)
        for control in controls
    )


def _style(style: model_spec_pb2.StyleSpec) -> Style:
    return _copy(
        Style,
        style,
        default_truncation=style.default_truncation if style.HasField("default_truncation") else 1.0,
        default_truncation_layers=style.default_truncation_layers or style.layers,
        noise_modes=tuple(_NOISE_MODES.get(mode, "unknown") for mode in style.noise_modes),
    )


def _graph(graph: model_spec_pb2.GraphSpec) -> GraphInfo:
    precision = _PRECISIONS.get(graph.precision, "unknown")
    verification = _copy(Verification, graph.verification) if graph.HasField("verification") else None
    return _copy(GraphInfo, graph, precision=precision, verification=verification)


def _typicality(typicality: model_spec_pb2.TypicalitySpec) -> Typicality:
    return _copy(Typicality, typicality, graph=_graph(typicality.graph))


def _copy(kind: type[InfoT], message: Message, **others: Any) -> InfoT:
    """Return a dataclass of a message's fields, by name, and of `others`."""
    names = [field.name for field in fields(kind) if field.name not in others]  # type: ignore[arg-type]  # dataclasses
    return kind(**{name: _plain(getattr(message, name)) for name in names}, **others)


def _plain(value: Any) -> Any:
    """Return a field's value as Python's own type."""
    if isinstance(value, Mapping):
        return dict(value)
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _provenance(provenance: model_spec_pb2.Provenance) -> Provenance:
    created = provenance.created.ToDatetime(UTC) if provenance.HasField("created") else None
    return _copy(Provenance, provenance, created=created, config=json_format.MessageToDict(provenance.config))
