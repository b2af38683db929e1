"""Refuse to let other machines in without encryption and identities, unless the user accepts that."""

from __future__ import annotations

import ipaddress
import logging
import socket

from ganserve_server.errors import StartupError
from ganserve_server.settings import MOVABLE, ServerConfig
from ganserve_server.unix_socket import UNIX

_log = logging.getLogger(__name__)


def check_exposure(config: ServerConfig) -> None:
    """Raise StartupError, with the ways out, if other machines could call an open server."""
    encrypted = config.tls_certificate is not None
    known = config.identities is not None or config.tls_client_ca is not None
    if encrypted and known:
        return
    missing = "callers do not show who they are" if encrypted else "calls are not encrypted"
    if not encrypted and not known:
        missing = "calls are neither encrypted nor authenticated"
    for flag, value, host in _addresses(config):
        if not reaches_others(host):
            continue
        if config.insecure:
            _log.warning("--insecure: %s %s lets other machines in, and %s", flag, value, missing)
            return
        raise StartupError(
            f"{flag} {value}: lets other machines in, and {missing}. Give --tls-certificate, --tls-key and "
            "--identities; or listen on 127.0.0.1 or unix:PATH, behind a proxy that does both; or accept it with "
            "--insecure."
        )


def reaches_others(host: str) -> bool:
    """Return whether other machines can reach an address to listen on."""
    if host.startswith(UNIX):
        return False
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        return False  # it cannot be listened on either, which says more
    return any(not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)


def _addresses(config: ServerConfig) -> list[tuple[str, str, str]]:
    """Return the flag, value and host of each address to listen on."""
    addresses = [("--host", config.host, config.host)]
    if config.metrics_port is not None and config.metrics_host is not None:
        addresses.append(("--metrics-host", config.metrics_host, config.metrics_host))
    for part in MOVABLE:
        value = getattr(config, part)
        if value not in ("on", "off"):
            addresses.append((f"--{part.replace('_', '-')}", value, value.rpartition(":")[0]))
    return addresses
