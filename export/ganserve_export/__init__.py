"""Turn training runs, and ONNX files made elsewhere, into verified model packages that the server reads."""

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ganserve_export.errors import ExportError, VerificationError
    from ganserve_export.from_onnx.onnx_options import OnnxOptions
    from ganserve_export.from_onnx.package_onnx import Packaged, package_onnx
    from ganserve_export.from_run.export import Exported, export_run

# onnxruntime would report to its maker and keep a device's id in the home folder. It reads this when it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = ["ExportError", "Exported", "OnnxOptions", "Packaged", "VerificationError", "export_run", "package_onnx"]

_HOMES = {
    "ExportError": "errors",
    "VerificationError": "errors",
    "Exported": "from_run.export",
    "export_run": "from_run.export",
    "OnnxOptions": "from_onnx.onnx_options",
    "Packaged": "from_onnx.package_onnx",
    "package_onnx": "from_onnx.package_onnx",
}


def __getattr__(name: str) -> object:
    # Lazy, so that importing the package does not load torch and onnxruntime.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
