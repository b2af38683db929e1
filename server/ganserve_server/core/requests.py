"""Turns requests, once they are checked, into work. N = samples, Z = values of one latent."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, cast

import numpy as np

from ganserve.v1 import gan_service_pb2, tensor_pb2
from ganserve_server.core.latents import MAX_INDEX, Distribution, draw_seed
from ganserve_server.core.model import CriticWork, GeneratorWork
from ganserve_server.core.validation import (
    Findings,
    check_controls,
    check_labels,
    check_tensor,
    check_truncation,
    enum_name,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganserve_server.core.model import Model
    from ganserve_server.core.package import ModelInfo

_SCORE_BYTES = 8  # float32 score and probability
_CALLS_PER_CHUNK = 4  # of a stream, where the client leaves it to the server
_BESIDE_LATENTS = "is given beside latents, which leave nothing to draw: give one of the two"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Sizes of answers."""

    max_response_bytes: int = 256 * 2**20
    """Most bytes of samples, and what goes with them, in one answer of Sample."""
    max_chunk_bytes: int = 4 * 2**20
    """The same of one chunk of StreamSamples."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SamplePlan:
    """A request for samples that was found good."""

    count: int
    work: GeneratorWork
    return_latents: bool
    return_scores: bool
    bytes_per_sample: int
    """Most bytes that one sample takes in an answer."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StreamPlan:
    """A request for a stream of samples that was found good."""

    plan: SamplePlan
    chunk_size: int
    """Samples of every chunk but the last."""


def plan_sample(model: Model, request: gan_service_pb2.SampleRequest, limits: Limits) -> SamplePlan:
    """Checks a request for samples.

    Raises:
        RequestError: One of `Findings.raise_any`.
    """
    findings = Findings()
    plan = _plan(model, request, findings)
    most = max(1, limits.max_response_bytes // plan.bytes_per_sample)
    if plan.count > most:
        findings.invalid(
            "count",
            f"is {plan.count}, at {plan.bytes_per_sample} bytes each more than the {limits.max_response_bytes} bytes "
            f"of one answer; ask for at most {most}, or for a stream",
        )
    findings.raise_any()
    return plan


def plan_stream(model: Model, request: gan_service_pb2.StreamSamplesRequest, limits: Limits) -> StreamPlan:
    """Checks a request for a stream of samples.

    Raises:
        RequestError: One of `Findings.raise_any`.
    """
    findings = Findings("request.")
    if request.request.HasField("latents"):
        findings.invalid("latents", "are not allowed in a stream: use Sample, or a seed")
    plan = _plan(model, request.request, findings)
    findings.raise_any()
    most = max(1, limits.max_chunk_bytes // plan.bytes_per_sample)
    return StreamPlan(plan=plan, chunk_size=min(request.chunk_size or _CALLS_PER_CHUNK * model.max_batch_size, most))


def plan_score(model: Model, request: gan_service_pb2.ScoreRequest) -> CriticWork:
    """Checks a request for scores.

    Raises:
        RequestError: One of `Findings.raise_any`.
    """
    findings = Findings()
    info = model.info
    samples = None
    kind = request.samples.WhichOneof("data")
    if kind == "tensor":
        samples = check_tensor(
            request.samples.tensor, "samples.tensor", info.sample_data_type, info.sample_shape, findings
        )
    elif kind == "images":
        findings.unsupported("this server scores raw tensors only, no encoded images: send samples.tensor")
    else:
        findings.invalid("samples", "is missing; expected samples.tensor with the samples to score")
    count = len(samples) if samples is not None else _claimed_count(request.samples.tensor)
    labels = check_labels(info, request.label_indices, request.label_names, count, findings)
    given = bool(request.label_indices or request.label_names)
    if model.critic is None:
        _check_critic(model, findings)
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
    findings.raise_any()
    assert samples is not None
    return CriticWork(samples=samples, labels=labels)


def _plan(model: Model, request: gan_service_pb2.SampleRequest, findings: Findings) -> SamplePlan:
    info = model.info
    if request.count < 1:
        findings.invalid("count", "is 0; expected at least 1")
    if request.offset + request.count > MAX_INDEX:
        findings.invalid("offset", f"{request.offset} + count {request.count} exceeds 2^48: use another seed")
    _check_encoding(request, findings)
    if request.HasField("selection"):
        _check_selection(request, findings)
    latents = _check_latents(info, request, findings) if request.HasField("latents") else None
    if request.HasField("truncation"):
        check_truncation(request.truncation, findings)
        if info.distribution is not Distribution.NORMAL:
            findings.precondition(
                f"model {info.name!r} has uniform latents, truncation applies to normal ones: leave it out"
            )
    controls = check_controls(info, request.controls, findings)
    labels = check_labels(info, request.label_indices, request.label_names, request.count, findings)
    if request.return_scores:
        _check_critic(model, findings)
    seed = request.seed if request.HasField("seed") else draw_seed()
    return SamplePlan(
        count=request.count,
        work=GeneratorWork(
            seed=0 if request.HasField("latents") else seed,
            offset=request.offset,
            truncation=request.truncation if request.HasField("truncation") else None,
            labels=labels,
            controls=controls,
            latents=latents,
        ),
        return_latents=request.return_latents,
        return_scores=request.return_scores,
        bytes_per_sample=_bytes_per_sample(info, request),
    )


def _bytes_per_sample(info: ModelInfo, request: gan_service_pb2.SampleRequest) -> int:
    size = info.sample_bytes + info.label_bytes
    if request.return_latents:
        size += 4 * info.latent_dimension
    return size + _SCORE_BYTES if request.return_scores else size


def _check_encoding(request: gan_service_pb2.SampleRequest, findings: Findings) -> None:
    if request.encoding in {tensor_pb2.ENCODING_UNSPECIFIED, tensor_pb2.ENCODING_RAW}:
        return
    name = enum_name(tensor_pb2.Encoding, request.encoding)
    if request.encoding in tensor_pb2.Encoding.values():
        findings.unsupported(
            f"this server sends raw samples only, no {name}: ask for ENCODING_RAW and encode on your side"
        )
    else:
        findings.invalid("encoding", f"is {name}; expected a value of ganserve.v1.Encoding, such as ENCODING_RAW")


def _check_selection(request: gan_service_pb2.SampleRequest, findings: Findings) -> None:
    selection = request.selection
    if selection.method not in gan_service_pb2.SelectionMethod.values() or not selection.method:
        name = enum_name(gan_service_pb2.SelectionMethod, selection.method)
        findings.invalid(
            "selection.method", f"is {name}; expected SELECTION_METHOD_BEST_OF_N or SELECTION_METHOD_REJECTION"
        )
    if selection.max_proposals_per_sample < 1:
        findings.invalid("selection.max_proposals_per_sample", "is 0; expected at least 1")
    findings.unsupported(
        "this server does not select by the critic yet: leave selection out, or ask for return_scores and select "
        "on your side"
    )


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


def _check_critic(model: Model, findings: Findings) -> None:
    if model.critic is None:
        findings.precondition(
            f"version {model.info.version} of model {model.info.name!r} has no critic and cannot score: "
            f"{model.info.critic_absence or 'export it with its critic'}"
        )


def _claimed_count(tensor: tensor_pb2.Tensor) -> int:
    return tensor.shape[0] if tensor.shape else 0
