"""Log when the process runs out of file descriptors, because gRPC then accepts no new connections.

Metrics cannot show it, because a scrape needs a connection too, and gRPC's own message is hidden with JSON logs.
"""

import asyncio
import errno
import logging
import resource
import socket

_CHECK_S, _QUIET_S = 1.0, 60.0
_log = logging.getLogger(__name__)


async def watch_descriptors(check_s: float = _CHECK_S, quiet_s: float = _QUIET_S) -> None:
    """Check every `check_s` seconds until cancelled, and log at most every `quiet_s` seconds."""
    while True:
        short = _shortage()
        if short:
            _log.error("new connections are not accepted: %s", short)
        await asyncio.sleep(quiet_s if short else check_s)


def _shortage() -> str:
    """Return why no socket can be opened, and the fix; empty if one can."""
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
