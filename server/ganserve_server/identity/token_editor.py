"""Add tokens to the file of identities, list and remove them, and leave the rest of the file as it is."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from ganserve_server.errors import StartupError
from ganserve_server.identity.identity import Identity
from ganserve_server.identity.settings_file import NAME, read_identities
from ganserve_server.identity.tokens import digest, new_token

_HEAD = "[[tokens]]"
_BEGINNING = "# Identities of a ganserve server. Tokens: `ganserve token new NAME --role ROLE`.\n"


def add_token(
    file: Path, name: str, roles: Sequence[str], models: Sequence[str], expires: datetime.datetime | None
) -> str:
    """Add a token to the file, which is made if it is missing, and return it: the file holds only its digest.

    Raises StartupError if the file or the name is wrong.
    """
    if not NAME.fullmatch(name):
        raise StartupError(f"NAME {name!r}: not a name. Use up to 64 of A-Z, a-z, 0-9, and _ . @ - inside.")
    token = new_token()
    lines = [_HEAD, f"name = {json.dumps(name)}", f'sha256 = "{digest(token).hex()}"', f"roles = {_texts(roles)}"]
    if list(models) != ["*"]:
        lines.append(f"models = {_texts(models)}")
    lines.append(f"created = {_moment(datetime.datetime.now(datetime.UTC))}")
    if expires is not None:
        lines.append(f"expires = {_moment(expires)}")
    file = Path(os.path.realpath(file))  # of a link, the file itself is replaced
    with _locked(file):
        text, known = _BEGINNING, set()
        if file.exists():
            known = set(read_identities(file).tokens)
            text = _text_of(file)
        _replace(file, f"{text.rstrip()}\n\n" + "\n".join(lines) + "\n", known | {digest(token)})
    return token


def remove_tokens(file: Path, name: str) -> int:
    """Remove all tokens of a name, and return how many there were; raise StartupError if the file is wrong."""
    file = Path(os.path.realpath(file))
    with _locked(file):
        before = read_identities(file)
        gone = {proof for proof, identity in before.tokens.items() if identity.name == name}
        if gone:
            digests = [proof.hex() for proof in gone]
            kept = [block for block in _blocks(_text_of(file)) if not _is_token(block, digests)]
            _replace(file, "".join(kept), before.tokens.keys() - gone)
    return len(gone)


def tokens_of(file: Path) -> list[Identity]:
    """Return the identities of a file's tokens, in its order; raise StartupError if it is wrong."""
    return list(read_identities(file).tokens.values())


def _text_of(file: Path) -> str:
    return file.read_text(encoding="utf-8-sig")


def _blocks(text: str) -> list[str]:
    """Return a text in parts, each of which begins with a line that begins a table, or with the comment above it."""
    blocks: list[list[str]] = [[]]
    for line in text.splitlines(keepends=True):
        if line.startswith("["):
            last = blocks[-1]
            end = len(last)
            while end and last[end - 1].startswith("#"):
                end -= 1
            blocks[-1] = last[:end]
            blocks.append(last[end:])
        blocks[-1].append(line)
    return ["".join(block) for block in blocks]


def _is_token(block: str, digests: Sequence[str]) -> bool:
    """Return whether a block is the table of a token with one of these digests."""
    head = next((line for line in block.splitlines() if not line.startswith("#")), "")
    return head.startswith(_HEAD) and any(one in block for one in digests)


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Keep other processes from changing the file at the same time."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(file.parent, os.O_RDONLY)
    except OSError as error:
        raise StartupError(f"--identities {file}: {error.strerror}. Name a file in a folder that you own.") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _replace(file: Path, text: str, tokens: Collection[bytes]) -> None:
    """Replace the file by a text that has these tokens, and keep its permissions, owner and group."""
    written = _beside(file, text)
    try:
        try:
            right = read_identities(written).tokens.keys() == set(tokens)
        except StartupError:
            right = False
        if not right:
            raise StartupError(f"--identities {file}: its tables have an unusual form. Change the tokens by hand.")
        written.replace(file)
    finally:
        written.unlink(missing_ok=True)


def _beside(file: Path, text: str) -> Path:
    """Write a text into a new file beside another, with that one's permissions, else readable for this user only."""
    old = file.stat() if file.exists() else None
    try:
        number, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    except OSError as error:
        raise StartupError(f"--identities {file}: {error.strerror}. Name a file in a folder that you own.") from error
    with os.fdopen(number, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    if old is not None:
        try:
            os.chown(name, old.st_uid, old.st_gid)  # a server that runs as that user or group must read it
        except OSError as error:
            Path(name).unlink()
            raise StartupError(
                f"--identities {file}: belongs to the user {old.st_uid} and the group {old.st_gid}, which this user "
                "cannot give it again. Run the command as that user, or as root."
            ) from error
        Path(name).chmod(old.st_mode & 0o777)
    return Path(name)


def _texts(values: Sequence[str]) -> str:
    return f"[{', '.join(json.dumps(value) for value in values)}]"


def _moment(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
