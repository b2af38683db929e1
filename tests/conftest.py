"""Fixtures that the tests of several components share."""

from __future__ import annotations

import atexit
import functools
import importlib
import io
import os
import shutil
import signal
import sys
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from authority import Authority
from server_process import running_server
from sharing import shared_folder
from tiny_packages import build_tiny_repository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from server_process import ServerProcess

# Tiny networks are fastest on one thread, above all while another worker uses the other core. Set before torch is
# imported; processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Classes that tests train with are none of the user's own; workers share the folder with the process that starts them.
if "STATE_OF_TESTS" not in os.environ:
    os.environ["STATE_OF_TESTS"] = os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="ganserve-state-")
    atexit.register(shutil.rmtree, os.environ["STATE_OF_TESTS"], ignore_errors=True)


def pytest_configure() -> None:
    # Ctrl-C must reach the processes that tests start; in a shell's background job it would be ignored.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Ignore the time of an example: the machine may be busy.
    settings.register_profile("ganserve", deadline=None)
    settings.load_profile("ganserve")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return one worker more than there are cores, for `--numprocesses auto`: many tests wait for other processes."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session", autouse=True)
def _one_table_of_operators() -> Iterator[None]:
    """Let torch build its table of ONNX operators once, not for each graph: it takes longer than converting one."""
    if "ganserve_export.from_run.torch_to_onnx" not in sys.modules:
        yield
        return
    registry = importlib.import_module("torch.onnx._internal.exporter._registration").ONNXRegistry
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "from_torchlib", staticmethod(functools.cache(registry.from_torchlib)))
        yield


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make an authority that signs certificates."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the model packages of `tiny_packages.build_tiny_repository`."""
    return build_tiny_repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train the digits preset for a few steps: real networks, data and checkpoint. Do not change the folder."""

    def train_it(folder: Path) -> None:
        from rich.console import Console

        from ganserve_training import PRESETS, train

        config = replace(PRESETS["digits"], steps=8)
        train(config, folder / "digits", device="cpu", console=Console(file=io.StringIO()))

    return shared_folder(tmp_path_factory, "small-run", train_it) / "digits"


@pytest.fixture(scope="session")
def server_process(repository: Path) -> Iterator[ServerProcess]:
    with running_server(repository) as server:
        yield server


@pytest.fixture
def server(server_process: ServerProcess) -> Iterator[str]:
    """Return the address of a server process that serves `repository`; show its log if a test fails."""
    before = len(server_process.log)
    yield server_process.address
    assert server_process.process.poll() is None, f"the server died:\n{server_process.log}"
    # pytest shows captured output of failed tests only.
    print(server_process.log[before:], end="")
