"""Calls: what is sent, and what becomes of the answer. Every transport carries out the same ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ganserve import _requests, _responses
from ganserve._errors import ServerError
from ganserve.v1 import gan_service_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from ganserve._batch import SampleBatch
    from ganserve._inputs import ScoreInputs
    from ganserve._models import ModelInfo, ModelSummary
    from ganserve._scores import Scores

Result_co = TypeVar("Result_co", covariant=True)


@dataclass(frozen=True, slots=True)
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


class StreamCall:
    """One call for a stream of samples, and how far it has come."""

    method = "StreamSamples"

    def __init__(self, request: gan_service_pb2.StreamSamplesRequest, timeout_s: float) -> None:
        self.request = request
        self.timeout_s = timeout_s
        """Most seconds to wait for one batch; math.inf is for ever."""
        self._received = 0

    @property
    def seed(self) -> int:
        """The seed of the request."""
        return self.request.request.seed

    def accept(self, response: gan_service_pb2.StreamSamplesResponse) -> SampleBatch:
        """The batch of the next message.

        Raises:
            ServerError: It is not what comes next.
        """
        wanted = self.request.request
        batch = _responses.sample_batch(response.chunk, wanted)
        due = wanted.offset + self._received
        if response.chunk.offset != due or not len(batch) or self._received + len(batch) > wanted.count:
            raise ServerError(f"the stream gave {len(batch)} samples from {response.chunk.offset}, and {due} was next")
        self._received += len(batch)
        return batch

    def finish(self) -> None:
        """Checks that nothing is missing at the end.

        Raises:
            ServerError: Samples are missing.
        """
        if self._received != self.request.request.count:
            raise ServerError(f"the stream ended after {self._received} of {self.request.request.count} samples")


def sample(request: gan_service_pb2.SampleRequest, timeout_s: float) -> Call[SampleBatch]:
    """Draws samples."""

    def parse(response: gan_service_pb2.SampleResponse) -> SampleBatch:
        batch = _responses.sample_batch(response, request)
        if len(batch) != request.count:
            raise ServerError(f"the server gave {len(batch)} samples, and {request.count} were asked for")
        return batch

    return Call("Sample", request, parse, timeout_s)


def score(
    inputs: ScoreInputs, info: ModelInfo | None, *, model: str | None, version: int | None, timeout_s: float
) -> Call[Scores]:
    """Scores samples; with the model's description, by exactly that version of it."""
    samples = inputs.samples(info)
    count = len(samples)
    labels = inputs.labels(count, info)
    if info is not None:
        model, version = info.name, info.version
    request = _requests.score_request(samples, labels, model=model, version=version)
    return Call(
        "Score", request, lambda response: _responses.scores(response, labels.per_sample(count), count), timeout_s
    )


def list_models(timeout_s: float) -> Call[list[ModelSummary]]:
    """Lists the models."""
    return Call("ListModels", gan_service_pb2.ListModelsRequest(), _responses.model_summaries, timeout_s)


def get_model(name: str | None, version: int | None, timeout_s: float) -> Call[ModelInfo]:
    """Describes a model."""
    return Call("GetModel", _requests.get_model_request(name, version), _responses.model_info, timeout_s)
