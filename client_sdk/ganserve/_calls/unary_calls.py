"""Define the calls with one request and one answer, for a transport to send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ganserve._calls import responses
from ganserve._calls.requests import get_model_request, score_request
from ganserve._errors import ServerError
from ganserve.v1 import gan_service_pb2, tensor_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from ganserve._calls.score_inputs import ScoreInputs
    from ganserve._results.batch import SampleBatch
    from ganserve._results.models import ModelInfo, ModelSummary
    from ganserve._results.scores import Scores
    from ganserve._types import Priority

Result_co = TypeVar("Result_co", covariant=True)


@dataclass(slots=True)
class Call(Generic[Result_co]):
    """One unary call."""

    method: str
    """Its method of GanService."""
    request: Message
    """Its request."""
    parse: Callable[[Any], Result_co]
    """Turns the response into the result."""
    timeout_s: float
    """Deadline in seconds; math.inf is none."""
    slow: bool = False
    """True if `parse` takes too long for an event loop."""


def needs_description(request: gan_service_pb2.SampleRequest) -> bool:
    """Return whether reading the answer takes the model's description: WebP files don't tell gray from colour."""
    return request.encoding == tensor_pb2.ENCODING_WEBP


def describe_first(request: gan_service_pb2.SampleRequest, timeout_s: float) -> Call[ModelInfo]:
    """Describe the model of a request for samples."""
    return get_model(request.model or None, request.version or None, timeout_s)


def channels_of(request: gan_service_pb2.SampleRequest, info: ModelInfo) -> int | None:
    """Return C of a model's images, or None of vectors, and ask for exactly this version from now on."""
    request.model, request.version = info.name, info.version
    return info.sample.shape[-1] if info.sample.kind == "image" else None


def sample(
    request: gan_service_pb2.SampleRequest, timeout_s: float, info: ModelInfo | None = None
) -> Call[SampleBatch]:
    """Draw samples; with the model's description, by exactly that version."""
    channels = None if info is None else channels_of(request, info)

    def parse(response: gan_service_pb2.SampleResponse) -> SampleBatch:
        batch = responses.sample_batch(response, request, channels)
        if len(batch) != request.count:
            raise ServerError(f"the server sent {len(batch)} samples instead of {request.count}")
        return batch

    return Call("Sample", request, parse, timeout_s, slow=request.encoding != tensor_pb2.ENCODING_UNSPECIFIED)


def score(
    inputs: ScoreInputs,
    info: ModelInfo | None,
    *,
    model: str | None,
    version: int | None,
    priority: Priority,
    timeout_s: float,
) -> Call[Scores]:
    """Score samples; with the model's description, by exactly that version."""
    samples = inputs.samples(info)
    count = len(samples)
    labels = inputs.labels(count, info)
    if info is not None:
        model, version = info.name, info.version
    request = score_request(samples, labels, model=model, version=version, priority=priority)
    return Call(
        "Score", request, lambda response: responses.scores(response, labels.per_sample(count), count), timeout_s
    )


def list_models(timeout_s: float) -> Call[list[ModelSummary]]:
    """List the models."""
    return Call("ListModels", gan_service_pb2.ListModelsRequest(), responses.model_summaries, timeout_s)


def largest_request(timeout_s: float) -> Call[int]:
    """Ask for the bytes of the largest request that the server takes; 0: unknown."""
    return Call(
        "ListModels", gan_service_pb2.ListModelsRequest(), lambda answer: answer.limits.max_request_bytes, timeout_s
    )


def get_model(name: str | None, version: int | None, timeout_s: float) -> Call[ModelInfo]:
    """Describe a model."""
    return Call("GetModel", get_model_request(name, version), responses.model_info, timeout_s)
