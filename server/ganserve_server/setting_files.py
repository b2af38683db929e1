"""Watch files that settings name: whether they have changed, and whether other users can read or write them."""

import logging
import stat
from pathlib import Path
from typing import TypeAlias

FileSignature: TypeAlias = "tuple[int, int, int] | None"
_log = logging.getLogger(__name__)


def file_signature(file: Path) -> FileSignature:
    """Return what changes when a file is written or replaced, or its permissions change; None if it cannot be seen."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ctime_ns, status.st_size, status.st_ino


def warn_if_open(flag: str, file: Path, *, secret: bool) -> None:
    """Log that any user of this machine can write a file, or read one that is secret."""
    try:
        mode = file.stat().st_mode
    except OSError:
        return
    if mode & stat.S_IWOTH:
        _log.warning("%s %s: every user of this machine can change it. Use `chmod o-w`.", flag, file)
    elif secret and mode & stat.S_IROTH:
        _log.warning("%s %s: every user of this machine can read it. Use `chmod o-r`.", flag, file)
