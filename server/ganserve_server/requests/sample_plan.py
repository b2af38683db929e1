"""Check a request for samples and plan its work.

N = samples, Z = values of one latent, L = layers, W = values of one w.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from ganserve.v1 import gan_service_pb2, tensor_pb2
from ganserve_server.error_text import counted, enum_name
from ganserve_server.models.latents import MAX_INDEX, draw_seed
from ganserve_server.models.manifest_checks import ModelInfo
from ganserve_server.models.model import GeneratorWork, Model
from ganserve_server.models.style import StyleWork
from ganserve_server.pictures.formats import FORMATS, encoding_obstacle, most_bytes
from ganserve_server.pictures.marks import Marking, RequestMarks
from ganserve_server.queue.lanes import Priority
from ganserve_server.requests.field_checks import (
    check_answer_size,
    check_controls,
    check_critic,
    check_labels,
    check_priority,
    check_tensor,
)
from ganserve_server.requests.findings import Findings
from ganserve_server.requests.limits import Limits
from ganserve_server.requests.style_checks import StyleRequest, check_latent_truncation, check_style
from ganserve_server.sampling.rejection_sampling import calibration_obstacle
from ganserve_server.sampling.selection import MOST_PROPOSALS_PER_SAMPLE, Selection

_SCORE_BYTES = 8  # float32 score and probability
_CALLS_PER_CHUNK = 4  # of a stream whose client gives no chunk size
_LIKELY_PROPOSALS = 8  # of a sample in rejection sampling, where only the upper bound is known
_RAW = (tensor_pb2.ENCODING_UNSPECIFIED, tensor_pb2.ENCODING_RAW)
_BEST_OF_N, _REJECTION = gan_service_pb2.SELECTION_METHOD_BEST_OF_N, gan_service_pb2.SELECTION_METHOD_REJECTION
_MARKED = Marking()
_Optional = Literal["seed", "selection", "truncation", "truncation_layers", "mix"]
_GIVEN: tuple[Literal["latents", "w"], ...] = ("latents", "w")
_EXCLUDED: tuple[_Optional, ...] = ("seed", "selection", "truncation")
_NOT_WITH = "cannot be combined with {}: give one of the two"


@dataclass(kw_only=True, slots=True)  # not frozen: made for every request, and freezing takes time
class SamplePlan:
    """A valid request for samples."""

    count: int
    work: GeneratorWork
    priority: Priority
    encoding: tensor_pb2.Encoding.ValueType
    """An encoding that the model's samples fit."""
    selection: Selection | None
    return_latents: bool
    return_scores: bool
    bytes_per_sample: int
    """Most bytes of one sample in an answer."""
    bytes_held_per_sample: int
    """The same with the sample's latent, even if it is not returned."""
    marks: RequestMarks | None
    """The marks of its pictures; None if they get none, or there are no pictures."""


def plan_sample(
    model: Model, request: gan_service_pb2.SampleRequest, limits: Limits, marking: Marking = _MARKED
) -> SamplePlan:
    """Check a request for samples, and raise an error with all of its problems."""
    findings = Findings()
    plan = _plan(model, request, findings, marking)
    check_answer_size(plan.count, plan.bytes_held_per_sample, limits, "count", findings, instead=", or for a stream")
    findings.raise_any()
    return plan


def plan_stream(
    model: Model, request: gan_service_pb2.StreamSamplesRequest, limits: Limits, marking: Marking = _MARKED
) -> tuple[SamplePlan, int]:
    """Return a stream's plan and the samples of every chunk but the last; raise an error with all of its problems."""
    findings = Findings("request.")
    for field in _GIVEN:
        if request.request.HasField(field):
            findings.invalid(field, "are not allowed in a stream: use Sample, or a seed")
    plan = _plan(model, request.request, findings, marking)
    findings.raise_any()
    most = max(1, limits.max_chunk_bytes // plan.bytes_per_sample)
    return plan, min(request.chunk_size or _default_chunk_size(model, plan), most)


def _default_chunk_size(model: Model, plan: SamplePlan) -> int:
    """Return the samples that a few model calls draw."""
    proposals = 1
    if plan.selection is not None:
        proposals = plan.selection.most
        if plan.selection.rejection:
            proposals = min(proposals, _LIKELY_PROPOSALS)
    return max(1, _CALLS_PER_CHUNK * model.max_batch_size // proposals)


def _plan(model: Model, request: gan_service_pb2.SampleRequest, findings: Findings, marking: Marking) -> SamplePlan:
    info = model.info
    count, offset = request.count, request.offset
    if count < 1:
        findings.invalid("count", "is 0; expected at least 1")
    if offset + count > MAX_INDEX:
        findings.invalid("offset", f"{offset} + count {count} exceeds 2^48: use another seed")
    encoding = _check_encoding(info, request.encoding, findings)
    selection = _check_selection(model, request, findings) if request.HasField("selection") else None
    given = request.HasField("latents")
    latents = _check_latents(info, request, findings) if given else None
    truncation, style = _check_style(info, request, findings)
    controls = check_controls(info, request.controls, findings)
    labels = check_labels(info, request.label_indices, request.label_names, count, findings)
    if request.return_scores:
        check_critic(model, "score", findings)
    priority = check_priority(request.priority, findings)
    bytes_per_sample = _bytes_per_sample(info, request, encoding)
    seed = 0 if given else request.seed if request.HasField("seed") else draw_seed()
    marks = None
    if encoding in FORMATS and marking.on and not request.unmarked:
        marks = RequestMarks(model, request, seed, marking)
        bytes_per_sample += marks.most_bytes
    return SamplePlan(
        count=count,
        work=GeneratorWork(
            seed=seed,
            offset=offset,
            truncation=truncation,
            labels=labels,
            controls=controls,
            latents=latents,
            style=style,
        ),
        priority=priority,
        encoding=encoding,
        selection=selection,
        return_latents=request.return_latents,
        return_scores=request.return_scores,
        bytes_per_sample=bytes_per_sample,
        bytes_held_per_sample=bytes_per_sample + (0 if request.return_latents else 4 * info.latent_dimension),
        marks=marks,
    )


def _bytes_per_sample(
    info: ModelInfo, request: gan_service_pb2.SampleRequest, encoding: tensor_pb2.Encoding.ValueType
) -> int:
    size = most_bytes(info, encoding) + info.label_bytes
    if request.return_latents:
        size += 4 * info.latent_dimension
    if info.style is not None and request.return_w:
        size += info.style.w_bytes
    return size + _SCORE_BYTES if request.return_scores else size


def _check_encoding(
    info: ModelInfo, encoding: tensor_pb2.Encoding.ValueType, findings: Findings
) -> tensor_pb2.Encoding.ValueType:
    """Return the requested encoding; raw if it is unset or wrong."""
    if encoding in _RAW:
        return tensor_pb2.ENCODING_RAW
    if encoding not in tensor_pb2.Encoding.values():
        findings.invalid("encoding", f"is {encoding}; expected a value of ganserve.v1.Encoding, such as ENCODING_RAW")
    elif obstacle := encoding_obstacle(info, encoding):
        findings.precondition(f"model {info.name!r} makes {obstacle}")
    else:
        return encoding
    return tensor_pb2.ENCODING_RAW


def _check_selection(model: Model, request: gan_service_pb2.SampleRequest, findings: Findings) -> Selection:
    most = request.selection.max_proposals_per_sample
    method = request.selection.method
    if method not in (_BEST_OF_N, _REJECTION):
        name = enum_name(gan_service_pb2.SelectionMethod, method)
        expected = "SELECTION_METHOD_BEST_OF_N or SELECTION_METHOD_REJECTION"
        findings.invalid("selection.method", f"is {name}; expected {expected}")
    if not 1 <= most <= MOST_PROPOSALS_PER_SAMPLE:
        findings.invalid("selection.max_proposals_per_sample", f"is {most}; expected 1 to {MOST_PROPOSALS_PER_SAMPLE}")
    elif (request.offset + request.count) * most > MAX_INDEX:
        findings.invalid(
            "offset",
            f"({request.offset} + count {request.count}) * {most} proposals exceeds 2^48: use another seed, or fewer "
            "proposals",
        )
    if model.critic is None:
        check_critic(model, "select", findings)
    elif method == _REJECTION and (obstacle := calibration_obstacle(model)):
        findings.precondition(obstacle)
    return Selection(rejection=method == _REJECTION, most=most)


def _check_latents(
    info: ModelInfo, request: gan_service_pb2.SampleRequest, findings: Findings
) -> NDArray[np.float32] | None:
    # With a mapping, truncation acts on w's instead of the draw of latents.
    _refuse_beside("latents", _EXCLUDED if info.style is None else _EXCLUDED[:-1], request, findings)
    if request.offset:
        findings.invalid("offset", f"is {request.offset} with latents, which have no sequence: leave it out")
    latents = check_tensor(request.latents, "latents", tensor_pb2.DATA_TYPE_FLOAT32, (info.latent_dimension,), findings)
    if latents is not None and len(latents) != request.count:
        findings.invalid(
            "latents.shape", f"has {counted(len(latents), 'latent')}, count is {request.count}: make them the same"
        )
    _need_labels("latents", info, request, findings)
    return cast("NDArray[np.float32] | None", latents)


def _refuse_beside(
    given: str, fields: Sequence[_Optional], request: gan_service_pb2.SampleRequest, findings: Findings
) -> None:
    """Refuse fields, and controls, beside given latents or w's."""
    for field in fields:
        if request.HasField(field):
            findings.invalid(field, _NOT_WITH.format(given))
    if request.controls:
        findings.invalid("controls", _NOT_WITH.format(given))


def _need_labels(given: str, info: ModelInfo, request: gan_service_pb2.SampleRequest, findings: Findings) -> None:
    if info.label_names and not request.label_indices and not request.label_names:
        findings.invalid(
            "label_indices",
            f"is empty; with {given}, model {info.name!r} needs labels: give one for all, or one a sample",
        )


def _check_style(
    info: ModelInfo, request: gan_service_pb2.SampleRequest, findings: Findings
) -> tuple[float | None, StyleWork | None]:
    """Check what a request says about truncation and the mapping; see `check_style`."""
    truncation = request.truncation if request.HasField("truncation") else None
    if info.style is None and not (
        request.HasField("w")
        or request.HasField("mix")
        or request.HasField("truncation_layers")
        or request.noise
        or request.return_w
    ):
        if truncation is not None:
            check_latent_truncation(info, truncation, findings)
        return truncation, None
    wanted = StyleRequest(truncation=truncation, noise=request.noise, return_w="return_w" if request.return_w else "")
    if request.HasField("truncation_layers"):
        wanted.truncation_layers = request.truncation_layers
    if request.HasField("mix"):
        wanted.mix = request.mix.seed, request.mix.from_layer
    if request.HasField("w"):
        wanted.w = _check_w(info, request, findings)
    return check_style(info, wanted, findings)


def _check_w(info: ModelInfo, request: gan_service_pb2.SampleRequest, findings: Findings) -> NDArray[np.generic]:
    """Return the w's float32 [N, L, W] of a request; nothing, if they are wrong."""
    nothing = np.empty((0, 0, 0), np.float32)
    if info.style is None or not info.style.w_dimension:
        return nothing
    _refuse_beside("w", ("truncation", "truncation_layers", "mix", "selection"), request, findings)
    shape = info.style.layers, info.style.w_dimension
    w = check_tensor(request.w, "w", tensor_pb2.DATA_TYPE_FLOAT32, shape, findings)
    if w is not None and len(w) != request.count:
        findings.invalid("w.shape", f"has {counted(len(w), 'sample')}, count is {request.count}: make them the same")
    _need_labels("w", info, request, findings)
    return nothing if w is None else w
