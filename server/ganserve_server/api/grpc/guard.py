"""Let in callers that the server knows, as far as their roles and quotas go, and end streams of those it forgets.

Used on the event loop of the server.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

from ganserve_server.errors import PermissionDeniedError, UnauthenticatedError
from ganserve_server.identity.identity import STRANGER, Denials, Identity, running_denials, running_identity
from ganserve_server.identity.quotas import CallerQuota, Quotas, running_quota

if TYPE_CHECKING:
    from ganserve_server.api.grpc.gan_service import Context
    from ganserve_server.identity.authenticator import Authenticator
    from ganserve_server.identity.rules import Rule
    from ganserve_server.monitoring.call_tracking import Call

REVOKED = "revoked"
_CERTIFICATE = "x509_pem_cert"


class Guard:
    """Decides about each call of a server."""

    def __init__(
        self, authenticator: Authenticator | None = None, *, certificates: bool = False, open_health: bool = True
    ) -> None:
        """Let in whom `authenticator` knows; without one, everybody.

        Args:
            authenticator: Knows the identities.
            certificates: Whether clients show certificates.
            open_health: Whether strangers may ask for the server's health.
        """
        self.closed = authenticator is not None
        """True if callers must be known."""
        self.denials = Denials()
        """Calls, and requests of streams, that an identity's roles did not allow."""
        self.quotas = Quotas()
        """Usage of each caller."""
        self._authenticator = authenticator
        self._certificates = certificates
        self._open_health = open_health
        self._streams: dict[Call, bytes | None] = {}  # with the certificates of their clients

    def admit(self, call: Call, context: Context, rule: Rule | None) -> None:
        """Let in a call of a method with this rule.

        Raises:
            UnauthenticatedError: The server does not know who calls.
            PermissionDeniedError: The caller's roles do not allow the method.
            QuotaError: The caller has used up its quota.
        """
        assert rule is not None
        assert self._authenticator is not None
        identity = self._identity(call, context, rule)
        running_identity.set(identity)
        running_denials.set(self.denials)
        if identity is STRANGER:
            return
        call.who, call.identity = identity, identity.name
        if identity.roles.isdisjoint(rule.roles):
            self.denials.count += 1
            roles = " or ".join(sorted(rule.roles))
            raise PermissionDeniedError(f"{identity.name} may not call {call.method}: it needs the role {roles}")
        settings = self._authenticator.identities
        if settings is not None and (quota := self.quotas.enter(identity, settings.quotas)) is not None:
            running_quota.set(quota)
            _current_task().add_done_callback(functools.partial(_leave, quota))

    def admit_stream(self, call: Call, context: Context, rule: Rule | None) -> None:
        """Let in a call that may last: it ends when its identity does."""
        self.admit(call, context, rule)
        if call.who is not None:
            self._streams[call] = self._certificate(context)
            _current_task().add_done_callback(lambda _: self._streams.pop(call))

    def end_streams(self) -> int:
        """End the streams of identities that are no longer right, and return how many."""
        ended = 0
        for call, certificate in list(self._streams.items()):
            if call.revoked or call.who is None or self._authenticator is None:
                continue
            if not self._authenticator.is_valid(call.who, call.metadata, certificate):
                call.revoked = True
                self._authenticator.failures[REVOKED] += 1
                ended += 1
                if call.task is not None:
                    call.task.cancel()
        return ended

    def _identity(self, call: Call, context: Context, rule: Rule) -> Identity:
        certificate = self._certificate(context)
        assert self._authenticator is not None
        open_to_all = rule.open and self._open_health
        if open_to_all and certificate is None and not any(key == "authorization" for key, _ in call.metadata):
            return STRANGER
        try:
            return self._authenticator.identify(call.metadata, certificate)
        except UnauthenticatedError:
            if open_to_all:
                return STRANGER
            raise

    def _certificate(self, context: Context) -> bytes | None:
        """Return the certificate that the client of a call has shown."""
        if not self._certificates:
            return None
        shown: Any = context.auth_context()
        certificate: bytes | None = next(iter(shown.get(_CERTIFICATE, ())), None)
        return certificate


def _current_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None, "each call runs in its own task"
    return task


def _leave(quota: CallerQuota, _task: object) -> None:
    quota.leave()
