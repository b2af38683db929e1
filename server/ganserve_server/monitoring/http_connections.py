"""Bound the open connections of the HTTP port, so that strangers who send nothing keep no probe out."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class Connections:
    """The connections that are served. Any thread may use it."""

    def __init__(self, most: int) -> None:
        """Close the oldest connection as soon as there are more than `most`."""
        self._most = most
        self._lock = threading.Lock()
        self._open: dict[socket.socket, None] = {}  # from the oldest on

    @contextlib.contextmanager
    def serving(self, connection: socket.socket) -> Iterator[None]:
        """Count a connection until the block ends."""
        with self._lock:
            self._open[connection] = None
            oldest = next(iter(self._open)) if len(self._open) > self._most else None
            if oldest is not None:
                del self._open[oldest]
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(oldest, socket.SHUT_RDWR)  # its thread sees the end; TLS says no goodbye
        try:
            yield
        finally:
            with self._lock:
                self._open.pop(connection, None)
