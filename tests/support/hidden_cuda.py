"""`python hidden_cuda.py FLAGS…` is `ganserve serve FLAGS…` where there is a GPU's driver, and no CUDA library.

Those that packages bring are not loaded ahead, and those that the system has are hidden by what is in the folder that
LD_LIBRARY_PATH names: `hide` makes it, and the caller sets the variable, as it is read when a process starts.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import onnxruntime

from ganserve_server.core import providers

if TYPE_CHECKING:
    from pathlib import Path


def hide(folder: Path) -> None:
    """Makes a folder of empty files with the names of CUDA's libraries: they are found first, and cannot be loaded."""
    major = onnxruntime.cuda_version.partition(".")[0]
    folder.mkdir()
    for name in (f"cublas.so.{major}", f"cublasLt.so.{major}", f"cudart.so.{major}", "cudnn.so.9"):
        (folder / f"lib{name}").touch()


def main() -> int:
    from ganserve_server.command import main as serve

    onnxruntime.preload_dlls = lambda **_: None
    providers._driver_obstacle = lambda: None
    return serve(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
