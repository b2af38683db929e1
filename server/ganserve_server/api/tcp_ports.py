"""Says why a port cannot be had, and what to do about it."""

from __future__ import annotations

import errno
import socket


def refusal(host: str, port: int, error: OSError, *, flag: str = "--port", purpose: str = "") -> str:
    """Return the message of a failed bind.

    Args:
        host: The address, without brackets.
        port: The port.
        error: What the system said.
        flag: The flag that chooses the port.
        purpose: What the port is for, if not for calls, such as " for metrics".
    """
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"cannot listen on {address}{purpose}: {_cause(error, flag)}"


def _cause(error: OSError, flag: str) -> str:
    if isinstance(error, socket.gaierror):
        return f"{error.strerror}; choose another with --host (0.0.0.0: all that this machine has)"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address; choose another with --host (0.0.0.0: all that it has)"
    if error.errno == errno.EADDRINUSE:
        return f"another process has the port; choose another with {flag} (0: a free one)"
    if error.errno == errno.EACCES:
        return (
            "this user may not have the port, as is usual of those below 1024; "
            f"choose another with {flag}, or give the process the capability CAP_NET_BIND_SERVICE"
        )
    return f"{error.strerror}; choose another with {flag} (0: a free one) or --host"


def bind_error(host: str, port: int) -> OSError:
    """Return why a port cannot be had, by trying with a plain socket: gRPC does not say."""
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        return error
    return OSError(errno.EADDRINUSE, "it can be had now")  # so another process had it a moment ago
