"""Add tokens to the file of identities, list and remove them, and leave the rest of the file as it is."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
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
    with _locked(file):
        text = file.read_text(encoding="utf-8") if file.exists() else _BEGINNING
        if file.exists():
            read_identities(file)  # never make a wrong file longer
        _write(file, f"{text.rstrip()}\n\n" + "\n".join(lines) + "\n")
    return token


def remove_tokens(file: Path, name: str) -> int:
    """Remove all tokens of a name, and return how many there were; raise StartupError if the file is wrong."""
    with _locked(file):
        before = read_identities(file)
        gone = {proof for proof, identity in before.tokens.items() if identity.name == name}
        if not gone:
            return 0
        digests = [proof.hex() for proof in gone]
        blocks = _blocks(file.read_text(encoding="utf-8"))
        kept = [block for block in blocks if not (block.startswith(_HEAD) and any(one in block for one in digests))]
        written = _beside(file, "".join(kept))
        try:
            after = read_identities(written)
            if after.tokens.keys() != before.tokens.keys() - gone or len(kept) != len(blocks) - len(gone):
                raise StartupError(f"--identities {file}: its tables have an unusual form. Remove the tokens by hand.")
            written.replace(file)
        finally:
            written.unlink(missing_ok=True)
    return len(gone)


def tokens_of(file: Path) -> list[Identity]:
    """Return the identities of a file's tokens, in its order; raise StartupError if it is wrong."""
    return list(read_identities(file).tokens.values())


def _blocks(text: str) -> list[str]:
    """Return a text in parts, each of which begins with a line that begins a table."""
    blocks = [""]
    for line in text.splitlines(keepends=True):
        if line.startswith("["):
            blocks.append("")
        blocks[-1] += line
    return blocks


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


def _write(file: Path, text: str) -> None:
    _beside(file, text).replace(file)


def _beside(file: Path, text: str) -> Path:
    """Write a text into a new file beside another, with that one's permissions, else readable for this user only."""
    mode = file.stat().st_mode & 0o777 if file.exists() else 0o600
    try:
        number, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    except OSError as error:
        raise StartupError(f"--identities {file}: {error.strerror}. Name a file in a folder that you own.") from error
    with os.fdopen(number, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    Path(name).chmod(mode)
    return Path(name)


def _texts(values: Sequence[str]) -> str:
    return f"[{', '.join(json.dumps(value) for value in values)}]"


def _moment(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
