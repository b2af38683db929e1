"""Turns requests, once they are checked, into work. N = samples, Z = values of one latent."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, cast

import numpy as np

from ganserve.v1 import gan_service_pb2, tensor_pb2
from ganserve_server.draw.encoding import FORMATS, check_encoding, is_image, most_bytes
from ganserve_server.draw.latents import MAX_INDEX, Distribution, draw_seed
from ganserve_server.draw.rejection_sampling import check_calibrated
from ganserve_server.draw.selection import MOST_PROPOSALS_PER_SAMPLE, Selection, SelectionMethod
from ganserve_server.models.model import GeneratorWork
from ganserve_server.requests.validation import (
    Findings,
    check_controls,
    check_labels,
    check_priority,
    check_tensor,
    check_truncation,
    enum_name,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganserve_server.models.model import Labels, Model
    from ganserve_server.models.package import ModelInfo
    from ganserve_server.queue.lanes import Priority

_SCORE_BYTES = 8  # float32 score and probability
_CALLS_PER_CHUNK = 4  # of a stream, where the client leaves it to the server
_LIKELY_PROPOSALS = 8  # of a sample, where only a bound is known
_METHODS = {
    gan_service_pb2.SELECTION_METHOD_BEST_OF_N: SelectionMethod.BEST_OF_N,
    gan_service_pb2.SELECTION_METHOD_REJECTION: SelectionMethod.REJECTION,
}
_BESIDE_LATENTS = "is given beside latents, which leave nothing to draw: give one of the two"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Sizes of answers, and of what requests become."""

    max_response_bytes: int = 256 * 2**20
    """Most bytes of samples, their latents, and what goes with them, in one answer of Sample."""
    max_chunk_bytes: int = 4 * 2**20
    """The same of one chunk of StreamSamples."""
    max_decoded_bytes: int = 256 * 2**20
    """Most bytes of the pixels in the image files of one request, and of those at once that have the same priority."""


@dataclasses.dataclass(kw_only=True, slots=True)  # made for every request: freezing it would cost
class SamplePlan:
    """A request for samples that was found good."""

    count: int
    work: GeneratorWork
    priority: Priority
    encoding: tensor_pb2.Encoding.ValueType
    """One that suits the model."""
    selection: Selection | None
    return_latents: bool
    return_scores: bool
    bytes_per_sample: int
    """Most bytes that one sample takes in an answer."""


@dataclasses.dataclass(kw_only=True, slots=True)  # made for every request: freezing it would cost
class ScorePlan:
    """A request for scores that was found good, but for the content of its files."""

    count: int
    samples: NDArray[np.generic] | None
    """[N, ...] in the model's shape; float32 for images is value / 255."""
    files: tuple[bytes, ...]
    """Images instead of samples."""
    encoding: tensor_pb2.Encoding.ValueType
    """Of the files."""
    labels: Labels
    priority: Priority
    decoded_bytes: int
    """Length of what the files become."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StreamPlan:
    """A request for a stream of samples that was found good."""

    plan: SamplePlan
    chunk_size: int
    """Samples of every chunk but the last."""


def plan_sample(model: Model, request: gan_service_pb2.SampleRequest, limits: Limits) -> SamplePlan:
    """Check a request for samples.

    Raises:
        RequestError: One of `Findings.raise_any`.
    """
    findings = Findings()
    plan = _plan(model, request, findings)
    # Latents are in memory with their samples, also where they are not returned.
    size = plan.bytes_per_sample + (0 if plan.return_latents else 4 * model.info.latent_dimension)
    most = max(1, limits.max_response_bytes // size)
    if plan.count > most:
        findings.invalid(
            "count",
            f"is {plan.count}, at {size} bytes each, with their latents, more than the {limits.max_response_bytes} "
            f"bytes of one answer; ask for at most {most}, or for a stream",
        )
    findings.raise_any()
    return plan


def plan_stream(model: Model, request: gan_service_pb2.StreamSamplesRequest, limits: Limits) -> StreamPlan:
    """Check a request for a stream of samples.

    Raises:
        RequestError: One of `Findings.raise_any`.
    """
    findings = Findings("request.")
    if request.request.HasField("latents"):
        findings.invalid("latents", "are not allowed in a stream: use Sample, or a seed")
    plan = _plan(model, request.request, findings)
    findings.raise_any()
    most = max(1, limits.max_chunk_bytes // plan.bytes_per_sample)
    return StreamPlan(plan=plan, chunk_size=min(request.chunk_size or _chunk_size(model, plan), most))


def _chunk_size(model: Model, plan: SamplePlan) -> int:
    """Return the samples of a chunk where the client leaves it to the server: what a few calls draw."""
    proposals = 1
    if plan.selection is not None:
        likely = plan.selection.most
        if plan.selection.method is SelectionMethod.REJECTION:
            likely = min(likely, _LIKELY_PROPOSALS)
        proposals = likely
    return max(1, _CALLS_PER_CHUNK * model.max_batch_size // proposals)


def plan_score(model: Model, request: gan_service_pb2.ScoreRequest, limits: Limits) -> ScorePlan:
    """Check a request for scores, all but the content of image files.

    Raises:
        RequestError: One of `Findings.raise_any`.
    """
    findings = Findings()
    info = model.info
    samples: NDArray[np.generic] | None = None
    files: tuple[bytes, ...] = ()
    kind = request.samples.WhichOneof("data")
    if kind == "tensor":
        count = request.samples.tensor.shape[0] if request.samples.tensor.shape else 0
        samples = _check_samples(info, request.samples.tensor, findings)
    elif kind == "images":
        count = len(request.samples.images.files)
        files = _check_files(info, request.samples.images, limits, findings)
    else:
        count = 0
        findings.invalid("samples", "is missing; expected samples.tensor or samples.images with the samples to score")
    labels = check_labels(info, request.label_indices, request.label_names, count, findings)
    given = bool(request.label_indices or request.label_names)
    if model.critic is None:
        _check_critic(model, "score", findings)
    elif info.critic_takes_labels and not given:
        findings.invalid(
            "label_indices",
            f"is empty; model {info.name!r} scores by label: give one for all, or one a sample",
        )
    elif given and info.label_names and not info.critic_takes_labels:
        findings.precondition(
            f"the critic of model {info.name!r} scores without labels, though the generator takes them: "
            "leave the labels out"
        )
    priority = check_priority(request.priority, findings)
    findings.raise_any()
    return ScorePlan(
        count=count,
        samples=samples,
        files=files,
        encoding=request.samples.images.encoding,
        labels=labels,
        priority=priority,
        decoded_bytes=len(files) * info.sample_bytes,
    )


def _check_samples(info: ModelInfo, tensor: tensor_pb2.Tensor, findings: Findings) -> NDArray[np.generic] | None:
    """Return a tensor of samples as it is; None if it is wrong."""
    field = "samples.tensor"
    if not (is_image(info) and tensor.data_type == tensor_pb2.DATA_TYPE_FLOAT32):
        return check_tensor(tensor, field, info.sample_data_type, info.sample_shape, findings)
    samples = check_tensor(tensor, field, tensor_pb2.DATA_TYPE_FLOAT32, info.sample_shape, findings)
    if samples is not None:
        rows = cast("NDArray[np.float32]", samples).reshape(len(samples), -1)
        wrong = (rows.min(axis=1) < 0) | (rows.max(axis=1) > 1)
        if wrong.any():
            row = int(np.argmax(wrong))
            findings.invalid(
                f"{field}.data",
                f"has values from {rows[row].min():g} to {rows[row].max():g} in row {row}; expected 0 to 1, which is "
                "value / 255, or DATA_TYPE_UINT8 with the values themselves",
            )
    return samples


def _check_files(
    info: ModelInfo, images: tensor_pb2.EncodedImages, limits: Limits, findings: Findings
) -> tuple[bytes, ...]:
    """Return the files of a request; their content is yet to be looked at."""
    field, count = "samples.images.files", len(images.files)
    if images.encoding not in FORMATS:
        name = enum_name(tensor_pb2.Encoding, images.encoding)
        findings.invalid("samples.images.encoding", f"is {name}; expected ENCODING_PNG, ENCODING_JPEG or ENCODING_WEBP")
    if not is_image(info):
        findings.precondition(f"model {info.name!r} scores vectors, no images: send samples.tensor")
    if not count:
        findings.invalid(field, "is empty; expected one file a sample")
    most = max(1, limits.max_decoded_bytes // info.sample_bytes)
    if count > most:
        findings.invalid(
            field,
            f"has {count} files, at {info.sample_bytes} bytes of pixels each more than the {limits.max_decoded_bytes} "
            f"bytes of one request; send at most {most} at a time, or a stream of them",
        )
        return ()
    return tuple(images.files)


def _plan(model: Model, request: gan_service_pb2.SampleRequest, findings: Findings) -> SamplePlan:
    info = model.info
    count, offset = request.count, request.offset
    if count < 1:
        findings.invalid("count", "is 0; expected at least 1")
    if offset + count > MAX_INDEX:
        findings.invalid("offset", f"{offset} + count {count} exceeds 2^48: use another seed")
    encoding = check_encoding(info, request.encoding, findings)
    selection = _check_selection(model, request, findings) if request.HasField("selection") else None
    given = request.HasField("latents")
    latents = _check_latents(info, request, findings) if given else None
    truncation = request.truncation if request.HasField("truncation") else None
    if truncation is not None:
        check_truncation(truncation, findings)
        if info.distribution is not Distribution.NORMAL:
            findings.precondition(
                f"model {info.name!r} has uniform latents, truncation applies to normal ones: leave it out"
            )
    controls = check_controls(info, request.controls, findings)
    labels = check_labels(info, request.label_indices, request.label_names, count, findings)
    if request.return_scores:
        _check_critic(model, "score", findings)
    priority = check_priority(request.priority, findings)
    seed = 0 if given else request.seed if request.HasField("seed") else draw_seed()
    return SamplePlan(
        count=count,
        work=GeneratorWork(
            seed=seed,
            offset=offset,
            truncation=truncation,
            labels=labels,
            controls=controls,
            latents=latents,
        ),
        priority=priority,
        encoding=encoding,
        selection=selection,
        return_latents=request.return_latents,
        return_scores=request.return_scores,
        bytes_per_sample=_bytes_per_sample(info, request, encoding),
    )


def _bytes_per_sample(
    info: ModelInfo, request: gan_service_pb2.SampleRequest, encoding: tensor_pb2.Encoding.ValueType
) -> int:
    size = most_bytes(info, encoding) + info.label_bytes
    if request.return_latents:
        size += 4 * info.latent_dimension
    return size + _SCORE_BYTES if request.return_scores else size


def _check_selection(model: Model, request: gan_service_pb2.SampleRequest, findings: Findings) -> Selection | None:
    """Return the selection that was asked for; None if it is wrong."""
    most = request.selection.max_proposals_per_sample
    method = _METHODS.get(request.selection.method)
    if method is None:
        name = enum_name(gan_service_pb2.SelectionMethod, request.selection.method)
        findings.invalid(
            "selection.method", f"is {name}; expected SELECTION_METHOD_BEST_OF_N or SELECTION_METHOD_REJECTION"
        )
    if not 1 <= most <= MOST_PROPOSALS_PER_SAMPLE:
        findings.invalid("selection.max_proposals_per_sample", f"is {most}; expected 1 to {MOST_PROPOSALS_PER_SAMPLE}")
    elif (request.offset + request.count) * most > MAX_INDEX:
        findings.invalid(
            "offset",
            f"({request.offset} + count {request.count}) * {most} proposals exceeds 2^48: use another seed, or fewer "
            "proposals",
        )
    if model.critic is None:
        _check_critic(model, "select", findings)
    elif method is SelectionMethod.REJECTION:
        check_calibrated(model, findings)
    return None if method is None else Selection(method=method, most=most)


def _check_latents(
    info: ModelInfo, request: gan_service_pb2.SampleRequest, findings: Findings
) -> NDArray[np.float32] | None:
    for field in ("seed", "truncation", "selection"):
        if request.HasField(field):
            findings.invalid(field, _BESIDE_LATENTS)
    if request.controls:
        findings.invalid("controls", _BESIDE_LATENTS)
    if request.offset:
        findings.invalid("offset", f"is {request.offset} beside latents, which have no sequence: leave it out")
    latents = check_tensor(request.latents, "latents", tensor_pb2.DATA_TYPE_FLOAT32, (info.latent_dimension,), findings)
    if latents is not None and len(latents) != request.count:
        findings.invalid(
            "latents.shape", f"has {len(latents)} latents, count is {request.count}: they must be the same"
        )
    if info.label_names and not request.label_indices and not request.label_names:
        findings.invalid(
            "label_indices",
            f"is empty; with latents, model {info.name!r} needs labels: give one for all, or one a sample",
        )
    return cast("NDArray[np.float32] | None", latents)


def _check_critic(model: Model, purpose: str, findings: Findings) -> None:
    if model.critic is None:
        findings.precondition(
            f"version {model.info.version} of model {model.info.name!r} has no critic and cannot {purpose}: "
            f"{model.info.critic_absence or 'export it with its critic'}"
        )
