"""Explain why a TCP port cannot be opened, and how to fix it."""

import errno
import socket


def port_error_message(host: str, port: int, error: OSError, *, flag: str = "--port", purpose: str = "") -> str:
    """Return the message for a failed bind to `host` (without brackets).

    `flag` chooses the port, and `purpose` is its use, such as " for metrics".
    """
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"cannot listen on {address}{purpose}: {_cause(error, flag)}"


def _cause(error: OSError, flag: str) -> str:
    if isinstance(error, socket.gaierror):
        return f"{error.strerror}; choose another address with --host (0.0.0.0: all addresses of this machine)"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address; choose another with --host (0.0.0.0: all addresses of this machine)"
    if error.errno == errno.EADDRINUSE:
        return f"another process uses the port; choose another with {flag} (0: a free one)"
    if error.errno == errno.EACCES:
        return (
            "this user may not open the port (ports below 1024 usually need a privilege); "
            f"choose another with {flag}, or give the process the capability CAP_NET_BIND_SERVICE"
        )
    return f"{error.strerror}; choose another with {flag} (0: a free one) or --host"


def find_bind_error(host: str, port: int) -> OSError:
    """Try to bind a plain socket and return its error, because gRPC does not report one."""
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        return error
    return OSError(errno.EADDRINUSE, "the port is free now")  # so another process had it a moment ago
