"""Limit the sizes of answers and of decoded pictures."""

from dataclasses import dataclass

MAX_PAYLOAD_BYTES = 256 * 2**20
"""Most bytes of samples in one message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The sizes that a service allows."""

    max_response_bytes: int = MAX_PAYLOAD_BYTES
    """Most bytes of samples, latents, labels and scores in one answer of Sample."""
    max_chunk_bytes: int = 4 * 2**20
    """Most bytes of these in one chunk of StreamSamples."""
    max_decoded_bytes: int = 256 * 2**20
    """Most bytes of decoded pixels in one request, and in all running requests of the same priority together."""
