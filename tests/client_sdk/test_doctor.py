"""Test `ganserve doctor` on this machine, and where something is broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import requires
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement

from ganserve._commands.machine import doctor_checks as _checks
from ganserve._commands.machine.doctor_checks import Check, State, check_extra

if TYPE_CHECKING:
    from pathlib import Path


def doctor(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ganserve", "doctor", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_this_machine(server: str) -> None:
    done = doctor("--target", server, "--json")
    found = json.loads(done.stdout)
    checks: dict[str, dict[str, Any]] = {check["name"]: check for check in found["checks"]}
    assert found["ok"] == (done.returncode == 0) == all(check["state"] != "BROKEN" for check in checks.values())
    assert checks["Python"]["message"].endswith(sys.executable)
    assert "grpcio" in checks["ganserve"]["message"]
    assert checks["[images]"]["message"].startswith("pillow ")
    assert checks["[server]"]["state"] == "ok"
    assert "built for" in checks["onnxruntime"]["message"]
    assert checks["CUDA"]["message"].startswith(("models run on the CPU", "onnxruntime made a CUDA session"))
    assert "trains on" in checks["PyTorch"]["message"]
    assert checks["server"]["state"] == "ok"
    assert checks["server"]["message"].startswith(f"{server} serves tiny 2, tiny-codes 1")


def test_an_installed_package_that_does_not_load_is_reported_as_broken(tmp_path: Path, closed_port: str) -> None:
    for module in ("onnxruntime", "torch"):
        (tmp_path / f"{module}.py").write_text(f"raise ImportError('lib{module}.so: wrong ELF class')\n")
    done = doctor("--target", closed_port, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == ""
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "BROKEN onnxruntime does not load: ImportError: libonnxruntime.so: wrong ELF class" in lines
    assert "BROKEN PyTorch does not load: ImportError: libtorch.so: wrong ELF class" in lines
    assert f"note server none answers at {closed_port}" in lines
    assert "fix: ganserve serve --models models" in done.stdout
    assert lines[-1] == "broken: onnxruntime, PyTorch"


def test_missing_packages_and_a_present_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_checks, "installed_onnxruntimes", lambda: ())
    monkeypatch.setattr(_checks, "_version", lambda _: None)
    monkeypatch.setattr(
        _checks, "check_server", lambda target, *_: Check("server", State.NOTE, f"{target} was not asked")
    )
    listed = [sys.executable, "-c", "print('NVIDIA H100, 81559 MiB, 580.159.04')"]
    for driver, gpu in ((None, State.NOTE), ("nvidia-smi", State.OK)):
        monkeypatch.setattr(_checks.shutil, "which", lambda _, found=driver: found)
        monkeypatch.setattr(_checks, "_NVIDIA_SMI", listed)
        checks = {check.name: check for check in _checks.all_checks("nowhere:1", {})}
        assert checks["GPU"].state is gpu
        assert not {"onnxruntime", "PyTorch"} & checks.keys()
        assert checks["server"].message == "nowhere:1 was not asked"


def test_extras() -> None:
    assert check_extra("images", {"pillow": "13.0"}) == Check("[images]", State.OK, "pillow 13.0")
    fix = "pip install 'ganserve[export]'"
    assert check_extra("export", {"onnx": None, "torch": None}) == Check("[export]", State.NOTE, "not installed", fix)
    expected = Check("[export]", State.NOTE, "incomplete: without torch", fix)
    assert check_extra("export", {"onnx": "1", "torch": None}) == expected


@pytest.mark.parametrize("extra", sorted(set(_checks.EXTRAS) - {"cuda"}))
def test_the_extras_are_those_of_the_package(extra: str) -> None:
    wanted = set()
    for line in requires("ganserve") or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""}):
            wanted.add("onnxruntime" if requirement.name.startswith("onnxruntime") else requirement.name)
    assert set(_checks.distributions(extra)) == wanted


def test_onnxruntime_of_the_cuda_extra_is_recognised() -> None:
    cuda = set(_checks.distributions("cuda"))
    names = {Requirement(line).name for line in requires("onnxruntime-gpu") or () if "extra ==" in line}
    assert {"nvidia-cuda-runtime", "nvidia-cudnn-cu13"} <= cuda <= names


def probe(code: str) -> subprocess.Popen[str]:
    return _checks._start([sys.executable, "-c", code])


def found(**values: Any) -> subprocess.Popen[str]:
    return probe(f"print({json.dumps(values)!r})")


@pytest.mark.parametrize(
    ("gpu", "obstacle", "cuda_libraries", "state", "words"),
    [
        (True, None, True, State.OK, "made a CUDA session"),
        (False, "there is no NVIDIA driver", False, State.NOTE, "models run on the CPU: there is no NVIDIA driver"),
        (True, "libcudnn is missing", False, State.NOTE, "although there is a GPU: libcudnn is missing"),
        (True, "the driver is too old", True, State.BROKEN, "although there is a GPU: the driver is too old"),
    ],
)
def test_messages_about_cuda(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, obstacle: str | None, cuda_libraries: bool, state: State, words: str
) -> None:
    monkeypatch.setattr(_checks, "_version", lambda name: "1" if cuda_libraries else None)
    answered = found(version="1.31", providers=["CUDAExecutionProvider", "CPUExecutionProvider"], obstacle=obstacle)
    onnxruntime, cuda = _checks.check_onnxruntime(answered, has_gpu=gpu)
    assert onnxruntime == Check("onnxruntime", State.OK, "1.31, built for CUDA, CPU")
    assert cuda.state is state
    assert words in cuda.message
    assert (cuda.fix == "pip install 'ganserve[cuda]'") == (state is State.NOTE and gpu)


def test_two_installed_onnxruntimes_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_checks, "_installed", lambda name: "1.31")
    first, *_ = _checks.check_onnxruntime(found(version="1", providers=[], obstacle=None), has_gpu=False)
    assert first.state is State.BROKEN
    assert "overwrite each other" in first.message
    assert first.fix is not None
    assert first.fix.startswith("pip uninstall -y onnxruntime-gpu onnxruntime")


@pytest.mark.parametrize(
    ("works", "cuda", "gpu", "state", "words"),
    [
        (True, "13.0", True, State.OK, "2.13 trains on H200 (CUDA 13.0)"),
        (False, None, False, State.OK, "2.13 trains on the CPU (2 threads)"),
        (False, None, True, State.NOTE, "it is built without CUDA"),
        (False, "13.0", True, State.BROKEN, "trains on the CPU (2 threads), though there is a GPU"),
    ],
)
def test_messages_about_pytorch(works: bool, cuda: str | None, gpu: bool, state: State, words: str) -> None:
    answered = found(version="2.13", cuda=cuda, works=works, device="H200", threads=2)
    check = _checks.check_torch(answered, has_gpu=gpu)
    assert check.state is state
    assert words in check.message


@pytest.mark.parametrize(
    ("code", "state", "words"),
    [
        ("print('NVIDIA H200, 143771 MiB, 580.1')", State.OK, "NVIDIA H200, 143771 MiB, driver 580.1"),
        (
            "print('NVIDIA-SMI has failed'); raise SystemExit(9)",
            State.NOTE,
            "nvidia-smi lists none: NVIDIA-SMI has failed",
        ),
        ("", State.NOTE, "nvidia-smi lists none: exit code 0"),
    ],
)
def test_messages_about_gpus(code: str, state: State, words: str) -> None:
    check = _checks.check_gpu(probe(code))
    assert check.state is state
    assert words in check.message
    assert _checks.check_gpu(None).state is State.NOTE


def test_a_target_that_is_not_a_ganserve_server() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as other:
        target = f"127.0.0.1:{other.getsockname()[1]}"
        other.settimeout(60)
        import threading

        def hang_up() -> None:
            try:
                while True:
                    other.accept()[0].close()
            except OSError:
                pass  # the test has ended

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        assert _checks.check_server(target, {}).state is State.NOTE


def test_a_hanging_probe_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_checks, "_PROBE_TIMEOUT_S", 0.2)
    check = _checks.check_torch(probe("import time; time.sleep(60)"), has_gpu=False)
    assert check.state is State.BROKEN
    assert "no answer within 0.2 s" in check.message
