"""The token of a client: where it comes from, and where it may go."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from ganserve._argument_checks import kind_of
from ganserve._errors import InvalidRequest

TOKEN_VARIABLE = "GANSERVE_TOKEN"  # noqa: S105 - a name
Token: TypeAlias = str | Callable[[], str]
"""A token, or a function that returns a fresh one for each call."""
AsyncToken: TypeAlias = str | Callable[[], str | Awaitable[str]]
"""A token, or a function, which may be a coroutine function, that returns a fresh one for each call."""

_TOKEN = re.compile(r"[!-~]{1,6500}")
# Names and values of metadata that hold what shows who calls: authorization, cookie, x-api-key, x-amz-security-token.
_SECRET_NAME = re.compile(
    r"auth(?!or)|bearer|cookie|credential|jwt|passw|secret|session|signature|token|api[-_.]?key|(^|[-_.])key([-_.]|$)"
)
_SECRET_VALUE = re.compile(r"(?i:basic|bearer|digest|negotiate) .|gsv_|eyJ[\w-]+\.[\w-]+\.")
_HOST = re.compile(r"(?:dns:(?:///)?)?(?P<host>[^:/,\s\[\]]+|\[[^\]]+\])(?::\d+)?")
_ADDRESSES = re.compile(r"ipv[46]:(?:///)?(?P<addresses>.+)")


def resolve_token(token: Any) -> Any:
    """Return a client's token, or its function: the argument, else GANSERVE_TOKEN, else None."""
    if token is None:
        text = os.environ.get(TOKEN_VARIABLE, "").strip()
        return check_token(f"the environment variable {TOKEN_VARIABLE}", text) if text else None
    return token if callable(token) else check_token("token", token)


def check_token(source: str, token: Any) -> str:
    """Return a token; its errors do not show it."""
    if not isinstance(token, str):
        raise InvalidRequest.of(source, f"is {kind_of(token)}; expected a str, or a function that returns one")
    if not _TOKEN.fullmatch(token):
        expected = "expected 1 to 6500 characters of ASCII without spaces"
        raise InvalidRequest.of(source, f"has {len(token)} characters, some of which no token has; {expected}")
    return token


def read_token(file: Path | None) -> str | None:
    """Return the token in a file, None without one."""
    if file is None:
        return None
    try:
        return check_token("token_file", file.read_text(encoding="ascii", errors="replace").strip())
    except OSError as error:
        raise InvalidRequest.of("token_file", f"is {str(file)!r}; does not open: {error.strerror}") from error


def check_way(
    targets: Sequence[str], token: object, metadata: Sequence[tuple[str, str | bytes]], *, allowed: bool
) -> None:
    """Refuse to send a token, or metadata that look like one, in plain text to another machine."""
    secret = next((name for name, value in metadata if _is_secret(name, value)), None)
    if allowed or (token is None and secret is None):
        return
    argument, what = ("metadata", f"has {secret}, which ") if token is None else ("token", "")
    for target in targets:
        if not _is_this_machine(target):
            raise InvalidRequest.of(
                argument,
                f"{what}would travel to {target!r} in plain text, where others can read it; encrypt with tls=True "
                "(--tls), or allow that with token_over_plain_text=True (--token-over-plain-text)",
            )


def _is_secret(name: str, value: str | bytes) -> bool:
    text = value if isinstance(value, str) else value.decode("latin-1")
    return _SECRET_NAME.search(name) is not None or _SECRET_VALUE.match(text) is not None


def _is_this_machine(target: str) -> bool:
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    if match := _ADDRESSES.fullmatch(target):
        return all(_is_loopback(address.rpartition(":")[0]) for address in match["addresses"].split(","))
    match = _HOST.fullmatch(target)
    return match is not None and _is_loopback(match["host"])


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
