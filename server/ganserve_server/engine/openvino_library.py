"""Load OpenVINO, which nothing else may import: it would send usage reports.

Import this module only if OpenVINO was requested: that takes a quarter of a second and 40 MiB.
"""

from __future__ import annotations

import contextlib
import functools
import io
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

__all__ = ["DEVICE", "core", "has_bfloat16", "load_libraries", "openvino", "read_model"]


@contextlib.contextmanager
def _without_converters() -> Iterator[None]:
    """Keep `import openvino` from importing its tools, which send usage reports."""
    name = "openvino.tools.ovc"
    if name in sys.modules:  # somebody else's import
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment] # an import of it raises ImportError, which openvino expects
    try:
        yield
    finally:
        del sys.modules[name]


with _without_converters():
    import openvino
    from openvino.frontend import FrontEnd, FrontEndManager

DEVICE = "CPU"
# Flags of /proc/cpuinfo: OpenVINO also emulates bfloat16, slowly.
_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
_lock = threading.Lock()


def has_bfloat16() -> bool:
    """Return True if the CPU computes in bfloat16."""
    if "BF16" not in core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES"):
        return False
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return True
    return not _BFLOAT16_FLAGS.isdisjoint(words)


def load_libraries(identity_graph: bytes) -> None:
    """Load all libraries that calls need, which a process may be forbidden to do later."""
    core().compile_model(read_model(identity_graph), DEVICE)


@functools.cache  # making one searches for devices
def core() -> openvino.Core:
    """Return the one object that compiles graphs."""
    return openvino.Core()


@functools.cache  # making one opens files, which a trial may not
def _frontend() -> FrontEnd:
    return FrontEndManager().load_by_framework("onnx")


def read_model(content: bytes) -> openvino.Model:
    """Return the graph of an ONNX file. `Core.read_model` would also read the other formats that OpenVINO knows."""
    with _lock:
        return _frontend().convert(_frontend().load(io.BytesIO(content)))
