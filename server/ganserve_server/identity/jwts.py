"""Verify JSON Web Tokens of one issuer."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeAlias

import jwt

from ganserve_server.errors import StartupError, UnauthenticatedError
from ganserve_server.identity.identity import ROLES, Identity, ModelPatterns
from ganserve_server.identity.settings_file import IssuerSettings
from ganserve_server.setting_files import FileSignature, file_signature

# Only signatures by keys that the server cannot sign with itself. A key fixes which of them it is for, so that a token
# chooses neither "none" nor a symmetric algorithm whose secret would be a public key.
_ALGORITHMS: dict[str, tuple[str, ...]] = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA",),
    "Ed448": ("EdDSA",),
}
_LEAST_RSA_BITS = 2048
_CLAIMS = ["exp", "iss", "aud", "sub"]
_LEEWAY_S = 10.0  # between this machine's clock and the issuer's
_SUBJECT = re.compile(r"[!-~]{1,128}")
_MOST_KEYS_BYTES, _READ_BYTES = 2**20, 2**16
_FETCH_TIMEOUT_S, _FETCH_EVERY_S, _FETCH_AGAIN_S = 5.0, 300.0, 10.0
_MOST_OF_ONE_NAME = 4  # keys: each costs a verification for every wrong token
_Keys: TypeAlias = "dict[str | None, list[tuple[Any, tuple[str, ...]]]]"
_log = logging.getLogger(__name__)


class Issuer:
    """Verifies tokens of one issuer. Its keys come from a file, or from an address, which it reads again regularly."""

    def __init__(self, settings: IssuerSettings) -> None:
        """Read the keys; raise StartupError if they are in a file that is wrong."""
        self.settings = settings
        self.changes = 0
        """Counts changes of the keys: what an older key had signed must be verified again."""
        self._keys: _Keys = {}
        self._remote = "://" in settings.keys
        self._signature: FileSignature = None
        self._problem = ""
        self._fetched = self._next_fetch = 0.0
        self._wanted = threading.Event()
        if self._remote:
            self.fetch()
        else:
            self._signature = file_signature(Path(settings.keys))
            if problem := self._read(Path(settings.keys).read_bytes):
                raise StartupError(f"--identities: {problem}. Name a JWKS file, or an https:// address.")

    def look(self) -> None:
        """Read the keys again if their file has changed."""
        file = Path(self.settings.keys)
        if self._remote or (signature := file_signature(file)) == self._signature:
            return
        problem = self._read(file.read_bytes)
        if not problem:
            self._signature = signature
        elif problem != self._problem:  # each look tries again, and the log says it once
            self._warn(problem)
        self._problem = problem

    def fetch(self) -> None:
        """Read the keys again if they come from an address, and it is time; may wait for the network."""
        now = time.monotonic()
        due = now >= self._next_fetch or (self._wanted.is_set() and now >= self._fetched + _FETCH_AGAIN_S)
        if not self._remote or not due:
            return
        self._wanted.clear()
        self._fetched = now
        problem = self._read(self._fetch)
        self._next_fetch = time.monotonic() + (_FETCH_AGAIN_S if problem else _FETCH_EVERY_S)
        self._warn(problem)

    def _read(self, read: Callable[[], bytes]) -> str:
        """Take the keys that `read` returns; return the problem if they are wrong, and keep the old ones."""
        try:
            self._keys = _read_keys(read())
        except (OSError, ValueError, RecursionError, HTTPException) as error:
            return f"the keys of issuer {self.settings.issuer}: {self.settings.keys}: cannot be read: {error}"
        self.changes += 1
        return ""

    def _warn(self, problem: str) -> None:
        if problem:
            _log.warning("%s; %s", problem, "the old ones stay in use" if self._keys else "its tokens are refused")

    def verify(self, token: str) -> Identity:
        """Return the identity that a token proves; raise UnauthenticatedError."""
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, RecursionError) as error:
            raise UnauthenticatedError("malformed") from error
        keys = self._keys_of(header)
        if "crit" in header:
            raise UnauthenticatedError("unsupported")
        try:
            for key, algorithms in keys:
                with contextlib.suppress(jwt.InvalidSignatureError, jwt.InvalidAlgorithmError):
                    return self._identity(self._claims(token, key, algorithms))
            raise UnauthenticatedError("bad_jwt")
        except jwt.ExpiredSignatureError as error:
            raise UnauthenticatedError("expired") from error
        except jwt.InvalidAudienceError as error:
            raise UnauthenticatedError("other_audience") from error
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
            raise UnauthenticatedError("bad_jwt") from error

    def _claims(self, token: str, key: Any, algorithms: tuple[str, ...]) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=list(algorithms),
            audience=self.settings.audience,
            issuer=self.settings.issuer,
            leeway=_LEEWAY_S,
            options={"require": _CLAIMS, "strict_aud": False},
        )
        return claims

    def _keys_of(self, header: Mapping[str, Any]) -> list[tuple[Any, tuple[str, ...]]]:
        """Return the keys that a header may mean: those of its name, which is only looked up, else nameless ones."""
        name = header.get("kid")
        if name is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        found = self._keys.get(name) if name is None or isinstance(name, str) else None
        if not found:
            self._wanted.set()  # the issuer may have begun to use a new one
            raise UnauthenticatedError("unknown_key")
        return found

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        subject, expires = claims["sub"], claims["exp"]
        if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
            raise UnauthenticatedError("bad_jwt")
        settings = self.settings
        said = _texts(_claim(claims, settings.roles_claim))
        if settings.roles is None:
            roles = frozenset(role for role in said if role in ROLES)
        else:
            roles = frozenset(role for each in said for role in settings.roles.get(each, ()))
        models = settings.models
        if settings.models_claim is not None:
            models = ModelPatterns(_texts(_claim(claims, settings.models_claim)))
        name = f"jwt:{subject} of {settings.issuer}"
        return Identity(
            name=name, roles=roles, models=models, expires=float(expires) + _LEEWAY_S, issuer=settings.issuer
        )

    def _fetch(self) -> bytes:
        opener = urllib.request.build_opener(_NoRedirects)
        data, end = bytearray(), time.monotonic() + _FETCH_TIMEOUT_S
        with opener.open(self.settings.keys, timeout=_FETCH_TIMEOUT_S) as answer:
            while part := answer.read1(_READ_BYTES):
                data += part
                if len(data) > _MOST_KEYS_BYTES:
                    raise ValueError(f"has more than {_MOST_KEYS_BYTES} bytes")
                if time.monotonic() > end:
                    raise TimeoutError(f"takes longer than {_FETCH_TIMEOUT_S:g} s")
        return bytes(data)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, which could lead to an address without encryption."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _read_keys(data: bytes) -> _Keys:
    """Return the public keys of a JWKS by their names, each with the algorithms that it may be used with."""
    table = json.loads(data)
    entries = table.get("keys") if isinstance(table, dict) else None
    if not isinstance(entries, list):
        raise ValueError("is not a JWKS: it has no list of keys")
    keys: _Keys = {}
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
            continue
        algorithms = _ALGORITHMS.get(str(entry.get("crv") or entry.get("kty")), ())
        if (alone := entry.get("alg")) is not None:
            algorithms = tuple(name for name in algorithms if name == alone)
        if not algorithms or "d" in entry:  # A published secret key, or a symmetric one, proves nothing.
            continue
        try:
            key = jwt.PyJWK(entry, algorithm=algorithms[0]).key
        except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
            raise ValueError(f"has a key that is wrong: {error}") from error
        if getattr(key, "key_size", _LEAST_RSA_BITS) < _LEAST_RSA_BITS and algorithms[0] in _ALGORITHMS["RSA"]:
            continue  # RFC 7518, section 3.3: others could find its private key
        name = entry.get("kid")
        if name is not None and not isinstance(name, str):
            raise ValueError("has a key whose kid is not a text")
        same_name = keys.setdefault(name, [])
        if len(same_name) < _MOST_OF_ONE_NAME:
            same_name.append((key, algorithms))
    if not keys:
        raise ValueError(f"has no public key for signatures (RSA of at least {_LEAST_RSA_BITS} bits, EC or Ed25519)")
    return keys


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim by its name, or by a path to it such as realm_access.roles."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _texts(value: Any) -> Sequence[str]:
    """Return the texts of a list, or the words of a text."""
    if isinstance(value, str):
        return value.split()
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
