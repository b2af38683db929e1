"""Make temporary folders that outlive no process: whoever makes the next one removes those of killed processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_OWNER = "owner"


@contextlib.contextmanager
def owned_folder(prefix: str) -> Iterator[Path]:
    """Yield a new folder that only this user may enter, until the block ends; raise OSError if none can be made.

    Folders of this prefix whose processes were killed are removed, too.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        try:
            with (folder / _OWNER).open("w") as owner:
                if _locked(owner, wait=True):
                    if not (folder / _OWNER).exists():  # removed before it was locked
                        continue
                    _remove_dead(folder.parent, prefix)
                yield folder
                return
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_dead(parent: Path, prefix: str) -> None:
    for file in parent.glob(f"{prefix}*/{_OWNER}"):
        with contextlib.suppress(OSError), file.open("r+") as owner:
            if file.stat().st_uid == os.getuid() and _locked(owner, wait=False):
                shutil.rmtree(file.parent, ignore_errors=True)


def _locked(owner: TextIO, *, wait: bool) -> bool:
    """Lock a file until it is closed; return False if its process runs, or the file system has no locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(owner, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True
