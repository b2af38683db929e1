"""Read the file of identities: tokens, issuers of JWTs, certificates, and quotas.

[[tokens]]
name = "app"
sha256 = "…"                 # by `ganserve token new app`
roles = ["sample", "score"]
models = ["digits", "team-*"]
expires = 2027-01-01T00:00:00Z

[[issuers]]
issuer = "https://id.example.org/"
audience = "ganserve"
keys = "jwks.json"           # or an address: https://…
roles_claim = "roles"
roles = { gan-users = ["sample"] }

[[certificates]]
name = "worker"
subject = "CN=worker,O=Example"   # or dns = "…", or uri = "spiffe://…"
roles = ["sample"]

[quotas.default]
requests_per_s = 50
"""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganserve_server.errors import StartupError
from ganserve_server.identity.identity import ROLES, Identity, ModelPatterns
from ganserve_server.identity.quota_settings import QuotaSettings, read_quotas

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
"""Names of identities: they appear in logs, metrics and messages."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_KINDS = ("subject", "dns", "uri")
_FLAG = "--identities"


@dataclass(frozen=True, kw_only=True, slots=True)
class IssuerSettings:
    """An issuer of JWTs."""

    issuer: str
    audience: str
    keys: str
    """Its public keys as a JWKS: a file, or an address."""
    roles_claim: str = "roles"
    roles: Mapping[str, frozenset[str]] | None = None
    """Roles by the value of the claim; None: the values are our roles."""
    models: ModelPatterns = field(default_factory=lambda: ModelPatterns("*"))
    models_claim: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CertificateRule:
    """Certificates of clients that show an identity."""

    kind: str
    """The part of the certificate: subject, dns or uri."""
    value: str
    identity: Identity


@dataclass(frozen=True, kw_only=True, slots=True)
class Identities:
    """The content of the file."""

    tokens: Mapping[bytes, Identity]
    """Identities by the digests of their tokens."""
    issuers: Sequence[IssuerSettings]
    certificates: Sequence[CertificateRule]
    quotas: QuotaSettings

    @property
    def anybody(self) -> bool:
        """True if it names anybody."""
        return bool(self.tokens or self.issuers or self.certificates)


def read_identities(file: Path) -> Identities:
    """Return the content of a file; raise StartupError, which says where it is wrong, and shows no secret."""
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        fix = "Make one with `ganserve token new NAME --role sample`."
        raise StartupError(f"{_FLAG} {file}: cannot be read: {error.strerror}. {fix}") from error
    except ValueError as error:
        raise StartupError(f"{_FLAG} {file}: is not TOML: {error}. Correct the file.") from error
    reader = _Reader(file)
    reader.only(table, "the file", ("tokens", "issuers", "certificates", "quotas"))
    tokens: dict[bytes, Identity] = {}
    for place, entry in reader.entries(table, "tokens"):
        digest, identity = _token(reader, place, entry)
        if digest in tokens:
            raise reader.wrong(place, "sha256", "is that of another entry. Make a token for each.")
        tokens[digest] = identity
    issuers: dict[str, IssuerSettings] = {}
    for place, entry in reader.entries(table, "issuers"):
        settings = _issuer(reader, place, entry)
        if settings.issuer in issuers:
            raise reader.wrong(place, "issuer", f"{settings.issuer!r} is that of another entry. Give each issuer once.")
        issuers[settings.issuer] = settings
    return Identities(
        tokens=tokens,
        issuers=list(issuers.values()),
        certificates=[_certificate(reader, place, entry) for place, entry in reader.entries(table, "certificates")],
        quotas=read_quotas(table.get("quotas", {}), reader.wrong),
    )


def quotas_of_nobody(identities: Identities) -> list[str]:
    """Return the names that have a quota and that nobody has; those of JWTs are not known in advance."""
    names = {each.name for each in identities.tokens.values()} | {
        each.identity.name for each in identities.certificates
    }
    return [
        name
        for name in identities.quotas.callers
        if name not in names and not (identities.issuers and name.startswith("jwt:"))
    ]


class _Reader:
    """Reads tables, and says where one is wrong."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def wrong(self, place: str, key: str, problem: str) -> StartupError:
        return StartupError(f"{_FLAG} {self.file}: {place}: {key} {problem}")

    def only(self, table: Mapping[str, Any], place: str, known: Sequence[str]) -> None:
        for key in table:
            if key not in known:
                raise self.wrong(place, key, f"is unknown. There are: {', '.join(known)}.")

    def entries(self, table: Mapping[str, Any], name: str) -> list[tuple[str, dict[str, Any]]]:
        entries = table.get(name, [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise self.wrong("the file", name, f"is not a list of tables. Begin each entry with [[{name}]].")
        return [(f"entry {number} of {name}", entry) for number, entry in enumerate(entries, 1)]

    def text(self, place: str, entry: Mapping[str, Any], key: str) -> str:
        value = entry.get(key)
        if not isinstance(value, str) or not value or not value.isprintable():
            raise self.wrong(place, key, "is missing, or not a text. Give one in quotes.")
        return value

    def texts(self, place: str, entry: Mapping[str, Any], key: str, default: Sequence[str]) -> tuple[str, ...]:
        values = entry.get(key, list(default))
        if not isinstance(values, list) or not values or not all(isinstance(value, str) and value for value in values):
            raise self.wrong(place, key, 'is not a list of texts. Write it like this: ["a", "b"].')
        return tuple(values)

    def roles(self, place: str, entry: Mapping[str, Any], key: str = "roles") -> frozenset[str]:
        roles = self.texts(place, entry, key, ())
        for role in roles:
            if role not in ROLES:
                raise self.wrong(place, key, f"has {role!r}. There are: {', '.join(ROLES)}.")
        return frozenset(roles)

    def name(self, place: str, entry: Mapping[str, Any]) -> str:
        name = self.text(place, entry, "name")
        if not NAME.fullmatch(name):
            raise self.wrong(place, "name", f"is {name!r}. Use up to 64 of A-Z, a-z, 0-9, and _ . @ - inside.")
        return name


def _token(reader: _Reader, place: str, entry: Mapping[str, Any]) -> tuple[bytes, Identity]:
    reader.only(entry, place, ("name", "sha256", "roles", "models", "expires", "created"))
    name, digest = reader.name(place, entry), reader.text(place, entry, "sha256")
    if not _DIGEST.fullmatch(digest):
        raise reader.wrong(place, "sha256", "is not 64 hexadecimal digits. `ganserve token new` writes them.")
    proof = bytes.fromhex(digest)
    identity = Identity(
        name=name,
        roles=reader.roles(place, entry),
        models=ModelPatterns(reader.texts(place, entry, "models", "*")),
        expires=_moment(reader, place, entry),
        proof=proof,
    )
    return proof, identity


def _moment(reader: _Reader, place: str, entry: Mapping[str, Any]) -> float:
    moment = entry.get("expires")
    if moment is None:
        return float("inf")
    if not isinstance(moment, datetime.datetime) or moment.tzinfo is None:
        raise reader.wrong(place, "expires", "is not a time with a zone. Write it like this: 2027-01-01T00:00:00Z.")
    return moment.timestamp()


def _issuer(reader: _Reader, place: str, entry: Mapping[str, Any]) -> IssuerSettings:
    known = ("issuer", "audience", "keys", "roles_claim", "roles", "models", "models_claim")
    reader.only(entry, place, known)
    keys = reader.text(place, entry, "keys")
    if "://" in keys:
        _check_address(reader, place, keys)
    else:
        keys = str(reader.file.parent / keys)
    roles = entry.get("roles")
    if roles is not None and not isinstance(roles, dict):
        raise reader.wrong(place, "roles", 'is not a table. Write it like this: { their-role = ["sample"] }.')
    mapped = None if roles is None else {key: reader.roles(place, roles, key) for key in roles}
    return IssuerSettings(
        issuer=reader.text(place, entry, "issuer"),
        audience=reader.text(place, entry, "audience"),
        keys=keys,
        roles_claim=reader.text(place, {"roles_claim": "roles", **entry}, "roles_claim"),
        roles=mapped,
        models=ModelPatterns(reader.texts(place, entry, "models", "*")),
        models_claim=reader.text(place, entry, "models_claim") if "models_claim" in entry else None,
    )


def _check_address(reader: _Reader, place: str, keys: str) -> None:
    local = re.match(r"http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?/", keys)
    if not keys.startswith("https://") and not local:
        raise reader.wrong(
            place, "keys", f"is {keys!r}. Others could replace keys on the way: use https://, or a file."
        )


def _certificate(reader: _Reader, place: str, entry: Mapping[str, Any]) -> CertificateRule:
    reader.only(entry, place, ("name", *_KINDS, "roles", "models"))
    given = [kind for kind in _KINDS if kind in entry]
    if len(given) != 1:
        raise reader.wrong(place, " or ".join(_KINDS), "must be given: one of the three.")
    identity = Identity(
        name=reader.name(place, entry),
        roles=reader.roles(place, entry),
        models=ModelPatterns(reader.texts(place, entry, "models", "*")),
    )
    return CertificateRule(kind=given[0], value=reader.text(place, entry, given[0]), identity=identity)
