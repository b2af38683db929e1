"""Describe how much each caller may ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ganserve_server.identity.identity import ROLES, Identity

_PARTS = ("default", "roles", "callers")


@dataclass(frozen=True, kw_only=True, slots=True)
class Quota:
    """Limits of one caller's requests; 0: no limit."""

    requests_per_s: float = 0.0
    """Calls a second, on average; as many may come at once."""
    samples_per_s: float = 0.0
    """Samples drawn or scored a second, on average. A call may exceed it; the next one then waits for its turn."""
    concurrent_calls: int = 0
    """Calls that run at the same time."""
    queued_samples: int = 0
    """Requested samples that are not computed yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QuotaSettings:
    """The quotas of all callers."""

    default: Quota | None = None
    roles: Mapping[str, Quota] = field(default_factory=dict)
    callers: Mapping[str, Quota] = field(default_factory=dict)

    def of(self, identity: Identity) -> Quota | None:
        """Return an identity's quota: its own, else the most generous of its roles, else the default."""
        if (own := self.callers.get(identity.name)) is not None:
            return own
        shared = [quota for role, quota in self.roles.items() if role in identity.roles]
        if not shared:
            return self.default
        most: dict[str, Any] = {}
        for name in LIMITS:
            values = [getattr(quota, name) for quota in shared]
            most[name] = 0 if 0 in values else max(values)
        return Quota(**most)


LIMITS = tuple(each.name for each in fields(Quota))
"""The names of the limits of a quota."""


def read_quotas(table: Any, wrong: Callable[[str, str, str], Exception]) -> QuotaSettings:
    """Return the quotas of a file's table `quotas`; raise what `wrong` makes of a place, a key and a problem."""
    _check_keys(table, "quotas", _PARTS, wrong)
    default = _quota(table["default"], "quotas.default", wrong) if "default" in table else None
    roles, callers = table.get("roles", {}), table.get("callers", {})
    _check_keys(roles, "quotas.roles", ROLES, wrong)
    _check_keys(callers, "quotas.callers", None, wrong)
    return QuotaSettings(
        default=default,
        roles={name: _quota(value, f"quotas.roles.{name}", wrong) for name, value in roles.items()},
        callers={name: _quota(value, f"quotas.callers.{name}", wrong) for name, value in callers.items()},
    )


def _quota(table: Any, place: str, wrong: Callable[[str, str, str], Exception]) -> Quota:
    _check_keys(table, place, LIMITS, wrong)
    for key, value in table.items():
        kinds = (int,) if key in ("concurrent_calls", "queued_samples") else (int, float)
        if type(value) not in kinds or not 0 <= value < 1e15:
            raise wrong(place, key, "is not a number of at least 0. 0 is no limit.")
    return Quota(**table)


def _check_keys(
    table: Any, place: str, known: tuple[str, ...] | None, wrong: Callable[[str, str, str], Exception]
) -> None:
    if not isinstance(table, dict):
        raise wrong("the file", place, f"is not a table. Begin it with [{place}].")
    for key in table:
        if known is not None and key not in known:
            raise wrong(place, key, f"is unknown. There are: {', '.join(known)}.")
