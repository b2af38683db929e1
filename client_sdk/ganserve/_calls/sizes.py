"""Refuse requests that are larger than a server takes, before they are sent."""

from __future__ import annotations

from typing import Any

from ganserve._errors import MessageTooLarge
from ganserve.v1 import gan_service_pb2

_MIB = 2**20
_USUAL_BYTES = 16 * _MIB  # by servers' default
_FIXES = {
    gan_service_pb2.ScoreRequest: "use score_stream, or score fewer samples at a time",
    gan_service_pb2.StreamScoresRequest: "give fewer samples in each item",
    gan_service_pb2.StreamSamplesRequest: "draw them by several streams with fewer labels each",
}


class RequestLimit:
    """The largest request that a client's servers take, as far as they have told it."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._bytes = _USUAL_BYTES

    def learn(self, response: Any) -> None:
        """Note the limit, if a response tells it."""
        if isinstance(response, (gan_service_pb2.ListModelsResponse, gan_service_pb2.GetModelResponse)):
            self._bytes = response.limits.max_request_bytes or self._bytes

    def allows(self, request: Any) -> bool:
        """Return whether a request is not larger; if it is, ask the server."""
        return bool(request.ByteSize() <= self._bytes)

    def check(self, request: Any, limit: int) -> None:
        """Raise MessageTooLarge if a request is larger than the server's limit in bytes; 0: unknown."""
        size = request.ByteSize()
        if not limit or size <= limit:
            return
        fix = _FIXES.get(type(request), "use stream, or give fewer labels at a time")
        raise MessageTooLarge(
            f"{_subject(request)} {size / _MIB:.1f} MiB in one request, more than the {limit / _MIB:g} MiB that the "
            f"server at {self._target} takes: {fix}, or raise the server's --max-request-mib"
        )


def _subject(request: Any) -> str:
    if isinstance(request, gan_service_pb2.StreamScoresRequest):
        request = request.request
    if not isinstance(request, gan_service_pb2.ScoreRequest):
        return "n and label take"
    samples = request.samples
    count = len(samples.images.files) if samples.HasField("images") else samples.tensor.shape[0]
    return f"images: {count} sample{' takes' if count == 1 else 's take'}"
