"""Where a configuration's data are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ganserve_training.config import DataConfig
from ganserve_training.errors import DataError


def data_path(config: DataConfig, *, kind: Literal["file", "folder", "either"]) -> Path:
    """`data.path`, which must exist and be of that kind.

    Raises:
        DataError: It doesn't, or isn't.
    """
    assert config.path is not None  # DataConfig has made sure.
    return existing(Path(config.path).expanduser(), kind=kind, option="data.path")


def existing(path: Path, *, kind: Literal["file", "folder", "either"], option: str) -> Path:
    """A path that must exist and be of that kind.

    Raises:
        DataError: It doesn't, or isn't.
    """
    if not path.exists():
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise DataError(f"{option}: there is no {path}{where}")
    if (kind == "file" and not path.is_file()) or (kind == "folder" and not path.is_dir()):
        raise DataError(f"{option}: {path} must be a {kind}")
    return path
