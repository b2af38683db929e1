"""A TCP proxy that balances connections over servers, as Kubernetes' services and plain load balancers do."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

GOAWAY = 7
"""HTTP/2's type of the frame that tells a client to send no more calls on a connection (RFC 9113, section 6.8)."""


class Balancer:
    """Connects each client to the next server that accepts; a connection stays with its server."""

    def __init__(self) -> None:
        self.servers: list[str] = []
        """HOST:PORT of each server; may change at any time."""
        self.address = ""
        """Its own HOST:PORT."""
        self.frames: list[tuple[str, int]] = []
        """The types of HTTP/2 frames that servers sent, with the server."""
        self._turn = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Balancer]:
        """Listen until the block ends."""
        listener = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            listener.close()
            for task in self._tasks:
                task.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = next(self._turn)
        servers = list(self.servers)
        for number in range(len(servers)):
            server = servers[(first + number) % len(servers)]
            host, _, port = server.rpartition(":")
            with contextlib.suppress(OSError):
                other_reader, other_writer = await asyncio.open_connection(host, int(port))
                break
        else:
            writer.close()
            return
        for copying in (self._copy(reader, other_writer, ""), self._copy(other_reader, writer, server)):
            task = asyncio.create_task(copying)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: str) -> None:
        pending = b""
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if server:
                    pending = self._record(pending + data, server)
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError):
            writer.close()

    def _record(self, data: bytes, server: str) -> bytes:
        """Note the frames in `data` and return the rest, an unfinished one."""
        at = 0
        while len(data) >= at + 9 and len(data) >= (end := at + 9 + int.from_bytes(data[at : at + 3], "big")):
            self.frames.append((server, data[at + 3]))
            at = end
        return data[at:]
