"""Channels: their options, and how they are opened."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from ganserve._config import ClientConfig

# As the server's: 256 MiB of samples, and a little for the names, lengths and tags around them.
MAX_MESSAGE_BYTES = (256 + 1) * 2**20

# Every method of GanService is safe to repeat: samples are addressed by a seed that the client draws before the first
# attempt (`_requests.sample_request`), and the other methods change nothing. gRPC retries inside the call's deadline,
# waits random(0.8, 1.2) times the backoff, and gives up after five attempts (its own limit) or once an answer has
# begun.
RETRY_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "ganserve.v1.GanService"}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


def channel_options(config: ClientConfig) -> list[tuple[str, int | str]]:
    """The options of a channel to this target."""
    options: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.primary_user_agent", f"ganserve-python/{version('ganserve')}"),
        ("grpc.enable_retries", 1),
        ("grpc.service_config", json.dumps(RETRY_SERVICE_CONFIG)),
        # gRPC retries only what it still holds in its buffer, 256 KiB by default: less than a batch of images to score.
        ("grpc.per_rpc_retry_buffer_size", 16 * 2**20),
        # A dead peer is noticed during a call within 40 s. ganserve's server allows pings that frequent; a server that
        # does not (gRPC's default is 5 minutes) ends the connection with "too_many_pings".
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 0),
        # A server that has just come up is found quickly; by default the second attempt to connect waits a second.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        # Without this, a new client inherits the connections, and the waits after failed ones, of older clients.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if _is_loopback(config.target):
        options.append(("grpc.enable_http_proxy", 0))  # http_proxy is set and no_proxy is not: localhost is still here
    return options


def open_channel(config: ClientConfig) -> grpc.Channel:
    """A channel for `Client`; it connects with the first call."""
    return grpc.insecure_channel(config.target, options=channel_options(config))


def open_async_channel(config: ClientConfig) -> grpc.aio.Channel:
    """A channel for `AsyncClient`, bound to the running event loop; it connects with the first call."""
    return grpc.aio.insecure_channel(config.target, options=channel_options(config))


def _is_loopback(target: str) -> bool:
    return target.startswith(("localhost:", "127.", "[::1]:", "unix:"))
