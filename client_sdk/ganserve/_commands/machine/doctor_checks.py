"""The checks of `ganserve doctor`. Heavy imports run in their own processes, so that a crash of one is a finding."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from ganserve import Client, GanserveError, ServerUnavailable

_PROBE_TIMEOUT_S = 120.0  # a first import of torch from a slow disk
_ONNXRUNTIMES = ("onnxruntime-gpu", "onnxruntime")

EXTRAS = (
    "images",
    "server",
    "cuda",
    "openvino",
    "otel",
    "bulk",
    "ray",
    "training",
    "tensorboard",
    "export",
    "ui",
    "c2pa",
)
LIBRARIES = ("grpcio", "protobuf", "numpy", "cyclopts")

# The SDK must not import ganserve_server, which owns the check of CUDA; the probe's process imports it.
_ONNXRUNTIME_PROBE = """
import json, os
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime
try:
    from ganserve_server.engine.providers import cuda_obstacle
    obstacle = cuda_obstacle()
except ModuleNotFoundError as error:
    obstacle = f"it cannot be checked without {error.name}: pip install 'ganserve[server]'"
print(json.dumps({"version": onnxruntime.__version__, "providers": onnxruntime.get_available_providers(), "obstacle":
obstacle}))
"""
_TORCH_PROBE = """
import json, torch
works = torch.cuda.is_available()
if works:
    torch.ones(1, device="cuda").add_(1).item()
print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda, "works": works,
                  "device": torch.cuda.get_device_name(0) if works else None, "threads": torch.get_num_threads()}))
"""
_NVIDIA_SMI = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")


class State(StrEnum):
    """Result of a check."""

    OK = "ok"
    NOTE = "note"
    """Missing or unused; nothing that is installed is broken."""
    BROKEN = "BROKEN"
    """Installed, but does not work."""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding."""

    name: str
    state: State
    message: str
    """The finding, as a sentence."""
    fix: str | None = None
    """Advice for fixing it."""


def all_checks(target: str | None, connection: Mapping[str, Any]) -> Iterator[Check]:
    """Run all checks and yield the findings in the order in which they are shown."""
    probes = {}
    if installed_onnxruntimes():
        probes["onnxruntime"] = _start([sys.executable, "-c", _ONNXRUNTIME_PROBE])
    if _version("torch"):
        probes["torch"] = _start([sys.executable, "-c", _TORCH_PROBE])
    if shutil.which(_NVIDIA_SMI[0]):
        probes["gpu"] = _start(_NVIDIA_SMI)
    yield Check("Python", State.OK, f"{platform.python_version()} at {sys.executable}")
    yield Check("system", State.OK, f"{platform.system()} {platform.release()} {platform.machine()}, {_cpus()} CPUs")
    yield Check("ganserve", State.OK, ", ".join(f"{name} {version(name)}" for name in ("ganserve", *LIBRARIES)))
    for extra in EXTRAS:
        yield check_extra(extra, {name: _version(name) for name in distributions(extra)})
    gpu = check_gpu(probes.get("gpu"))
    yield gpu
    has_gpu = gpu.state is State.OK
    if "onnxruntime" in probes:
        yield from check_onnxruntime(probes["onnxruntime"], has_gpu=has_gpu)
    if "torch" in probes:
        yield check_torch(probes["torch"], has_gpu=has_gpu)
    yield check_server(target, connection)


def check_extra(extra: str, versions: Mapping[str, str | None]) -> Check:
    """Check whether an extra is installed, from the versions of its distributions; None: it is missing."""
    missing = [name for name, found in versions.items() if found is None]
    install = f"pip install 'ganserve[{extra}]'"
    if not missing:
        return Check(f"[{extra}]", State.OK, ", ".join(f"{name} {found}" for name, found in versions.items()))
    if len(missing) == len(versions):
        return Check(f"[{extra}]", State.NOTE, "not installed", install)
    return Check(f"[{extra}]", State.NOTE, f"incomplete: without {', '.join(missing)}", install)


def check_gpu(probe: subprocess.Popen[str] | None) -> Check:
    """Check the NVIDIA driver and its GPUs with nvidia-smi."""
    if probe is None:
        return Check(
            "GPU", State.NOTE, "nvidia-smi is missing, so there is no NVIDIA driver: everything runs on the CPU"
        )
    code, output, errors = _finish(probe)
    gpus = [line.strip() for line in output.splitlines() if line.strip()]
    if code or not gpus:
        reason = _last_line(output) or _last_line(errors) or f"exit code {code}"
        return Check(
            "GPU", State.NOTE, f"nvidia-smi lists none: {reason}", "check the driver, if this machine has a GPU"
        )
    # A line has the GPU's name, memory and driver.
    return Check("GPU", State.OK, "; ".join(", driver ".join(gpu.rsplit(", ", 1)) for gpu in gpus))


def check_onnxruntime(probe: subprocess.Popen[str], *, has_gpu: bool) -> Iterator[Check]:
    """Check whether onnxruntime loads, and whether it can open a CUDA session."""
    both = installed_onnxruntimes()
    if len(both) > 1:
        fix = f"pip uninstall -y {' '.join(both)}, then pip install 'ganserve[server]'"
        yield Check("onnxruntime", State.BROKEN, f"{' and '.join(both)} are installed and overwrite each other", fix)
    found, trouble = _probed(probe)
    if found is None:
        yield Check(
            "onnxruntime", State.BROKEN, f"does not load: {trouble}", "pip install --force-reinstall 'ganserve[server]'"
        )
        return
    providers = ", ".join(provider.removesuffix("ExecutionProvider") for provider in found["providers"])
    yield Check("onnxruntime", State.OK, f"{found['version']}, built for {providers}")
    if found["obstacle"] is None:
        yield Check("CUDA", State.OK, "onnxruntime made a CUDA session: models run on the GPU")
    elif not has_gpu:
        yield Check("CUDA", State.NOTE, f"models run on the CPU: {found['obstacle']}")
    else:
        # An idle GPU is a fault only where the CUDA libraries are installed.
        complete = all(map(_version, distributions("cuda")))
        state = State.BROKEN if complete else State.NOTE
        yield Check(
            "CUDA",
            state,
            f"models run on the CPU although there is a GPU: {found['obstacle']}",
            None if complete else "pip install 'ganserve[cuda]'",
        )


def check_torch(probe: subprocess.Popen[str], *, has_gpu: bool) -> Check:
    """Check whether PyTorch loads, and whether it computes on the GPU."""
    found, trouble = _probed(probe)
    if found is None:
        return Check(
            "PyTorch", State.BROKEN, f"does not load: {trouble}", "pip install --force-reinstall 'ganserve[training]'"
        )
    if found["works"]:
        return Check("PyTorch", State.OK, f"{found['version']} trains on {found['device']} (CUDA {found['cuda']})")
    cpu = f"{found['version']} trains on the CPU ({found['threads']} threads)"
    if not has_gpu:
        return Check("PyTorch", State.OK, cpu)
    if found["cuda"] is None:
        fix = "install torch's CUDA build: PyTorch's installation page has the command for this platform"
        return Check("PyTorch", State.NOTE, f"{cpu}, though there is a GPU: it is built without CUDA", fix)
    return Check(
        "PyTorch", State.BROKEN, f"{cpu}, though there is a GPU", f"a driver for CUDA {found['cuda']} or newer"
    )


def check_server(target: str | None, connection: Mapping[str, Any]) -> Check:
    """Check whether a server answers at the target, and list its models."""
    with Client(target, timeout_s=5, **connection) as client:
        try:
            models = client.models()
        except ServerUnavailable as error:
            if not str(error).startswith("no server answers"):  # It says what is wrong, such as a certificate.
                return Check("server", State.NOTE, str(error))
            return Check("server", State.NOTE, f"none answers at {client.target}", "ganserve serve --models models")
        except GanserveError as error:
            return Check("server", State.NOTE, f"{client.target} is not a ganserve server: {error}")
        ready = [f"{model.name} {model.latest}" for model in models if model.latest is not None]
        return Check("server", State.OK, f"{client.target} serves {', '.join(ready) or 'no model that is ready'}")


def distributions(extra: str) -> list[str]:
    """Return what an extra installs on this system, by the metadata of the distributions."""
    if extra == "cuda":  # Without the extra `server`, which it includes.
        return _required("onnxruntime-gpu", "cuda|cudnn") or ["onnxruntime-gpu"]
    names = _required("ganserve", extra)
    return list(dict.fromkeys("onnxruntime" if name in _ONNXRUNTIMES else name for name in names))


def _required(distribution: str, extras: str) -> list[str]:
    """Return what a distribution requires for some extras, separated by |."""
    try:
        lines = requires(distribution) or []
    except PackageNotFoundError:
        return []
    other = "sys_platform != 'win32'" if sys.platform == "win32" else "sys_platform == 'win32'"
    chosen = [line for line in lines if re.search(rf"extra == ['\"]({extras})['\"]", line) and other not in line]
    return [re.split(r"[^\w.-]", line)[0] for line in chosen]


def installed_onnxruntimes() -> list[str]:
    """Return the installed distributions of onnxruntime; more than one is a fault."""
    return [name for name in _ONNXRUNTIMES if _installed(name) is not None]


def _version(name: str) -> str | None:
    """Return the version of a distribution, None if it is missing; "onnxruntime" means either of its two."""
    if name == "onnxruntime":
        return next((found for each in _ONNXRUNTIMES if (found := _installed(each)) is not None), None)
    return _installed(name)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start(command: list[str] | tuple[str, ...]) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - this interpreter, or nvidia-smi, with constant arguments
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _finish(probe: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for a process and return its exit code, output and errors."""
    try:
        output, errors = probe.communicate(timeout=_PROBE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        probe.kill()
        probe.communicate()
        return -1, "", f"no answer within {_PROBE_TIMEOUT_S:g} s"
    return probe.returncode, output, errors


def _probed(probe: subprocess.Popen[str]) -> tuple[dict[str, Any] | None, str]:
    """Return what a Python probe found, or None and why it failed."""
    code, output, errors = _finish(probe)
    if code == 0:
        found: dict[str, Any] = json.loads(_last_line(output))
        return found, ""
    return None, _last_line(errors) or f"exit code {code}"


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2].strip()
