"""Share the weights of a graph among processes: map them from a file that the first of them writes.

onnxruntime copies the weights of a graph, and packs them for its kernels, so that each process has its own. It can
write the optimised graph with packed weights beside it, and map these when it loads the graph again: they are in memory
once, however many processes use them. Samples are the same, bit for bit: the same kernels run on the same values.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import onnxruntime

_LEAST_BYTES = 2**20  # smaller graphs are not worth files
_MOST_GRAPHS = 100
_FATAL = 4
_log = logging.getLogger(__name__)


def prepared(folder: Path, content: bytes) -> Path | None:
    """Return the optimised form of an ONNX file, which this process writes if no other has; None if there is none.

    Any number of processes may share the folder; other users must not be able to write there.
    """
    if len(content) < _LEAST_BYTES:
        return None
    name = hashlib.sha256(content).hexdigest()[:32]
    place = folder / name
    try:
        with _locked(folder / "lock"):
            if not place.is_dir():
                _write(folder / f".{name}", content)
                (folder / f".{name}").rename(place)
            os.utime(place)
            _remove_oldest(folder)
    except (OSError, RuntimeError) as error:  # the disk is full, or onnxruntime cannot write this graph
        _log.warning("weights are not shared among processes: %s", error)
        return None
    return place / "graph.onnx"


def _write(place: Path, content: bytes) -> None:
    _remove(place)  # of a process that was killed
    place.mkdir()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.optimized_model_filepath = str(place / "graph.onnx")
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    options.add_session_config_entry("session.save_external_prepacked_constant_initializers", "1")
    try:
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        _remove(place)
        raise RuntimeError(str(error)) from error


def _remove_oldest(folder: Path) -> None:
    """Remove graphs that were not loaded for the longest time; those that are mapped stay in use."""
    places = [place for place in folder.iterdir() if place.is_dir()]
    for place in sorted(places, key=lambda one: one.stat().st_mtime)[:-_MOST_GRAPHS]:
        _remove(place)


def _remove(place: Path) -> None:
    if place.is_dir():
        for file in place.iterdir():
            file.unlink()
        place.rmdir()


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
