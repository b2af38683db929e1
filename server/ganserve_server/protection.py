"""Protect a server as its settings say, and follow changes of the files that they name."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from ganserve_server.api.grpc.guard import Guard
from ganserve_server.error_text import shown
from ganserve_server.errors import REASONS, UnauthenticatedError
from ganserve_server.identity.quota_settings import LIMITS
from ganserve_server.identity.quotas import OTHERS
from ganserve_server.monitoring import metric_definitions as d
from ganserve_server.monitoring.access_log import AccessLog
from ganserve_server.monitoring.call_tracking import Call, current_call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ganserve_server.identity.authenticator import Authenticator
    from ganserve_server.settings import ServerConfig
    from ganserve_server.tls.server_tls import ServerTls

_LOOK_EVERY_S = 1.0
_METRICS = "/metrics"
_HTTP = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403}
_log = logging.getLogger(__name__)


class Protection:
    """The parts that protect a server."""

    def __init__(self, config: ServerConfig) -> None:
        """Read the files; raise StartupError, which names the setting that is wrong."""
        self.tls: ServerTls | None = _tls(config)
        """Its certificates; None without encryption."""
        self._authenticator = _authenticator(config)
        self._open_health = config.open_health
        self._access_log = AccessLog(config.access_log)
        certificates = config.tls_client_ca is not None
        self.guard = Guard(self._authenticator, certificates=certificates, open_health=config.open_health)
        """Lets in callers of gRPC."""

    async def watch(self) -> None:
        """Follow changes of the files, and end streams of callers that are no longer right, until cancelled.

        A slow issuer of JWTs delays none of that.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_regularly(self.look))
            if self._authenticator is not None:
                tasks.create_task(_regularly(self._fetch_keys))

    async def look(self) -> None:
        """Read files again that have changed."""
        if self.tls is not None:
            await asyncio.to_thread(self.tls.look)
        if self._authenticator is not None:
            await asyncio.to_thread(self._authenticator.look)
            if ended := self.guard.end_streams():
                _log.info("ended %d streams: their callers are no longer known", ended)

    async def _fetch_keys(self) -> None:
        if self._authenticator is not None:
            await asyncio.to_thread(self._authenticator.fetch_keys)

    def http(self, path: str, authorization: str | None, certificate: bytes | None, peer: str) -> int:
        """Return the HTTP status that a caller of a path gets: 200, 401 or 403; log refusals."""
        if self._authenticator is None or (path != _METRICS and self._open_health):
            return 200
        metadata = () if authorization is None else (("authorization", authorization),)
        call = Call(f"GET {shown(path)}", ())
        try:
            identity = self._authenticator.identify(metadata, certificate)
        except UnauthenticatedError as error:
            call.code, call.reason = "UNAUTHENTICATED", error.reason
        else:
            if path != _METRICS or "metrics" in identity.roles:
                return 200
            self.guard.denials.count += 1
            call.code, call.identity = "PERMISSION_DENIED", identity.name
        current_call.set(call)  # of this thread, which serves one connection
        if self._access_log.wants(call.code):
            self._access_log.write(call, time.perf_counter() - call.started, peer)
        return _HTTP[call.code]

    def metrics(self) -> list[tuple[d.Metric, list[tuple[tuple[str, ...], float]]]]:
        """Return the metrics of what protects the server; what it lacks counts nothing."""
        expires = 0.0 if self.tls is None else self.tls.certificates.expires.timestamp()
        failures = dict.fromkeys(REASONS, 0)
        if self._authenticator is not None:
            failures |= self._authenticator.failures
        refused = dict.fromkeys(((OTHERS, quota) for quota in LIMITS), 0) | self.guard.quotas.refused()
        return [
            (d.CERTIFICATE_EXPIRY, [((), expires)]),
            (d.REFUSED_CALLERS, [((reason,), count) for reason, count in failures.items()]),
            (d.DENIED, [((), self.guard.denials.count)]),
            (d.QUOTA_REFUSALS, [(key, count) for key, count in refused.items()]),
        ]


async def _regularly(look: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        try:
            await look()
        except Exception:  # noqa: BLE001 - the next look may succeed
            _log.exception("the files of certificates and identities could not be checked; trying again")


def _tls(config: ServerConfig) -> ServerTls | None:
    if config.tls_certificate is None or config.tls_key is None:
        return None
    # They load `cryptography`, which servers without encryption do not need.
    from ganserve_server.tls.pem_files import PemFiles
    from ganserve_server.tls.server_tls import ServerTls

    return ServerTls(PemFiles(certificate=config.tls_certificate, key=config.tls_key, client_ca=config.tls_client_ca))


def _authenticator(config: ServerConfig) -> Authenticator | None:
    if config.identities is None and config.tls_client_ca is None:
        return None
    from ganserve_server.identity.authenticator import Authenticator

    return Authenticator(config.identities)
