"""Tell the source for a path by what is there."""

from __future__ import annotations

from pathlib import Path

from ganserve_training.data.config import SOURCES
from ganserve_training.data.idx_file import holds_idx_images
from ganserve_training.data.image_decoding import ENDINGS as PICTURES
from ganserve_training.data.label_table import is_table
from ganserve_training.data.layouts.folder_tree import FolderTree
from ganserve_training.data.layouts.tree import ending
from ganserve_training.data.sources.parquet import ENDINGS as PARQUET
from ganserve_training.errors import ConfigError

_ARRAYS = (".npy", ".npz")


def names_source(value: str) -> bool:
    """Return whether the value of --data is the name of a source, rather than a path.

    A source that needs a path, such as idx, is not meant where there is a file or folder of that name.
    """
    if value not in SOURCES.names:
        return False
    try:
        SOURCES.kind(value)().check_complete()
    except ConfigError:
        return not Path(value).exists()
    return True


def source_of(value: str) -> str:
    """Return the name of the source that reads the file or folder at a path.

    Raises:
        ConfigError: There is no such file or folder.
    """
    path = Path(value).expanduser()
    if not path.exists() and "://" in value:
        raise ConfigError(f"--data {value}: is an address. Download the data, and give their file or folder.")
    if not path.exists():
        raise ConfigError(
            f"--data {value}: neither a file or folder nor a source. The sources are {', '.join(SOURCES.names)}"
        )
    names = [path.name] if path.is_file() else [item.name for item in path.iterdir()]
    if path.is_file() and ending(path.name) in _ARRAYS:
        return "array"
    if is_table(path):
        return "csv"
    if any(ending(name) in PARQUET for name in names):
        return "parquet"
    if any(name.startswith(("data_batch", "test_batch")) or name == "cifar-10-batches-bin" for name in names):
        return "cifar10"
    if any(map(_is_idx, names)):
        return "idx"
    if path.is_file():
        return "idx" if holds_idx_images(path) else "folder"
    found = FolderTree.walk(path, PARQUET)
    if any(ending(file) in PICTURES for file in found.others):
        return "folder"
    if found.files:
        return "parquet"
    return "idx" if any(map(_is_idx, found.others)) else "folder"


def _is_idx(name: str) -> bool:
    return any(f"idx{axes}{joint}ubyte" in name for axes in (3, 4) for joint in "-.")
