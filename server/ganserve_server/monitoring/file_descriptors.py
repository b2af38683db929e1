"""Says in the log when the process can open nothing more: gRPC takes no new connections then.

Metrics cannot tell, as a scrape is a new connection too, and gRPC's own words about it are not shown beside JSON logs.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import socket

_LOOK_S, _QUIET_S = 1.0, 60.0
_log = logging.getLogger(__name__)


async def watch_descriptors(look_s: float = _LOOK_S, quiet_s: float = _QUIET_S) -> None:
    """Look every `look_s` seconds until it is cancelled, and says it at most every `quiet_s` seconds."""
    while True:
        short = _shortage()
        if short:
            _log.error("new connections are not accepted: %s", short)
        await asyncio.sleep(quiet_s if short else look_s)


def _shortage() -> str:
    """Return why no socket can be had, and what to do; empty: one can."""
    try:
        socket.socket().close()
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            return (
                f"{error.strerror} (this process may have {limit}); raise `ulimit -n` (systemd: LimitNOFILE, Docker: "
                "--ulimit nofile), or have clients keep and share their connections"
            )
    return ""
