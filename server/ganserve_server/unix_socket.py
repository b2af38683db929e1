"""Listen on a Unix socket: refuse one that another server uses, and remove it at the end."""

import os
import socket
import stat
from pathlib import Path

from ganserve_server.errors import StartupError

UNIX = "unix:"
_MOST_PATH_BYTES = 107  # of Linux


class UnixSocket:
    """The file of a Unix socket."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._inode: int | None = None

    def check(self) -> None:
        """Raise StartupError if it cannot be made, or another process listens on it: gRPC would take it away."""
        if len(os.fsencode(self._path)) > _MOST_PATH_BYTES:
            raise StartupError(f"--host unix:{self._path}: has more than {_MOST_PATH_BYTES} bytes. Use a shorter path.")
        if not self._path.parent.is_dir():
            raise StartupError(f"--host unix:{self._path}: there is no folder {self._path.parent}. Make it first.")
        if not self._path.exists():
            return
        if not stat.S_ISSOCK(self._path.stat().st_mode):
            raise StartupError(f"--host unix:{self._path}: is a file, not a socket. Choose another path.")
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self._path))
            except OSError:
                return  # left behind by a process that has ended
        raise StartupError(f"--host unix:{self._path}: another process listens there. Choose another path.")

    def bind_error(self) -> str:
        """Return why a socket cannot be made there."""
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.bind(str(self._path))
            self._path.unlink()
        except OSError as error:
            return error.strerror or str(error)
        return "gRPC gave no reason"

    def listening(self) -> None:
        """Note the file that was made."""
        self._inode = self._path.stat().st_ino

    def remove(self) -> None:
        """Remove the file, unless it is gone or another server has replaced it."""
        try:
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        except OSError:
            return
