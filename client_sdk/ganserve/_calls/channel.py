"""Open channels to servers: their options, their stubs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from ganserve._calls.forks import forks
from ganserve._calls.rotation import Endpoint
from ganserve._errors import GanserveError, InvalidRequest
from ganserve.v1 import gan_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ganserve._config import ClientConfig

    Connect: TypeAlias = Callable[[], list[Endpoint]]
    AsyncConnect: TypeAlias = Callable[[], Awaitable[list[Endpoint]]]

    Interceptor: TypeAlias = (
        grpc.UnaryUnaryClientInterceptor
        | grpc.UnaryStreamClientInterceptor
        | grpc.StreamUnaryClientInterceptor
        | grpc.StreamStreamClientInterceptor
    )
    AsyncInterceptor: TypeAlias = grpc.aio.ClientInterceptor

# The server's limit too: 256 MiB of samples, and some room for the names, lengths and tags around them.
MAX_MESSAGE_BYTES = (256 + 1) * 2**20

# Balance calls among the addresses of a name, such as a headless Kubernetes service, without gRPC's own retries.
_SERVICE_CONFIG: dict[str, object] = {"loadBalancingConfig": [{"round_robin": {}}]}
_COMPRESSIONS = {
    "none": grpc.Compression.NoCompression,
    "deflate": grpc.Compression.Deflate,
    "gzip": grpc.Compression.Gzip,
}


_KINDS = (
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
)


def channel_options(target: str) -> list[tuple[str, int | str]]:
    """Return the options of a channel to this target."""
    options: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.primary_user_agent", f"ganserve-python/{version('ganserve')}"),
        ("grpc.enable_retries", 0),
        ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
        # Notice a dead peer during a call within 40 s. ganserve's server allows pings that frequent; a server that does
        # not (gRPC's default is 5 minutes) ends the connection with "too_many_pings".
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 0),
        # Find a server that has just started: by default the second attempt to connect waits a second.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # Otherwise a new client inherits the connections, and the waits after failed ones, of older clients.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if _is_loopback(target):
        options.append(("grpc.enable_http_proxy", 0))  # ignore http_proxy
    return options


def _check_gevent() -> None:
    """Refuse a process that gevent patched without gRPC's knowledge: its streams would never end."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading") and "grpc.experimental.gevent" not in sys.modules:
        raise GanserveError(
            "gevent patched this process, and gRPC would hang in it: call grpc.experimental.gevent.init_gevent() after "
            "gevent.monkey.patch_all()"
        )


def _check_interceptors(interceptors: Any, kinds: tuple[type, ...], client: str) -> None:
    if not isinstance(interceptors, Sequence) or not all(isinstance(each, kinds) for each in interceptors):
        expected = f"a sequence of gRPC's interceptors for {client}"
        raise InvalidRequest.of("interceptors", f"is {interceptors!r}; expected {expected}")


def connect(config: ClientConfig, interceptors: Sequence[Interceptor] = ()) -> list[Endpoint]:
    """Return an endpoint of each target for `Client`; it connects with its first call."""
    forks.check()
    _check_gevent()
    _check_interceptors(interceptors, _KINDS, "Client")
    endpoints = []
    for target in config.targets:
        # By name: instrumentation, such as OpenTelemetry's and Sentry's, replaces these functions by its own.
        channel = grpc.insecure_channel(
            target, options=channel_options(target), compression=_COMPRESSIONS[config.compression]
        )
        stub = gan_service_pb2_grpc.GanServiceStub(grpc.intercept_channel(channel, *interceptors))
        endpoints.append(Endpoint(target, stub, channel.close))
    return endpoints


async def async_connect(config: ClientConfig, interceptors: Sequence[AsyncInterceptor] = ()) -> list[Endpoint]:
    """Return an endpoint of each target for `AsyncClient`, which connects with its first call, on the running loop."""
    forks.check()
    _check_interceptors(interceptors, (grpc.aio.ClientInterceptor,), "AsyncClient")
    endpoints = []
    for target in config.targets:
        compression = _COMPRESSIONS[config.compression]
        channel = grpc.aio.insecure_channel(
            target, options=channel_options(target), compression=compression, interceptors=list(interceptors)
        )
        endpoints.append(Endpoint(target, gan_service_pb2_grpc.GanServiceStub(channel), channel.close))
    return endpoints


def _is_loopback(target: str) -> bool:
    return target.startswith(("localhost:", "127.", "[::1]:", "unix:"))
