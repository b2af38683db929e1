"""Limit the sizes of requests, answers and decoded pictures, and the numbers of connections and calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ganserve_server.queue.memory_budget import memory_limit_bytes

if TYPE_CHECKING:
    from ganserve_server.settings import ServerConfig

_MIB = 2**20
# An idle connection takes about 60 KiB.
_MOST_CONNECTIONS, _CONNECTION_BYTES = 10_000, 2**18


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The sizes and numbers that a server allows."""

    max_request_bytes: int = 16 * _MIB
    """Most bytes of one request, or of one message of a request stream."""
    max_response_bytes: int = 64 * _MIB
    """Most bytes of samples, latents, labels and scores in one answer of Sample."""
    max_chunk_bytes: int = 4 * _MIB
    """Most bytes of these in one chunk of StreamSamples."""
    max_decoded_bytes: int = 256 * _MIB
    """Most bytes of decoded pixels in one request, and in all running requests of the same priority together."""

    max_read_ahead_bytes: int = 16 * _MIB
    """Most bytes of requests that a stream reads ahead of the answer that is due."""
    memory_limit_bytes: int = 0
    """Most memory of the process, which bounds what requests, and their answers until they are read, may hold. 0: that
    of its control group or of the machine."""
    stall_timeout_s: float = 60.0
    """Longest time that a request may take to arrive, and an answer may wait to be read."""
    max_connections: int = 10_000
    """Most open connections."""
    max_connection_calls: int = 256
    """Most running calls of one connection."""
    max_caller_calls: int = 4096
    """Most running calls of one caller."""

    @classmethod
    def of(cls, config: ServerConfig) -> Limits:
        """Return the limits that a server's settings say."""
        memory = config.memory_limit_mib * _MIB or memory_limit_bytes()
        return cls(
            max_request_bytes=config.max_request_mib * _MIB,
            max_response_bytes=config.max_answer_mib * _MIB,
            # With little memory, streams hold less, so that there can be many.
            max_chunk_bytes=min(4 * _MIB, config.max_answer_mib * _MIB, memory // 256),
            max_read_ahead_bytes=min(16 * _MIB, memory // 64),
            max_decoded_bytes=min(256 * _MIB, memory // 8),
            memory_limit_bytes=memory,
            stall_timeout_s=config.stall_timeout_s,
            max_connections=config.max_connections or min(_MOST_CONNECTIONS, max(1, memory // _CONNECTION_BYTES)),
            max_connection_calls=config.max_connection_calls,
            max_caller_calls=config.max_caller_calls,
        )
