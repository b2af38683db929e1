"""Find out who calls: by a token, a JWT, or the certificate of a client."""

from __future__ import annotations

import base64
import collections
import hmac
import json
import logging
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ganserve_server.errors import StartupError, UnauthenticatedError
from ganserve_server.identity.certificates import identity_of
from ganserve_server.identity.identity import Identity
from ganserve_server.identity.jwts import Issuer
from ganserve_server.identity.settings_file import Identities, quotas_of_nobody, read_identities
from ganserve_server.identity.tokens import MOST_BYTES, digest
from ganserve_server.setting_files import FileSignature, file_signature, warn_if_open

_BEARER = re.compile(r"(?i:bearer) ([!-~]+)")
_MOST_REMEMBERED = 4096
_log = logging.getLogger(__name__)


class Authenticator:
    """Knows the identities of a server. Any thread may use it."""

    def __init__(self, file: Path | None) -> None:
        """Read the file of identities; without one, everybody with a certificate of a client may do everything.

        Raises StartupError if it is wrong.
        """
        self._file = file
        self._signature = self._file_signature()
        self._problem = ""
        self._emptied: FileSignature = None
        if file is not None:
            warn_if_open("--identities", file, secret=False)
        self._identities: Identities | None = None if file is None else read_identities(file)
        self._warn_of_quotas()
        self._issuers = self._issuers_of(self._identities)
        self._proven: dict[bytes, tuple[Identity, Issuer, int]] = {}
        self._certificates: dict[bytes, Identity] = {}
        self.failures: collections.Counter[str] = collections.Counter()
        """Number of refused callers by reason."""

    @property
    def identities(self) -> Identities | None:
        """The content of the file."""
        return self._identities

    def look(self) -> bool:
        """Read the files of identities and of issuers' keys again if they have changed; return whether they have.

        While the file is wrong, its last right content stays in use.
        """
        before = self._signature, [issuer.changes for issuer in self._issuers.values()]
        signature = self._file_signature()
        if self._file is not None and signature != self._signature:
            try:
                identities = read_identities(self._file)
                issuers = self._issuers_of(identities)
            except StartupError as error:  # the next look tries again: a file of an issuer's keys may be missing
                if str(error) != self._problem:
                    self._problem = str(error)
                    _log.warning("the identities in use stay: %s", error)
            else:
                # An editor that writes in place empties the file first: believe that nobody is left at the second look.
                if not identities.anybody and signature != self._emptied:
                    self._emptied = signature
                    return False
                self._signature, self._problem = signature, ""
                self._identities, self._issuers = identities, issuers
                self._certificates.clear()
                self._warn_of_quotas()
                _log.info("new identities are in use: %d tokens, %d issuers", len(identities.tokens), len(issuers))
        for issuer in list(self._issuers.values()):
            issuer.look()
        return before != (self._signature, [issuer.changes for issuer in self._issuers.values()])

    def fetch_keys(self) -> None:
        """Read the keys that come from addresses again if they are due; may wait for the network."""
        for issuer in list(self._issuers.values()):
            issuer.fetch()

    def identify(self, metadata: Iterable[tuple[str, Any]], certificate: bytes | None) -> Identity:
        """Return who sends a call; raise UnauthenticatedError. A token counts before a certificate."""
        try:
            return self._identify(metadata, certificate)
        except UnauthenticatedError as error:
            self.failures[error.reason] += 1
            raise

    def is_valid(self, identity: Identity, metadata: Iterable[tuple[str, Any]], certificate: bytes | None) -> bool:
        """Return whether what showed an identity still shows it, with its models and no fewer roles."""
        try:
            now = self._identify(metadata, certificate)
        except UnauthenticatedError:
            return False
        return now.name == identity.name and now.roles >= identity.roles and now.models == identity.models

    def _warn_of_quotas(self) -> None:
        for name in () if self._identities is None else quotas_of_nobody(self._identities):
            _log.warning("--identities %s: quotas.callers: no token or certificate has the name %r", self._file, name)

    def _identify(self, metadata: Iterable[tuple[str, Any]], certificate: bytes | None) -> Identity:
        values = [value for key, value in metadata if key == "authorization"]
        if values:
            return self._of_header(values)
        if certificate is not None:
            return self._of_certificate(certificate)
        raise UnauthenticatedError("no_credentials")

    def _of_header(self, values: list[Any]) -> Identity:
        value = values[0]
        if len(values) > 1 or not isinstance(value, str) or self._identities is None:
            raise UnauthenticatedError("malformed")
        found = _BEARER.fullmatch(value) if len(value) <= MOST_BYTES else None
        if found is None:
            raise UnauthenticatedError("malformed")
        proof = digest(found[1])
        identity = self._identities.tokens.get(proof)
        # The table is found by a hash of the digest; the digest itself is compared in constant time.
        if identity is not None and hmac.compare_digest(identity.proof, proof):
            if time.time() >= identity.expires:
                raise UnauthenticatedError("expired")
            return identity
        if self._issuers and found[1].count(".") == 2:
            return self._of_jwt(found[1], proof)
        raise UnauthenticatedError("unknown_token")

    def _of_jwt(self, token: str, proof: bytes) -> Identity:
        if (known := self._proven.get(proof)) is not None:
            identity, verifier, changes = known
            if verifier is self._issuers.get(identity.issuer) and changes == verifier.changes:
                if identity.expired:
                    raise UnauthenticatedError("expired")
                return identity
        issuer = self._issuers.get(_issuer_of(token))
        if issuer is None:
            raise UnauthenticatedError("unknown_issuer")
        changes = issuer.changes
        identity = issuer.verify(token)
        if len(self._proven) >= _MOST_REMEMBERED:  # only tokens that were right are in it
            self._proven.clear()
        self._proven[proof] = identity, issuer, changes
        return identity

    def _of_certificate(self, certificate: bytes) -> Identity:
        identity = self._certificates.get(certificate)
        if identity is None:
            rules = None if self._identities is None else self._identities.certificates
            identity = identity_of(certificate, rules)
            if len(self._certificates) >= _MOST_REMEMBERED:
                self._certificates.clear()
            self._certificates[certificate] = identity
        if identity.expired:
            raise UnauthenticatedError("expired")
        return identity

    def _issuers_of(self, identities: Identities | None) -> dict[str, Issuer]:
        """Return the issuers of a file; those whose settings stay the same keep their keys."""
        known: dict[str, Issuer] = getattr(self, "_issuers", {})
        issuers: dict[str, Issuer] = {}
        given = () if identities is None else identities.issuers
        # Files first: if one is wrong, which each look tries again, no address is asked in vain.
        for settings in sorted(given, key=lambda each: "://" in each.keys):
            old = known.get(settings.issuer)
            issuers[settings.issuer] = old if old and old.settings == settings else Issuer(settings)
        return issuers

    def _file_signature(self) -> FileSignature:
        return None if self._file is None else file_signature(self._file)


def _issuer_of(token: str) -> str:
    """Return who a JWT claims to be from, before anything of it is verified; empty if it cannot be read."""
    part = token.split(".")[1]
    try:
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        return ""
    issuer = claims.get("iss") if isinstance(claims, dict) else None
    return issuer if isinstance(issuer, str) else ""
