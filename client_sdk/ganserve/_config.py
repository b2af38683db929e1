"""What a client is set up with, checked once."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass

from ganserve._errors import InvalidRequest

TARGET_VARIABLE = "GANSERVE_TARGET"
DEFAULT_PORT = 50051
DEFAULT_TARGET = f"localhost:{DEFAULT_PORT}"
DEFAULT_TIMEOUT_S = 60.0

_SCHEME = re.compile(r"(dns|ipv4|ipv6|unix|unix-abstract|vsock|xds):")
_BARE_HOST = re.compile(r"[^:/\s\[\]]+|\[[0-9A-Fa-f:.%\w]+\]")
_HOST_AND_PORT = re.compile(r"(?P<host>[^:/\s\[\]]+|\[[0-9A-Fa-f:.%\w]+\]):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientConfig:
    """How a client reaches its server."""

    target: str
    """The server: "host:port", or a gRPC target with a scheme ("unix:/run/ganserve.sock")."""
    timeout_s: float
    """Default deadline of a call in seconds; math.inf is none."""

    @classmethod
    def of(cls, target: str | None, timeout_s: float) -> ClientConfig:
        """The configuration from a client's arguments and the environment."""
        return cls(target=resolve_target(target), timeout_s=check_timeout(timeout_s))


def resolve_target(target: str | None) -> str:
    """The server's address: the argument, else GANSERVE_TARGET, else localhost:50051.

    Raises:
        InvalidRequest: It is not an address; the message says where it came from.
    """
    source = "target"
    if target is None:
        target = os.environ.get(TARGET_VARIABLE, "")
        source = f"the environment variable {TARGET_VARIABLE}"
        if not target.strip():
            return DEFAULT_TARGET
    if not isinstance(target, str):
        raise InvalidRequest.of(source, f'is {target!r}; expected a str such as "{DEFAULT_TARGET}"')
    address = target.strip()
    if _SCHEME.match(address):
        return address
    if _BARE_HOST.fullmatch(address):
        return f"{address}:{DEFAULT_PORT}"
    match = _HOST_AND_PORT.fullmatch(address)
    if match and 0 < int(match["port"]) < 2**16:
        return address
    raise InvalidRequest.of(source, f'is {target!r}; expected "host:port" such as "{DEFAULT_TARGET}"')


def check_timeout(timeout_s: float | None, default_s: float | None = None) -> float:
    """A deadline in seconds; the default, where there is one, if it is None.

    Raises:
        InvalidRequest: It is not a number above 0.
    """
    if timeout_s is None and default_s is not None:
        return default_s
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not timeout_s > 0:
        raise InvalidRequest.of(
            "timeout_s", f"is {timeout_s!r}; expected seconds above 0, or math.inf to wait for ever"
        )
    return float(timeout_s)


def grpc_timeout(timeout_s: float) -> float | None:
    """A deadline as gRPC takes it: None is none."""
    return None if math.isinf(timeout_s) else timeout_s
