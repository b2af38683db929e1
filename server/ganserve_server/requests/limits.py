"""Limit the sizes of requests, answers and decoded pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ganserve_server.settings import ServerConfig

_MIB = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The sizes that a service allows."""

    max_request_bytes: int = 16 * _MIB
    """Most bytes of one request, or of one message of a request stream."""
    max_response_bytes: int = 64 * _MIB
    """Most bytes of samples, latents, labels and scores in one answer of Sample."""
    max_chunk_bytes: int = 4 * _MIB
    """Most bytes of these in one chunk of StreamSamples."""
    max_decoded_bytes: int = 256 * _MIB
    """Most bytes of decoded pixels in one request, and in all running requests of the same priority together."""

    @classmethod
    def of(cls, config: ServerConfig) -> Limits:
        """Return the limits that a server's settings say."""
        return cls(
            max_request_bytes=config.max_request_mib * _MIB,
            max_response_bytes=config.max_answer_mib * _MIB,
            max_chunk_bytes=min(4, config.max_answer_mib) * _MIB,
        )
