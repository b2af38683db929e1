"""Unary calls: what is sent, and what becomes of the answer. Every transport carries out the same ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ganserve._calls import requests as _requests
from ganserve._calls import responses as _responses
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
    """The method of GanService."""
    request: Message
    """Its request."""
    parse: Callable[[Any], Result_co]
    """Makes the result of the response."""
    timeout_s: float
    """Deadline in seconds; math.inf is none."""
    slow: bool = False
    """Whether `parse` takes so long that an event loop should not wait for it."""


def needs_description(request: gan_service_pb2.SampleRequest) -> bool:
    """Whether an answer can be read only with the model's description: WebP files do not keep whether they are gray."""
    return request.encoding == tensor_pb2.ENCODING_WEBP


def describe_first(request: gan_service_pb2.SampleRequest, timeout_s: float) -> Call[ModelInfo]:
    """Describe the model of a request for samples."""
    return get_model(request.model or None, request.version or None, timeout_s)


def channels_of(request: gan_service_pb2.SampleRequest, info: ModelInfo) -> int | None:
    """C of a model's images; None if it makes none. From now on the request is for exactly that version."""
    request.model, request.version = info.name, info.version
    return info.sample.shape[-1] if info.sample.kind == "image" else None


def sample(
    request: gan_service_pb2.SampleRequest, timeout_s: float, info: ModelInfo | None = None
) -> Call[SampleBatch]:
    """Draws samples; with the model's description, by exactly that version of it."""
    channels = None if info is None else channels_of(request, info)

    def parse(response: gan_service_pb2.SampleResponse) -> SampleBatch:
        batch = _responses.sample_batch(response, request, channels)
        if len(batch) != request.count:
            raise ServerError(f"the server gave {len(batch)} samples, and {request.count} were asked for")
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
    """Scores samples; with the model's description, by exactly that version of it."""
    samples = inputs.samples(info)
    count = len(samples)
    labels = inputs.labels(count, info)
    if info is not None:
        model, version = info.name, info.version
    request = _requests.score_request(samples, labels, model=model, version=version, priority=priority)
    return Call(
        "Score", request, lambda response: _responses.scores(response, labels.per_sample(count), count), timeout_s
    )


def list_models(timeout_s: float) -> Call[list[ModelSummary]]:
    """List the models."""
    return Call("ListModels", gan_service_pb2.ListModelsRequest(), _responses.model_summaries, timeout_s)


def get_model(name: str | None, version: int | None, timeout_s: float) -> Call[ModelInfo]:
    """Describe a model."""
    return Call("GetModel", _requests.get_model_request(name, version), _responses.model_info, timeout_s)
