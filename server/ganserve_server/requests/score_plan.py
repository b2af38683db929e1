"""Check a request for scores and plan its work. N = samples."""

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ganserve.v1 import gan_service_pb2, tensor_pb2
from ganserve_server.error_text import counted, enum_name
from ganserve_server.models.manifest_checks import ModelInfo
from ganserve_server.models.model import Labels, Model
from ganserve_server.pictures.formats import FORMATS, is_image
from ganserve_server.queue.lanes import Priority
from ganserve_server.requests.field_checks import check_critic, check_labels, check_priority, check_tensor
from ganserve_server.requests.findings import Findings
from ganserve_server.requests.limits import Limits


@dataclass(kw_only=True, slots=True)  # not frozen: made for every request, and freezing takes time
class ScorePlan:
    """A valid request for scores; the content of its picture files is not checked yet."""

    samples: NDArray[np.generic] | None
    """[N, ...] in the model's shape. Images may be float32: value / 255."""
    files: tuple[bytes, ...]
    """Pictures, in place of samples."""
    encoding: tensor_pb2.Encoding.ValueType
    """Encoding of the files."""
    labels: Labels
    priority: Priority
    decoded_bytes: int
    """Size of the decoded files."""


def plan_score(model: Model, request: gan_service_pb2.ScoreRequest, limits: Limits) -> ScorePlan:
    """Check a request for scores, and raise an error with all of its problems.

    The content of its picture files is checked later.
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
        check_critic(model, "score", findings)
    elif info.critic_takes_labels and not given:
        problem = f"is empty; model {info.name!r} scores by label: give one for all, or one a sample"
        findings.invalid("label_indices", problem)
    elif given and info.label_names and not info.critic_takes_labels:
        findings.precondition(
            f"the critic of model {info.name!r} scores without labels, though the generator takes them: "
            "leave the labels out"
        )
    priority = check_priority(request.priority, findings)
    findings.raise_any()
    return ScorePlan(
        samples=samples,
        files=files,
        encoding=request.samples.images.encoding,
        labels=labels,
        priority=priority,
        decoded_bytes=len(files) * info.sample_bytes,
    )


def _check_samples(info: ModelInfo, tensor: tensor_pb2.Tensor, findings: Findings) -> NDArray[np.generic] | None:
    """Return the samples as they were sent; None if they are wrong."""
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
    """Return the files of a request; they are decoded later."""
    field, count = "samples.images.files", len(images.files)
    if images.encoding not in FORMATS:
        name = enum_name(tensor_pb2.Encoding, images.encoding)
        findings.invalid("samples.images.encoding", f"is {name}; expected ENCODING_PNG, ENCODING_JPEG or ENCODING_WEBP")
    if not is_image(info):
        findings.precondition(f"model {info.name!r} scores vectors, not images: send samples.tensor")
    if not count:
        findings.invalid(field, "is empty; expected one file a sample")
    most = max(1, limits.max_decoded_bytes // info.sample_bytes)
    if count > most:
        findings.invalid(
            field,
            f"has {counted(count, 'file')}, at {info.sample_bytes} bytes of pixels each more than the "
            f"{limits.max_decoded_bytes} bytes of one request; send at most {most} at a time, or a stream of them",
        )
        return ()
    return tuple(images.files)
