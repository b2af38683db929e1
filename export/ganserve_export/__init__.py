"""Turns training runs, and ONNX files made elsewhere, into verified model packages that the server reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ganserve_export._errors import ExportError, VerificationError
    from ganserve_export.exporter import Exported, export_run
    from ganserve_export.foreign.packaging import OnnxOptions, Packaged, package_onnx

__all__ = [
    "ExportError",
    "Exported",
    "OnnxOptions",
    "Packaged",
    "VerificationError",
    "export_run",
    "package_onnx",
]

_HOMES = {
    "ExportError": "_errors",
    "VerificationError": "_errors",
    "Exported": "exporter",
    "export_run": "exporter",
    "OnnxOptions": "foreign.packaging",
    "Packaged": "foreign.packaging",
    "package_onnx": "foreign.packaging",
}


def __getattr__(name: str) -> object:
    # Lazy, so that importing the package does not load torch and onnxruntime.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
