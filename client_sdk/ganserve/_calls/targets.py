"""Find out where a target leads: its name, the addresses of the name, and the proxy on the way."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

_NAMED = re.compile(r"(?:dns:(?:///)?)?(?P<host>[^:/,\s\[\]]+|\[[^\]]+\])(?::(?P<port>\d+))?")
_ADDRESSES = re.compile(r"(?P<scheme>ipv[46]):(?:///)?(?P<addresses>.+)")
_PROXY_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
_NO_PROXY_VARIABLES = ("no_grpc_proxy", "no_proxy")
_DEFAULT_PORT = 443  # gRPC's, for "dns:host"


@dataclass(frozen=True, slots=True)
class Target:
    """A client's target, parsed."""

    text: str
    """The target, for gRPC and messages."""
    host: str | None = None
    """The name to look up; None for targets that gRPC resolves or that are addresses."""
    port: int = _DEFAULT_PORT
    """The port at that name."""
    fixed: tuple[str, ...] = ()
    """The resolved targets, if no name needs a lookup."""
    proxy: Proxy | None = None
    """The proxy on the way, if any; it looks up the name."""

    @classmethod
    def of(cls, text: str) -> Target:
        """Return the meaning of a target."""
        if match := _ADDRESSES.fullmatch(text):  # each address can fail by itself
            parts = match["addresses"].split(",")
            proxy = proxy_of(parts[0])
            alone = proxy is not None or any(_ip_of(part.rpartition(":")[0]) is None for part in parts)
            return cls(
                text, fixed=(text,) if alone else tuple(f"{match['scheme']}:{part}" for part in parts), proxy=proxy
            )
        match = _NAMED.fullmatch(text)
        if match is None:
            return cls(text, fixed=(text,))
        host, port = match["host"], int(match["port"] or _DEFAULT_PORT)
        proxy = proxy_of(f"{host}:{port}")
        if proxy is not None or _ip_of(host) is not None:
            return cls(text, fixed=(text,), proxy=proxy)
        return cls(text, host=host, port=port)

    def look_up(self) -> tuple[str, ...]:
        """Return gRPC's targets of the name's addresses; raises OSError without an answer."""
        if self.host is None:
            return self.fixed
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        targets = []
        for family, _, _, _, address in found:
            if family == socket.AF_INET:
                targets.append(f"ipv4:{address[0]}:{self.port}")
            elif family == socket.AF_INET6:
                targets.append(f"ipv6:[{str(address[0]).replace('%', '%25')}]:{self.port}")
        return tuple(dict.fromkeys(targets))


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy of the environment."""

    variable: str
    """The environment variable that names it."""
    address: str
    """Its host and port, without a password."""


def proxy_of(address: str) -> Proxy | None:
    """Return the proxy that gRPC uses for "host:port"; None for this machine, and where no_proxy excludes it."""
    host = address.rpartition(":")[0].strip("[]") or address
    ip = _ip_of(host)
    if host.lower() == "localhost" or host.lower().endswith(".localhost") or (ip is not None and ip.is_loopback):
        return None
    variable, url = _first_of(_PROXY_VARIABLES)
    if not url or _excluded(host, _first_of(_NO_PROXY_VARIABLES)[1]):
        return None
    return Proxy(variable, urlsplit(url).netloc.rpartition("@")[2] or url)


def _first_of(variables: tuple[str, ...]) -> tuple[str, str]:
    return next(((name, os.environ[name]) for name in variables if os.environ.get(name)), ("", ""))


def _excluded(host: str, no_proxy: str) -> bool:
    ip = _ip_of(host)
    for entry in filter(None, (part.strip() for part in no_proxy.split(","))):
        if entry == "*" or host.lower().endswith(entry.lower()):
            return True
        try:
            if ip is not None and ip in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:  # a name
            continue
    return False


def _ip_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]").replace("%25", "%"))
    except ValueError:
        return None
