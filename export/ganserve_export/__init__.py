"""Turns a training run into a verified ONNX model package that the server reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ganserve_export._errors import ExportError, VerificationError
    from ganserve_export.exporter import Exported, export_run

__all__ = ["ExportError", "Exported", "VerificationError", "export_run"]

_HOMES = {
    "ExportError": "_errors",
    "VerificationError": "_errors",
    "Exported": "exporter",
    "export_run": "exporter",
}


def __getattr__(name: str) -> object:
    # Lazy, so that importing the package does not load torch and onnxruntime.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
