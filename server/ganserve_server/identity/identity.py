"""Describe a caller that the server knows, and the models that it may see."""

from __future__ import annotations

import contextvars
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from ganserve_server.errors import PermissionDeniedError

Role: TypeAlias = Literal["sample", "score", "admin", "metrics"]
"""Rights of an identity."""
ROLES: tuple[str, ...] = get_args(Role)


_MOST_CHARACTERS = 255  # of a folder's name, which a model's is


class ModelPatterns:
    """The names of models that an identity may use: * stands for any characters, everything else for itself."""

    __slots__ = ("_pattern", "all", "texts")

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = tuple(texts)
        """The patterns as they are written."""
        self.all = "*" in self.texts
        """True if every model is meant."""
        # Several * in a row mean the same as one, and would make a failing match slow.
        parts = (".*".join(map(re.escape, re.split(r"\*+", text))) for text in self.texts)
        self._pattern = re.compile("|".join(f"(?:{part})" for part in parts) or r"(?!)", re.DOTALL)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ModelPatterns) and self.texts == other.texts

    def __hash__(self) -> int:
        return hash(self.texts)

    def allow(self, name: str) -> bool:
        """Return whether a model is meant."""
        return self.all or (len(name) <= _MOST_CHARACTERS and self._pattern.fullmatch(name) is not None)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Identity:
    """A caller that the server knows."""

    name: str
    """Its name in logs, metrics and quotas."""
    roles: frozenset[str]
    models: ModelPatterns
    expires: float = float("inf")
    """End, in seconds since 1970."""
    proof: bytes = field(default=b"", repr=False)
    """The digest of its token; empty if a certificate shows who it is."""
    issuer: str = ""
    """Issuer of its JWT, if it has one."""

    @property
    def expired(self) -> bool:
        """True once it has ended."""
        return time.time() >= self.expires


class Denials:
    """Counts what roles did not allow."""

    count = 0


STRANGER = Identity(name="", roles=frozenset(), models=ModelPatterns(()))
"""Somebody whom the server does not know, in calls that anybody may make."""

running_identity: contextvars.ContextVar[Identity | None] = contextvars.ContextVar("running_identity", default=None)
"""Caller of the running call; None outside calls, and in servers that know nobody: everything is allowed."""


running_denials: contextvars.ContextVar[Denials | None] = contextvars.ContextVar("running_denials", default=None)
"""Counter of refusals that counts the running call if its caller's roles do not allow it; None outside calls."""


def may_see(model: str) -> bool:
    """Return whether the running call may know of a model."""
    identity = running_identity.get()
    return identity is None or identity.models.allow(model)


def sees_all() -> bool:
    """Return whether the running call may know of every model."""
    identity = running_identity.get()
    return identity is None or identity.models.all


def require_role(role: Role) -> None:
    """Raise PermissionDeniedError if the running call's identity lacks a role that its request needs."""
    identity = running_identity.get()
    if identity is not None and role not in identity.roles:
        if (denials := running_denials.get()) is not None:
            denials.count += 1
        raise PermissionDeniedError(f"this request needs the role {role}, which {identity.name} does not have")
