"""Tell callers apart by their addresses, and cut off connections."""

import contextlib
import functools
import ipaddress
import os
import resource
import socket
import threading
import weakref
from collections.abc import Collection
from pathlib import Path
from urllib.parse import unquote

_DESCRIPTORS = "/proc/self/fd"
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


class ConnectionCutter:
    """Closes connections of clients, as far as the system allows: on Linux, over TCP."""

    def __init__(self) -> None:
        # Keep a descriptor: who holds many connections may leave none.
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._spare = os.dup(self._null)
        self._lock = threading.Lock()
        for number in (self._null, self._spare):
            weakref.finalize(self, os.close, number)

    def cut_off(self, peers: Collection[str]) -> set[str]:
        """Close the connections of peers, as gRPC names them, and return those that were found.

        gRPC's Python API ends a call only by sending its status, which waits behind an answer that nobody reads. This
        looks at every open file, ten microseconds each, so never call it on an event loop.
        """
        wanted = {address: peer for peer in peers if (address := _address(peer)) is not None}
        closed: set[str] = set()
        if not wanted or not Path(_DESCRIPTORS).is_dir():
            return closed
        with self._lock:
            for number in _open_files():
                # Somebody else may close a file meanwhile, and its number come to mean another: only look at a copy.
                with contextlib.suppress(OSError, ValueError):
                    if (peer := self._closed(number, wanted)) is not None:
                        closed.add(peer)
                if len(closed) == len(wanted):
                    break
            os.dup2(self._null, self._spare, inheritable=False)
        return closed

    def _closed(self, number: int, wanted: dict[tuple[_Address, int], str]) -> str | None:
        """Close the connection of a descriptor if it is a wanted one, and return its peer."""
        if not os.readlink(f"{_DESCRIPTORS}/{number}").startswith("socket:"):  # noqa: PTH115 - 10,000 are many
            return None
        os.dup2(number, self._spare, inheritable=False)
        connection = socket.socket(fileno=self._spare)
        try:
            host, port, *_ = connection.getpeername()
            peer = wanted.get((_plain(host), port))
            if peer is not None:
                connection.shutdown(socket.SHUT_RDWR)
            return peer
        finally:
            connection.detach()


def _open_files() -> list[int]:
    try:
        return [int(name) for name in os.listdir(_DESCRIPTORS)]  # noqa: PTH208 - as above
    except OSError:  # no descriptor is left to read the folder, so that all numbers are in use
        return list(range(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
