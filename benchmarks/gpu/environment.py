"""Describe the machine: date, card, driver, and the versions of everything that computes."""

from __future__ import annotations

import datetime
import importlib.metadata
import shutil
import subprocess

import torch
from common import machine

_PACKAGES = ("torch", "triton", "onnx", "onnxscript", "numpy", "grpcio", "protobuf")
_QUERY = "name,driver_version,memory.total,clocks.max.sm,power.limit,temperature.gpu"


def describe(device: str) -> dict[str, object]:
    """Return what the figures depend on. `common.machine` adds onnxruntime's version."""
    known = machine() | {name: _version(name) for name in _PACKAGES}
    known |= {"date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"), "device": device}
    if device == "cuda":
        known |= {"card": torch.cuda.get_device_name(0), "cuda": torch.version.cuda}
        known |= {"cudnn": torch.backends.cudnn.version(), "nvidia_smi": _nvidia_smi()}
    return known


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _nvidia_smi() -> dict[str, str]:
    if shutil.which("nvidia-smi") is None:
        return {}
    command = ["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader", "--id=0"]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return dict(zip(_QUERY.split(","), [part.strip() for part in output.split(",")], strict=False))
