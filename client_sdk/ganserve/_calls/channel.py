"""Open channels to servers: their options, their stubs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from ganserve._calls.forks import forks
from ganserve._calls.health import HEALTH_CHECK, PROBE_S, SERVING, answered
from ganserve._calls.rotation import Endpoint
from ganserve._calls.servers import Servers
from ganserve._errors import GanserveError, InvalidRequest
from ganserve.v1 import gan_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ganserve._calls.targets import Target
    from ganserve._config import ClientConfig
    from ganserve._tls import Encryption

    Connect: TypeAlias = Callable[[], Servers]
    AsyncConnect: TypeAlias = Callable[[], Awaitable[Servers]]

    Interceptor: TypeAlias = (
        grpc.UnaryUnaryClientInterceptor
        | grpc.UnaryStreamClientInterceptor
        | grpc.StreamUnaryClientInterceptor
        | grpc.StreamStreamClientInterceptor
    )
    AsyncInterceptor: TypeAlias = grpc.aio.ClientInterceptor

# More than servers allow by default, which refuse larger messages by their own limits.
MAX_MESSAGE_BYTES = (256 + 1) * 2**20

# Balance calls among the addresses of a name that gRPC or a proxy looks up.
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


def channel_options(target: Target, address: str, encryption: Encryption | None = None) -> list[tuple[str, int | str]]:
    """Return the options of a channel to one address of a target."""
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
        # Give up an address that takes connections but does not speak, such as a stopped process's: by default, after
        # 20 s.
        ("grpc.min_reconnect_backoff_ms", 5_000),
        # Otherwise a new client inherits the connections, and the waits after failed ones, of older clients.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if target.proxy is None:
        options.append(("grpc.enable_http_proxy", 0))
    if address != target.text and target.host is not None:
        options.append(("grpc.default_authority", f"{target.host}:{target.port}"))  # what the name would give
    if encryption is not None and encryption.server_name is not None:
        options.append(("grpc.ssl_target_name_override", encryption.server_name))
    return options


def _credentials(encryption: Encryption) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(encryption.ca, encryption.key, encryption.certificate)


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


def connect(config: ClientConfig, interceptors: Sequence[Interceptor] = ()) -> Servers:
    """Return the servers of `Client`; each connects with its first call."""
    forks.check()
    _check_gevent()
    _check_interceptors(interceptors, _KINDS, "Client")

    def open_endpoint(target: Target, address: str) -> Endpoint:
        options = channel_options(target, address, config.encryption)
        compression = _COMPRESSIONS[config.compression]
        # By name: instrumentation, such as OpenTelemetry's and Sentry's, replaces these functions by its own.
        if config.encryption is None:
            channel = grpc.insecure_channel(address, options=options, compression=compression)
        else:
            channel = grpc.secure_channel(
                address, _credentials(config.encryption), options=options, compression=compression
            )
        check: Any = channel.unary_unary(HEALTH_CHECK)

        def probe() -> bool:
            try:
                response: bytes = check(b"", timeout=PROBE_S, metadata=config.metadata)
            except grpc.RpcError as error:
                return answered(error)
            return response == SERVING

        stub = gan_service_pb2_grpc.GanServiceStub(grpc.intercept_channel(channel, *interceptors))
        return _endpoint(config, target, address, stub, channel.close, probe)

    return Servers(config.targets, open_endpoint, config.connections)


def _endpoint(
    config: ClientConfig, target: Target, address: str, stub: Any, close: Callable[[], Any], probe: Callable[[], Any]
) -> Endpoint:
    encrypted = config.encryption is not None
    return Endpoint(target.text, stub, close, address=address, probe=probe, proxy=target.proxy, encrypted=encrypted)


async def async_connect(config: ClientConfig, interceptors: Sequence[AsyncInterceptor] = ()) -> Servers:
    """Return the servers of `AsyncClient`, each of which connects with its first call, on the running loop."""
    forks.check()
    _check_interceptors(interceptors, (grpc.aio.ClientInterceptor,), "AsyncClient")

    def open_endpoint(target: Target, address: str) -> Endpoint:
        options: dict[str, Any] = {
            "options": channel_options(target, address, config.encryption),
            "compression": _COMPRESSIONS[config.compression],
            "interceptors": list(interceptors),
        }
        if config.encryption is None:
            channel = grpc.aio.insecure_channel(address, **options)
        else:
            channel = grpc.aio.secure_channel(address, _credentials(config.encryption), **options)
        check: Any = channel.unary_unary(HEALTH_CHECK)

        async def probe() -> bool:
            try:
                response: bytes = await check(b"", timeout=PROBE_S, metadata=config.metadata)
            except grpc.RpcError as error:
                return answered(error)
            return response == SERVING

        stub = gan_service_pb2_grpc.GanServiceStub(channel)
        return _endpoint(config, target, address, stub, channel.close, probe)

    return Servers(config.targets, open_endpoint, config.connections)
