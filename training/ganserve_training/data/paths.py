"""Paths that must exist."""

from pathlib import Path
from typing import Literal

from ganserve_training.errors import DataError

PathKind = Literal["file", "folder", "either"]


def existing(path: Path, *, kind: PathKind, option: str) -> Path:
    """Return a path that must exist and be of that kind.

    Raises:
        DataError: It doesn't, or isn't.
    """
    flag = f"--{option.replace('_', '-')} {path}"
    if not path.exists():
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise DataError(f"{flag}: does not exist{where}.")
    if (kind == "file" and not path.is_file()) or (kind == "folder" and not path.is_dir()):
        raise DataError(f"{flag}: must be a {kind}.")
    return path
