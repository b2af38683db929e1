"""Make callers that a server knows: tokens, JWTs and certificates, each in the states that it can be in."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ganserve_server.identity.tokens import digest, new_token

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

ISSUER, AUDIENCE = "https://id.example.org/", "ganserve"
PAST, FUTURE = "2020-01-01T00:00:00Z", "2090-01-01T00:00:00Z"


class Keys:
    """The keys of an issuer, and the tokens that it signs."""

    def __init__(self, folder: Path) -> None:
        self.rsa = rsa.generate_private_key(65537, 2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.file = folder / "jwks.json"
        self.write()

    @property
    def public_pem(self) -> bytes:
        return self.rsa.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def entries(self) -> list[dict[str, Any]]:
        one = jwt.algorithms.RSAAlgorithm.to_jwk(self.rsa.public_key(), as_dict=True)
        other = jwt.algorithms.ECAlgorithm.to_jwk(self.ec.public_key(), as_dict=True)
        return [{**one, "kid": "rsa", "use": "sig"}, {**other, "kid": "ec"}]

    def write(self, entries: list[dict[str, Any]] | None = None) -> None:
        self.file.write_text(json.dumps({"keys": self.entries() if entries is None else entries}))

    def token(self, roles: Iterable[str] = ("sample",), *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Return a token that is right, but for what is given; None leaves a claim out."""
        header = {"kid": "rsa", **(header or {})}
        everything = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "somebody",
            "iat": int(time.time()),
            "exp": int(time.time()) + 600,
            "roles": list(roles),
            **claims,
        }
        key = self.ec if header["kid"] == "ec" else self.rsa
        algorithm = header.pop("alg", "ES256" if header["kid"] == "ec" else "RS256")
        payload = {name: value for name, value in everything.items() if value is not None}
        # Not `jwt.encode`, which refuses claims that a stranger would send.
        return jwt.PyJWS().encode(json.dumps(payload).encode(), key, algorithm=algorithm, headers=header)


class CallerFile:
    """A file of identities, written entry by entry."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._parts: dict[str, str] = {}
        self.write()

    def write(self) -> None:
        fresh = self.file.with_suffix(".fresh")
        fresh.write_text("\n".join(self._parts.values()))
        fresh.replace(self.file)

    def add(self, name: str, text: str) -> None:
        self._parts[name] = text
        self.write()

    def remove(self, name: str) -> None:
        del self._parts[name]
        self.write()

    def token(self, name: str, *roles: str, models: Iterable[str] = ("*",), expires: str = FUTURE) -> str:
        token = new_token()
        self.add(
            name,
            f'[[tokens]]\nname = "{name}"\nsha256 = "{digest(token).hex()}"\nroles = {json.dumps(roles)}\n'
            f"models = {json.dumps(list(models))}\nexpires = {expires}\n",
        )
        return token

    def issuer(self, keys: str, more: str = "") -> None:
        self.add(
            "issuer", f'[[issuers]]\nissuer = "{ISSUER}"\naudience = "{AUDIENCE}"\nkeys = {json.dumps(keys)}\n{more}\n'
        )

    def certificate(self, name: str, kind: str, value: str, *roles: str) -> None:
        self.add(
            f"certificate {name}",
            f'[[certificates]]\nname = "{name}"\n{kind} = {json.dumps(value)}\nroles = {json.dumps(roles)}\n',
        )
