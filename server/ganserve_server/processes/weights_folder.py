"""Make the folder for the weights that the processes of a server share, and remove it in the end."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "ganserve-weights-"
_OWNER = "owner"
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def weights_folder() -> Iterator[Path | None]:
    """Yield a new folder that only this user may enter, until the block ends; None if none can be made.

    Folders of servers that were killed are removed, too.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        owner = (folder / _OWNER).open("w")
    except OSError as error:
        _log.warning("weights are not shared among processes: no temporary folder can be made: %s", error.strerror)
        yield None
        return
    with owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        _remove_dead(folder.parent)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_dead(parent: Path) -> None:
    for file in parent.glob(f"{_PREFIX}*/{_OWNER}"):
        with contextlib.suppress(OSError), file.open("r+") as owner:
            if file.stat().st_uid == os.getuid():
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises while its server runs
                shutil.rmtree(file.parent, ignore_errors=True)
