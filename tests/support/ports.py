"""Find ports that nothing else takes between the moment when they are found and the moment when they are used."""

from __future__ import annotations

import contextlib
import random
import socket
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_random = random.SystemRandom()


def free_port(host: str = "127.0.0.1") -> int:
    """Return a free port below those that the system itself gives to connections and to servers with port 0."""
    first = int(_EPHEMERAL.read_text().split()[0]) if _EPHEMERAL.exists() else 32768
    for _ in range(100):
        port = _random.randrange(max(1024, first // 2), first) if first > 2048 else 0
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    raise AssertionError("there is no free port")


@contextlib.contextmanager
def closed_address() -> Iterator[str]:
    """Yield an address that refuses connections; the port stays bound, so that no server listens there meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"
