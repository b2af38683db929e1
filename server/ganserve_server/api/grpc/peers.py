"""Tell callers apart by their addresses, and cut off connections."""

import contextlib
import functools
import ipaddress
import os
import socket
from pathlib import Path
from urllib.parse import unquote

_DESCRIPTORS = Path("/proc/self/fd")
_IPV6_BITS = 64  # a customer gets at least this prefix


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@functools.lru_cache(maxsize=4096)
def caller_of(peer: str) -> str:
    """Return the caller of a peer, as gRPC names it: its IPv4 address, the /64 of its IPv6 address, or "unix"."""
    address = _address(peer)
    if address is None:
        return peer.partition(":")[0]
    if isinstance(address[0], ipaddress.IPv4Address):
        return str(address[0])
    return str(ipaddress.IPv6Network((address[0], _IPV6_BITS), strict=False))


def _address(peer: str) -> tuple[_Address, int] | None:
    """Return the address and port of a peer; None if it has none."""
    kind, _, rest = peer.partition(":")
    if kind not in {"ipv4", "ipv6"}:
        return None
    host, _, port = unquote(rest).rpartition(":")
    return _plain(host.strip("[]")), int(port)


def _plain(host: str) -> _Address:
    """Return an address without its zone; an IPv4 address also if it is written as an IPv6 one."""
    address = ipaddress.ip_address(host.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def cut_off(peer: str) -> bool:
    """Close the connection of a peer, as gRPC names it, and return whether that was possible: on Linux, over TCP.

    gRPC's Python API ends a call only by sending its status, which waits behind an answer that nobody reads.
    """
    wanted = _address(peer)
    if wanted is None or not _DESCRIPTORS.is_dir():
        return False
    for entry in _DESCRIPTORS.iterdir():
        with contextlib.suppress(OSError, ValueError):
            if not str(entry.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(entry.name))) as connection:
                host, port, *_ = connection.getpeername()
                if (_plain(host), port) == wanted:
                    connection.shutdown(socket.SHUT_RDWR)
                    return True
    return False
