"""The configuration of a client, checked once."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from ganserve._argument_checks import (
    check_choice,
    check_flag,
    check_integer,
    check_model,
    check_text,
    is_finite,
    kind_of,
)
from ganserve._errors import InvalidRequest
from ganserve._tls import TLS, Encryption, resolve_tls
from ganserve._token import check_way, resolve_token

TARGET_VARIABLE = "GANSERVE_TARGET"
MODEL_VARIABLE = "GANSERVE_MODEL"
DEFAULT_PORT = 50051
DEFAULT_TARGET = f"localhost:{DEFAULT_PORT}"
DEFAULT_TIMEOUT_S = 60.0
DEFAULT_ATTEMPTS = 5

Compression: TypeAlias = Literal["none", "deflate", "gzip"]
"""Compression of the messages that a client sends."""
Provider: TypeAlias = Literal["auto", "cuda", "tensorrt", "cpu"]
"""Execution provider of a local server: "auto" is CUDA if it works, else the CPU; the others raise if they fail."""
Metadata: TypeAlias = Mapping[str, str | bytes] | Sequence[tuple[str, str | bytes]]
"""Names and values that a client sends with every call."""

_SCHEME = re.compile(r"(dns|ipv4|ipv6|unix|unix-abstract|vsock|xds):")
_BARE_HOST = re.compile(r"[^:/,\s\[\]]+|\[[0-9A-Fa-f:.%\w]+\]")
_HOST_AND_PORT = re.compile(r"(?P<host>[^:/,\s\[\]]+|\[[0-9A-Fa-f:.%\w]+\]):(?P<port>[0-9]{1,5})")
_METADATA_KEY = re.compile(r"[0-9a-z_.-]+")
# Names that mean something to ganserve or HTTP/2; gRPC drops or replaces their values.
_OTHERS_KEYS = re.compile(r"x-request-id|grpc-.*|te|host|connection|content-(type|length)|user-agent")
_METADATA_TEXT = re.compile(r"[ -~]*")
# Servers refuse all metadata above 16 KiB, and some of it above 8 KiB (gRPC's grpc.max_metadata_size).
_MOST_METADATA_BYTES = 7 * 2**10
_MOST_CONNECTIONS = 256
_FOREVER_S = 1e9  # 31 years; gRPC's clock overflows after 292


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientConfig:
    """The servers of a client, and the options of its calls."""

    targets: tuple[str, ...]
    """The servers, which take turns: "host:port", or gRPC targets with a scheme ("unix:/run/ganserve.sock")."""
    timeout_s: float
    """Default deadline of a call in seconds; math.inf is none."""
    model: str | None = None
    """The model of calls that name none; None: the server's only model."""
    max_attempts: int = DEFAULT_ATTEMPTS
    """Most attempts of one call at all servers together."""
    connections: int = 1
    """Connections to each address."""
    compression: Compression = "none"
    """Compression of what is sent."""
    metadata: tuple[tuple[str, str | bytes], ...] = field(default=(), repr=False)
    """Sent with every call."""
    encryption: Encryption | None = None
    """Encryption of calls; None: they are not encrypted."""
    token: Any = field(default=None, repr=False)
    """The token of each call, or a function that returns it; None: there is none."""

    @classmethod
    def of(
        cls,
        target: str | Sequence[str] | None,
        timeout_s: float,
        *,
        model: str | None = None,
        max_attempts: int | None = None,
        connections: int = 1,
        compression: Compression = "none",
        metadata: Metadata = (),
        tls: bool | TLS | None = None,
        token: Any = None,
        token_over_plain_text: bool = False,
    ) -> ClientConfig:
        """Return the configuration for a client's arguments and the environment."""
        check_choice("compression", compression, get_args(Compression))
        targets = resolve_targets(target)
        encryption = resolve_tls(tls)
        token = resolve_token(token)
        pairs = _check_metadata(metadata)
        allowed = check_flag("token_over_plain_text", token_over_plain_text)
        if encryption is None:
            check_way(targets, token, pairs, allowed=allowed)
        if token is not None and any(name == "authorization" for name, _ in pairs):
            raise InvalidRequest.of("token", "is given, and metadata has authorization, too; leave out one of them")
        connections = check_integer("connections", connections, 1, _MOST_CONNECTIONS)
        if max_attempts is None:  # ask each server on each connection, and one of them again
            max_attempts = max(DEFAULT_ATTEMPTS, len(targets) * connections + 1)
        return cls(
            targets=targets,
            timeout_s=check_timeout(timeout_s),
            model=resolve_model(model),
            max_attempts=check_integer("max_attempts", max_attempts, 1, 1000),
            connections=connections,
            compression=compression,
            metadata=pairs,
            encryption=encryption,
            token=token,
        )

    @property
    def target(self) -> str:
        """The servers' addresses, joined by commas."""
        return ",".join(self.targets)


def resolve_targets(target: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the servers' addresses: the argument, else GANSERVE_TARGET, else localhost:50051."""
    source = "target"
    if target is None:
        target = os.environ.get(TARGET_VARIABLE, "")
        source = f"the environment variable {TARGET_VARIABLE}"
        if not target.strip():
            return (DEFAULT_TARGET,)
    if isinstance(target, str):
        # A gRPC target may have commas: "ipv4:10.0.0.1:50051,10.0.0.2:50051".
        parts = [target] if _SCHEME.match(target.strip()) else target.split(",")
        return tuple(_resolve(part, target, source) for part in parts)
    if not isinstance(target, Sequence) or not target or not all(isinstance(each, str) for each in target):
        raise InvalidRequest.of(source, f'is {target!r}; expected a str such as "{DEFAULT_TARGET}", or several')
    return tuple(_resolve(each, each, source) for each in target)


def resolve_model(model: str | None) -> str | None:
    """Return the model of calls that name none: the argument, else GANSERVE_MODEL, else None."""
    if model is None:
        return os.environ.get(MODEL_VARIABLE, "").strip() or None
    return check_model("model", model)


def _resolve(part: str, target: str, source: str) -> str:
    address = check_text(source, part.strip())
    if (scheme := _SCHEME.match(address)) and len(address) > scheme.end():
        return address
    if _BARE_HOST.fullmatch(address):
        return f"{address}:{DEFAULT_PORT}"
    match = _HOST_AND_PORT.fullmatch(address)
    if match and 0 < int(match["port"]) < 2**16:
        return address
    raise InvalidRequest.of(source, f'is {target!r}; expected "host:port" such as "{DEFAULT_TARGET}"')


def _check_metadata(metadata: Metadata) -> tuple[tuple[str, str | bytes], ...]:
    """Return metadata as pairs; its errors show no values, which may be secrets."""
    if not isinstance(metadata, Mapping | Sequence) or isinstance(metadata, str | bytes):
        raise InvalidRequest.of("metadata", f"is {kind_of(metadata)}; expected a dict, or pairs of a name and a value")
    pairs: list[Any] = list(metadata.items() if isinstance(metadata, Mapping) else metadata)
    size_bytes = 0
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise InvalidRequest.of("metadata", f"has {kind_of(pair)}; expected pairs of a name and a value")
        name, value = pair
        if not isinstance(name, str) or not _METADATA_KEY.fullmatch(name) or _OTHERS_KEYS.fullmatch(name):
            raise InvalidRequest.of(
                "metadata",
                f"has the name {name!r}; expected a name of a-z, 0-9, '-', '_' and '.' not ganserve's or gRPC's",
            )
        if not isinstance(value, bytes if name.endswith("-bin") else str):
            kind = "bytes, because its name ends in -bin" if name.endswith("-bin") else "a str"
            raise InvalidRequest.of("metadata", f"has {kind_of(value)} as {name}; expected {kind}")
        if isinstance(value, str) and not _METADATA_TEXT.fullmatch(value):
            wrong = next(character for character in value if not _METADATA_TEXT.fullmatch(character))
            binary = f"use a name that ends in -bin, as {name}-bin"
            fix = "strip it" if _METADATA_TEXT.fullmatch(value.strip()) else binary
            raise InvalidRequest.of(
                "metadata", f"has the character {wrong!a} in {name}; expected printable ASCII: {fix}"
            )
        size_bytes += len(name) + len(value) + 32  # as HTTP/2 counts
    if size_bytes > _MOST_METADATA_BYTES:
        raise InvalidRequest.of("metadata", f"has {size_bytes} bytes; expected at most {_MOST_METADATA_BYTES}")
    return tuple(pairs)


def check_timeout(timeout_s: float | None, default_s: float | None = None) -> float:
    """Return a deadline in seconds, above 0, or the default for None."""
    if timeout_s is None and default_s is not None:
        return default_s
    number = is_finite(timeout_s) or timeout_s == math.inf
    if timeout_s is None or not number or not timeout_s > 0:
        raise InvalidRequest.of(
            "timeout_s", f"is {timeout_s!r}; expected seconds above 0, or math.inf to wait for ever"
        )
    return float(timeout_s) if timeout_s < _FOREVER_S else math.inf
