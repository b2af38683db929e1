"""The command `ganserve token`: make, list and revoke the tokens of a server's callers."""

import datetime
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ganserve._command_framework.command import Command
from ganserve._command_framework.options import UsageError, flag
from ganserve._command_framework.process import BAD_USAGE, DONE, complain, printable
from ganserve_server.errors import StartupError
from ganserve_server.identity.identity import Role
from ganserve_server.identity.token_editor import add_token, remove_tokens, tokens_of


@dataclass(frozen=True, kw_only=True)
class TokenArguments:
    """Make, list and revoke the tokens in a server's file of identities, which a running server reads again.

    new: print a token for NAME once; the file holds only its digest. revoke: remove all tokens of NAME. list: show the
    names, roles and models.
    """

    action: Literal["new", "list", "revoke"] = flag(positional="ACTION")
    """new, list or revoke."""
    name: str = flag("", positional="NAME")
    """Name of the caller in logs, metrics and quotas. Several tokens may have one name, as during a change."""
    identities: Path = flag(Path("identities.toml"), metavar="FILE")
    """File of identities, as in `ganserve serve --identities FILE`. It is made if it is missing."""
    role: tuple[Role, ...] = flag(())
    """Role of the caller; repeat it for several. sample: draw samples. score: score samples. admin: load and unload
    models. metrics: read /metrics."""
    model: tuple[str, ...] = flag(("*",), metavar="PATTERN")
    """Models that the caller may see and use; * stands for any characters. Repeat it for several."""
    days: float | None = None
    """Days until the token ends. Without it, it has no end."""


def _token(arguments: TokenArguments) -> int:
    if arguments.action == "list":
        return _list(arguments.identities)
    if not arguments.name:
        raise UsageError(f"NAME: missing. Write it like this: ganserve token {arguments.action} app")
    try:
        return _new(arguments) if arguments.action == "new" else _revoke(arguments)
    except StartupError as error:
        raise UsageError(str(error)) from error


def _new(arguments: TokenArguments) -> int:
    if not arguments.role:
        raise UsageError("--role: missing. Say what the caller may do, such as --role sample --role score.")
    expires = None
    if arguments.days is not None:
        if not 0 < arguments.days <= 36_500:
            raise UsageError(f"--days {arguments.days:g}: must be above 0 and at most 36500.")
        expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=arguments.days)
    token = add_token(arguments.identities, arguments.name, arguments.role, arguments.model, expires)
    complain(f"added to {arguments.identities}; this is the only time that the token is shown:")
    sys.stdout.write(f"{token}\n")
    return DONE


def _revoke(arguments: TokenArguments) -> int:
    count = remove_tokens(arguments.identities, arguments.name)
    if not count:
        complain(
            f"ganserve token: error: {arguments.name}: has no token in {arguments.identities}. `ganserve token list`"
        )
        return BAD_USAGE
    sys.stdout.write(f"removed {count} token{'s' * (count > 1)} of {arguments.name}\n")
    return DONE


def _list(file: Path) -> int:
    try:
        identities = tokens_of(file)
    except StartupError as error:
        raise UsageError(str(error)) from error
    for identity in identities:
        roles, models = " ".join(sorted(identity.roles)), " ".join(identity.models.texts)
        end = ""
        if identity.expires != float("inf"):
            moment = datetime.datetime.fromtimestamp(identity.expires, datetime.UTC)
            end = f"  {'ended' if identity.expired else 'until'} {moment:%Y-%m-%d %H:%M} UTC"
        sys.stdout.write(printable(f"{identity.name:24}  {roles:24}  {models}{end}") + "\n")
    return DONE


COMMAND = Command(
    name="token",
    arguments=TokenArguments,
    action=_token,
    examples=(
        "ganserve token new app --role sample --role score    # in identities.toml",
        "ganserve token new team-a --role sample --model 'team-a-*' --days 90",
        "ganserve token list",
        "ganserve token revoke app",
    ),
)
main = COMMAND.main
