"""Write files that have their name only once they are whole: a full disk leaves no cut-off ones."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a new file for writing, which replaces `path` at the end of the block; errors name `path`.

    Raises:
        OSError: The file cannot be written; an earlier file of that name stays as it was.
    """
    target = Path(os.path.realpath(path))  # A link stays a link.
    if target.exists() and not target.is_file():  # a device or a pipe, such as /dev/stdout
        with target.open("wb") as stream:
            yield stream
        return
    part = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as stream:
            yield stream
        part.replace(target)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(part)):
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file at once; see `whole_file`."""
    with whole_file(path) as stream:
        stream.write(content)
