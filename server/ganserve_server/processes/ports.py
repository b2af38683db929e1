"""Reserve a port for several processes, which then listen on it together (SO_REUSEPORT)."""

from __future__ import annotations

import contextlib
import socket

from ganserve_server.errors import StartupError
from ganserve_server.port_errors import bind_alone, find_bind_error, port_error_message


class ReservedPort:
    """A port of a host, on all of its addresses, on which only processes of this user can listen with SO_REUSEPORT."""

    def __init__(self, host: str, port: int, *, flag: str = "--port") -> None:
        """Reserve the port, 0 for a free one; raise StartupError if another process has it, whether it shares or not.

        `flag` chooses the port, for messages.
        """
        host = host.strip("[]")
        try:
            self.number, alone = bind_alone(host, port)
            self._held = [_shared(socket) for socket in alone]
        except OSError as error:
            raise StartupError(port_error_message(host, port, error, flag=flag)) from error
        if not self._held:
            raise StartupError(port_error_message(host, port, find_bind_error(host, port), flag=flag))

    def close(self) -> None:
        """Give the port back."""
        for held in self._held:
            held.close()


def _shared(alone: socket.socket) -> socket.socket:
    """Return a socket that holds the port of another one, which is closed, and lets listeners share it.

    Binding alone has shown that nobody else listens. Between both bindings only processes of this user could come, and
    only with SO_REUSEPORT.
    """
    with contextlib.closing(alone):
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held = socket.socket(alone.family, socket.SOCK_STREAM)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if alone.family == socket.AF_INET6:
            only = alone.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        held.bind(alone.getsockname())
    return held
