"""Refuse requests that are larger than a server takes, before they are sent."""

from __future__ import annotations

from typing import Any

from ganserve._errors import MessageTooLarge
from ganserve.v1 import gan_service_pb2

USUAL_REQUEST_BYTES = 16 * 2**20
"""The largest request that servers take by default."""
_MIB = 2**20


def limit_in(response: Any) -> int:
    """Return the bytes of the largest request that a response tells; 0 if it tells none."""
    if isinstance(response, (gan_service_pb2.ListModelsResponse, gan_service_pb2.GetModelResponse)):
        return int(response.limits.max_request_bytes)
    return 0


def too_large(request: Any, size: int, limit: int, target: object) -> MessageTooLarge:
    """Return the error for a request of `size` bytes, more than the `limit` of the server."""
    if isinstance(request, gan_service_pb2.ScoreRequest):
        fix = "use score_stream, or score fewer samples at a time"
    else:
        fix = "use stream, or give fewer labels at a time"
    return MessageTooLarge(
        f"{_subject(request)} {size / _MIB:.1f} MiB in one request, more than the {limit / _MIB:g} MiB that the server "
        f"at {target} takes: {fix}, or raise the server's --max-request-mib"
    )


def _subject(request: Any) -> str:
    if not isinstance(request, gan_service_pb2.ScoreRequest):
        return "n and label take"
    samples = request.samples
    count = len(samples.images.files) if samples.HasField("images") else samples.tensor.shape[0]
    return f"images: {count} sample{' takes' if count == 1 else 's take'}"
