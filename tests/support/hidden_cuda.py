"""`python hidden_cuda.py WHAT FLAGS…` is `ganserve serve FLAGS…` with a GPU's driver, but without CUDA's libraries.

WHAT is all, or cudnn. Libraries from Python packages are not preloaded. Empty files hide those of the system: `hide`
makes a folder of them, and the caller names it in LD_LIBRARY_PATH before the process starts, because the variable is
read only then.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING

import onnxruntime

from ganserve_server.engine import providers

if TYPE_CHECKING:
    from pathlib import Path


def hide(what: str, folder: Path) -> None:
    """Make a folder of empty files with the libraries' names, which are found first but cannot be loaded."""
    major = onnxruntime.cuda_version.partition(".")[0]
    cuda = [f"cublas.so.{major}", f"cublasLt.so.{major}", f"cudart.so.{major}"] if what == "all" else []
    folder.mkdir()
    for name in (*cuda, "cudnn.so.9"):
        (folder / f"lib{name}").touch()


def main(what: str, flags: list[str]) -> int:
    from ganserve_server.commands.serve import main as serve

    preload = functools.partial(onnxruntime.preload_dlls, cudnn=False)
    onnxruntime.preload_dlls = preload if what == "cudnn" else lambda **_: None
    providers._driver_obstacle = lambda: None
    return serve(flags)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
