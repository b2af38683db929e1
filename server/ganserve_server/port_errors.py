"""Explain why a TCP port cannot be opened, and how to fix it."""

import contextlib
import errno
import socket

_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - recognised, not opened
_TRIES = 10


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


def check_addresses(host: str, port: int) -> int:
    """Raise OSError if the port is taken on any address of a host; return the port, for 0 one that is free on all.

    gRPC is content with one of several addresses, so that clients of `localhost` could meet two servers.
    """
    number, sockets = bind_alone(host, port)
    for bound in sockets:
        bound.close()
    return number


def bind_alone(host: str, port: int) -> tuple[int, list[socket.socket]]:
    """Bind the port on all addresses of a host that this machine has; return it as `check_addresses` does.

    The sockets do not listen.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses = dict.fromkeys((family, address[0]) for family, _, _, _, address in found)
    if any(address in _WILDCARDS for _, address in addresses):  # gRPC listens on both
        addresses = {(socket.AF_INET6, "::"): None, (socket.AF_INET, "0.0.0.0"): None}  # noqa: S104
    for _ in range(_TRIES):
        with contextlib.ExitStack() as stack:
            number, sockets = port, []
            try:
                for family, address in addresses:
                    if (bound := _bind(stack, family, str(address), number)) is not None:
                        sockets.append(bound)
                        number = number or int(bound.getsockname()[1])
            except OSError as error:
                if port or error.errno != errno.EADDRINUSE:
                    raise
            else:
                stack.pop_all()
                return number, sockets
    raise OSError(errno.EADDRINUSE, "no port is free on all addresses")


def _bind(stack: contextlib.ExitStack, family: int, address: str, port: int) -> socket.socket | None:
    """Bind a socket until the stack ends; return None if this machine lacks the address."""
    try:
        bound = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return None  # this machine has no IPv6
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((address, port))
    except OSError as error:
        bound.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise
        return None  # gRPC reports it if there is no other address
    return stack.enter_context(bound)


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
