"""Protect a server as its settings say, and follow changes of the files that they name."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ganserve_server.settings import ServerConfig
    from ganserve_server.tls.server_tls import ServerTls

_LOOK_EVERY_S = 1.0
_log = logging.getLogger(__name__)


class Protection:
    """What protects a server."""

    def __init__(self, config: ServerConfig) -> None:
        """Read the files; raise StartupError, which names the setting that is wrong."""
        self.tls: ServerTls | None = _tls(config)
        """Its certificates; None without encryption."""

    async def watch(self) -> None:
        """Follow changes of the files until the task is cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                await self.look()
            except Exception:  # noqa: BLE001 - the next look may succeed
                _log.exception("the files of certificates could not be checked; trying again")

    async def look(self) -> None:
        """Read files again that have changed."""
        if self.tls is not None:
            await asyncio.to_thread(self.tls.look)


def _tls(config: ServerConfig) -> ServerTls | None:
    if config.tls_certificate is None or config.tls_key is None:
        return None
    # They load `cryptography`, which servers without encryption do not need.
    from ganserve_server.tls.pem_files import PemFiles
    from ganserve_server.tls.server_tls import ServerTls

    return ServerTls(PemFiles(certificate=config.tls_certificate, key=config.tls_key, client_ca=config.tls_client_ca))
