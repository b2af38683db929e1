"""Define the calls that stream: requests, progress, and the requests that remain after a broken connection."""

# N = samples

import itertools
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sized
from typing import Any, TypeAlias, cast

import numpy as np

from ganserve._argument_checks import check_flag, kind_of
from ganserve._calls import responses, unary_calls
from ganserve._calls.score_inputs import ScoreInputs
from ganserve._errors import GanserveError, InvalidRequest, ServerError
from ganserve._results.batch import SampleBatch
from ganserve._results.models import ModelInfo
from ganserve._results.scores import Scores
from ganserve._types import ImagesLike, Label, Labels, Priority
from ganserve.v1 import gan_service_pb2

READ_AHEAD_ITEMS = 8
READ_AHEAD_BYTES = 16 * 2**20
Item: TypeAlias = tuple[gan_service_pb2.StreamScoresRequest, unary_calls.Call[Scores]]
"""A message of a stream of scores, and how to read its answer."""


class SampleStreamCall:
    """A stream of samples."""

    method = "StreamSamples"

    def __init__(self, request: gan_service_pb2.StreamSamplesRequest, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        """Most seconds to wait for one batch; math.inf waits for ever."""
        self._request = request
        self._received = 0
        self._channels: int | None = None
        self._described = not unary_calls.needs_description(request.request)

    @property
    def seed(self) -> int:
        """The seed of the request."""
        return self._request.request.seed

    @property
    def begun(self) -> bool:
        """True once a batch has come."""
        return self._received > 0

    @property
    def complete(self) -> bool:
        """True once all samples have come."""
        return self._received == self._request.request.count

    @property
    def progress(self) -> str:
        """Its progress, for error messages."""
        wanted = self._request.request
        model = f", model={wanted.model!r}" if wanted.model else ""
        return f"{self._received} of {wanted.count} samples, seed={self.seed}{model}"

    @property
    def slow(self) -> bool:
        """True if `parse` takes too long for an event loop."""
        return self._request.request.encoding != 0

    def describe(self) -> unary_calls.Call[ModelInfo] | None:
        """Return the call that must describe the model before the stream begins, or None."""
        return None if self._described else unary_calls.describe_first(self._request.request, self.timeout_s)

    def described(self, info: ModelInfo) -> None:
        """Take the model's description."""
        self._channels, self._described = unary_calls.channels_of(self._request.request, info), True

    def remaining(self) -> gan_service_pb2.StreamSamplesRequest:
        """Return the request for the missing samples, of the version that drew the others."""
        if not self._received:
            return self._request
        request = gan_service_pb2.StreamSamplesRequest()
        request.CopyFrom(self._request)
        rest = request.request
        rest.count -= self._received
        rest.offset += self._received
        for labels in (rest.label_indices, rest.label_names):
            if len(labels) > 1:  # one a sample
                del labels[: self._received]
        return request

    def parse(self, response: gan_service_pb2.StreamSamplesResponse) -> SampleBatch:
        """Return the batch of the next message."""
        wanted = self._request.request
        batch = responses.sample_batch(response.chunk, wanted, self._channels)
        due = wanted.offset + self._received
        if response.chunk.offset != due or not len(batch) or self._received + len(batch) > wanted.count:
            raise ServerError(
                f"the stream sent {len(batch)} samples from {response.chunk.offset} on; expected those from {due}"
            )
        self._received += len(batch)
        wanted.model, wanted.version = batch.model, batch.version
        return batch

    def finish(self) -> None:
        """Check that nothing is missing at the end."""
        if not self.complete:
            raise ServerError(f"the stream ended after {self._received} of {self._request.request.count} samples")

    def explain(self, failure: GanserveError) -> None:
        """Add to the error that ends the stream how to continue."""
        if self._received:
            wanted = self._request.request
            failure.add(
                f"{self._received} of {wanted.count} samples came; the others are seed={self.seed}, "
                f"offset={wanted.offset + self._received}, model={wanted.model!r}, version={wanted.version}"
            )


class ScoreStreamCall:
    """A stream of scores."""

    method = "StreamScores"

    def __init__(
        self,
        images: Iterable[ImagesLike] | AsyncIterable[ImagesLike],
        label: Label | Iterable[Labels] | None,
        *,
        model: str | None,
        default_model: str | None,
        version: int | None,
        fit: bool,
        priority: Priority,
        timeout_s: float,
    ) -> None:
        self.timeout_s = timeout_s
        """Most seconds to wait for one result; math.inf waits for ever."""
        self.items: Iterator[ImagesLike] | AsyncIterator[ImagesLike] = _iterator(images)
        """The items to score."""
        self.exhausted = False
        """True once `items` has ended."""
        self.failure: Exception | None = None
        """The error of `items`, if it had one; raised after the results of the items before."""
        self._labels = _labels(label)
        self._label_count = len(label) if isinstance(label, Sized) and not isinstance(label, str) else None
        self._read = 0
        self._model, self._default_model = model, default_model
        self._version, self._priority = version, priority
        self._fit = check_flag("fit", fit)
        self._known: dict[str | None, ModelInfo] = {}
        self._pending: deque[Item] = deque()
        self._pending_bytes = 0
        self._scored = 0
        self.slow = False
        """`parse` is quick."""

    @property
    def begun(self) -> bool:
        """True once a result has come."""
        return self._scored > 0

    @property
    def progress(self) -> str:
        """Its progress, for error messages."""
        model = f", model={self._model!r}" if self._model is not None else ""
        return f"{self._scored} item{'' if self._scored == 1 else 's'} scored, {len(self._pending)} under way{model}"

    @property
    def wants_more(self) -> bool:
        """True to read the next item before waiting for a result."""
        room = len(self._pending) < READ_AHEAD_ITEMS and self._pending_bytes < READ_AHEAD_BYTES
        return not self.exhausted and (room or not self._pending)

    @property
    def complete(self) -> bool:
        """True once all items have their results."""
        return self.exhausted and not self._pending

    def read(self, images: ImagesLike) -> ScoreInputs:
        """Read an item; opens files."""
        try:
            label = next(self._labels)
        except StopIteration:
            raise InvalidRequest.of("label", "ended before the images; expected one entry an item") from None
        self._read += 1
        return ScoreInputs.read(images, label, self._fit)

    def check_labels(self) -> None:
        """Refuse labels for more items than there were."""
        if self._label_count is not None and self._label_count > self._read:
            raise InvalidRequest.of("label", f"has {self._label_count} entries; expected {self._read}, one an item")

    def describe(self, inputs: ScoreInputs) -> unary_calls.Call[ModelInfo] | ModelInfo:
        """Return the model to score an item with, or the call that describes it, which each model needs once."""
        model = self._model_of(inputs)
        return self._known.get(model) or unary_calls.get_model(model, self._version, self.timeout_s)

    def request(self, inputs: ScoreInputs, info: ModelInfo) -> Item:
        """Return an item's request, for exactly this version of the model, so that all scores compare."""
        self._known[self._model_of(inputs)] = info
        call = unary_calls.score(
            inputs, info, model=None, version=None, priority=self._priority, timeout_s=self.timeout_s
        )
        return gan_service_pb2.StreamScoresRequest(request=cast("gan_service_pb2.ScoreRequest", call.request)), call

    def add(self, item: Item) -> gan_service_pb2.StreamScoresRequest:
        """Count an item as sent, and return its message."""
        self._pending.append(item)
        self._pending_bytes += item[0].ByteSize()
        return item[0]

    def remaining(self) -> list[gan_service_pb2.StreamScoresRequest]:
        """Return the requests without a result."""
        return [request for request, _ in self._pending]

    def parse(self, response: gan_service_pb2.StreamScoresResponse) -> Scores:
        """Return the result of the next message."""
        if not self._pending:
            raise ServerError("the stream sent more results than it had requests")
        request, call = self._pending.popleft()
        self._pending_bytes -= request.ByteSize()
        self._scored += 1
        return call.parse(response.response)

    def finish(self) -> None:
        """Check that nothing is missing at the end."""
        if self._pending:
            raise ServerError(f"the stream ended without the last {len(self._pending)} results")

    def explain(self, failure: GanserveError) -> None:
        """Add nothing: the caller can send the remaining items again."""

    def _model_of(self, inputs: ScoreInputs) -> str | None:
        return next((name for name in (self._model, inputs.model) if name is not None), self._default_model)


def _iterator(images: Any) -> Any:
    if isinstance(images, str | bytes) or not (hasattr(images, "__iter__") or hasattr(images, "__aiter__")):
        raise InvalidRequest.of("images", f"is {kind_of(images)}; expected an iterable of what `score` takes")
    return aiter(images) if hasattr(images, "__aiter__") else iter(images)


def _labels(label: Any) -> Iterator[Labels | None]:
    single = label is None or isinstance(label, str | int | np.integer)
    if single or (isinstance(label, np.ndarray) and not label.ndim):
        return itertools.repeat(label)
    if not hasattr(label, "__iter__") or isinstance(label, bytes):
        raise InvalidRequest.of(
            "label", f"is {label!r}; expected one label for all, or an iterable of one entry an item"
        )
    return iter(label)
