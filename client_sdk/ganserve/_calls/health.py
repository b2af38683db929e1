"""Ask grpc.health.v1 whether a server works, without the package of its messages."""

import grpc

HEALTH_CHECK = "/grpc.health.v1.Health/Check"
"""The method. Its request for the whole server is empty."""
SERVING = b"\x08\x01"
"""The response of a server that works: HealthCheckResponse(status=SERVING)."""
PROBE_S = 2.0
"""Deadline of a check."""

_SILENT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


def answered(error: grpc.RpcError) -> bool:
    """Return whether a failed check came from a server that works, such as one without this service."""
    return error.code() not in _SILENT
