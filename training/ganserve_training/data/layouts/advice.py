"""Say what to do about files that hold no pictures that can be read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ganserve_training.data.layouts.tree import ending

_UNPACK = "Unpack the archive, and give its folder"
_CONVERT = "Convert them to PNG or JPEG"
_FRAMES = "Save the frames as pictures, and give their folder"
_ARRAYS = "Save the images with numpy.savez(FILE, images=…, labels=…), and give that .npz file"
_ADVICE = {
    **dict.fromkeys((".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst"), _UNPACK),
    **dict.fromkeys((".svg", ".heic", ".heif", ".jxl", ".jp2", ".psd", ".pdf", ".dng", ".nef", ".cr2"), _CONVERT),
    **dict.fromkeys((".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg"), _FRAMES),
    **dict.fromkeys((".h5", ".hdf5", ".mat", ".pt", ".pth", ".pkl", ".pickle", ".tfrecord", ".arrow", ".mdb"), _ARRAYS),
}
_OWN = (".npy", ".npz", ".csv", ".parquet", ".pq")
"""Kinds that other sources read, a file at a time."""


def advice(root: Path, files: Iterable[str]) -> str:
    """Return what to do about a place without pictures, as a sentence without its full stop; empty: nothing is known.

    Args:
        root: The place: a folder, an archive or another file.
        files: The files in it, as paths below it; if it is no folder or archive, its own name.
    """
    files = list(files)
    own = next((file for file in files if ending(file) in _OWN), None)
    if own and ending(own) in _OWN[-2:] and root.is_dir():
        return f"Give the folder with --data {root}, which takes it for Parquet"
    if own and root.is_dir():
        return f"Give the path of one file, such as --data {root / own}"
    if own:
        return _UNPACK
    archive = next((file for file in files if ending(file) == ".zip"), None)
    if archive and root.is_dir():
        return f"Give the archive, --data {root / archive}"
    return next((_ADVICE[kind] for kind in map(ending, files) if kind in _ADVICE), "")
