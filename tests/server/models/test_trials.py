"""Test that packages are tried in another process, where endless, huge and crashing ones end, while others serve."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import hostile_packages
from ganserve.v1 import gan_service_pb2
from ganserve_server.errors import PackageError
from ganserve_server.models import trial_process
from ganserve_server.models.package_files import read_package
from ganserve_server.models.repository import Repository
from ganserve_server.models.trial_inputs import fitted, trial_feeds
from ganserve_server.models.trial_process import SlowTrialError, TrialProcesses
from repositories import BATCH, ENGINE, FAILED, READY, states, wait_for
from server_process import running_server
from tiny_packages import build_tiny_package

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOADING = gan_service_pb2.MODEL_STATE_LOADING
GIB = 2**30


@pytest.fixture
def trials() -> Iterator[TrialProcesses]:
    trials = TrialProcesses(timeout_s=600, memory_bytes=GIB)
    yield trials
    trials.close()


def check(trials: TrialProcesses, folder: Path) -> None:
    package = read_package(folder)
    engine, batch = fitted(package.info, ENGINE, BATCH)
    trials.check(package, engine, trial_feeds(package.info, engine, batch))


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (hostile_packages.huge_when_run, "its trial needs more than 1024 MiB of memory: raise --load-memory-mib"),
        (hostile_packages.in_onnxruntimes_format, "generator.onnx is not an ONNX file"),
    ],
)
def test_a_hostile_package_fails_with_its_reason(
    trials: TrialProcesses, tmp_path: Path, build: Callable[[Path], Path], reason: str
) -> None:
    with pytest.raises(PackageError, match=reason):
        check(trials, build(tmp_path))
    check(trials, build_tiny_package(tmp_path))


@pytest.mark.parametrize("build", [hostile_packages.endless, hostile_packages.doubling])
def test_a_trial_without_end_is_ended(tmp_path: Path, build: Callable[[Path], Path]) -> None:
    trials = TrialProcesses(timeout_s=1, memory_bytes=8 * GIB)
    with pytest.raises(PackageError, match="its trial did not end within 1 s: raise --load-timeout-s"):
        check(trials, build(tmp_path))
    trials.close()
    assert not children()


def test_many_dimensions_are_not_multiplied(trials: TrialProcesses, tmp_path: Path) -> None:
    check(trials, hostile_packages.of_many_dimensions(tmp_path))  # nothing uses that weight


def test_a_crash_is_its_packages_failure(trials: TrialProcesses, tmp_path: Path) -> None:
    folder = hostile_packages.endless(tmp_path)
    failures: list[BaseException] = []

    def attempt() -> None:
        try:
            check(trials, folder)
        except PackageError as error:
            failures.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    wait_for(children, "the process")
    os.kill(children()[0], signal.SIGSEGV)
    thread.join()
    assert "the process that tried it crashed (SIGSEGV)" in str(failures[0])
    check(trials, build_tiny_package(tmp_path))


def test_an_endless_version_keeps_nobody_waiting(
    trials: TrialProcesses, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    build_tiny_package(tmp_path, "tiny", 1)
    repository = Repository(tmp_path, ENGINE, BATCH, trials=trials)
    repository.load()
    request.addfinalizer(repository.close)
    hostile_packages.endless(tmp_path)
    build_tiny_package(tmp_path, "tiny", 2)
    repository.watch(0.05)
    wait_for(lambda: states(repository) == {"endless": {1: LOADING}, "tiny": {1: READY, 2: READY}}, "the good version")
    assert repository.unload_model("tiny", 2).latest == 1
    assert repository.load_model("tiny", 2).latest == 2
    for process in children():
        os.kill(process, signal.SIGKILL)  # as the kernel does when memory runs out
    wait_for(lambda: states(repository)["endless"] == {1: FAILED}, "the failure")
    (summary,) = (model for model in repository.summaries() if model.name == "endless")
    assert "was killed" in summary.versions[0].reason


def test_more_endless_versions_than_loads_at_once_keep_nobody_waiting(
    trials: TrialProcesses, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_process, "SLOW_S", 0.1)
    build_tiny_package(tmp_path, "tiny", 1)
    repository = Repository(tmp_path, ENGINE, BATCH, trials=trials)
    repository.load()
    request.addfinalizer(repository.close)
    bad = [f"endless{number}" for number in range(5)]
    for name in bad:
        hostile_packages.endless(tmp_path, name)
    repository.watch(0.05)
    wait_for(lambda: set(states(repository)) == {*bad, "tiny"}, "the loads")
    build_tiny_package(tmp_path, "tiny", 2)
    expected = {name: {1: LOADING} for name in bad} | {"tiny": {1: READY, 2: READY}}
    wait_for(lambda: states(repository) == expected, "the good version")


def test_a_slow_trial_gives_way_to_others_and_only_to_them(
    trials: TrialProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_process, "SLOW_S", 0.01)
    package = read_package(hostile_packages.endless(tmp_path))
    engine, batch = fitted(package.info, ENGINE, BATCH)
    feeds = trial_feeds(package.info, engine, batch)
    looks = []

    def wanted() -> bool:
        looks.append(len(children()))
        return len(looks) == 3

    with pytest.raises(SlowTrialError):
        trials.check(package, engine, feeds, 1, wanted)
    assert looks == [1, 1, 1]
    assert not children()
    check(trials, build_tiny_package(tmp_path))


@pytest.mark.slow
def test_the_start_does_not_wait_for_an_endless_version(tmp_path: Path) -> None:
    build_tiny_package(tmp_path)
    hostile_packages.endless(tmp_path)
    with running_server(tmp_path, "--load-timeout-s", "1000") as server:
        assert "model    tiny version 1" in server.log
        assert "loading  endless version 1" in server.log
        server.terminate()
        assert server.wait() == 0


@pytest.mark.slow
def test_a_killed_server_leaves_no_trial_behind(tmp_path: Path) -> None:
    build_tiny_package(tmp_path)
    hostile_packages.endless(tmp_path)
    with running_server(tmp_path) as server:
        processes = children(server.process.pid)
        assert processes
        server.process.kill()
        server.wait()
        wait_for(lambda: not any(Path(f"/proc/{process}").exists() for process in processes), "the trial to end")


def test_what_has_passed_is_not_tried_again(
    trials: TrialProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build_tiny_package(tmp_path)
    check(trials, folder)
    trials.rest()
    monkeypatch.setattr(sys, "executable", "/nowhere")
    check(trials, folder)
    with pytest.raises(PackageError, match="no process to try it in could be started: No such file"):
        check(trials, build_tiny_package(tmp_path, "other"))


def test_a_trial_can_open_no_file(trials: TrialProcesses, tmp_path: Path) -> None:
    check(trials, build_tiny_package(tmp_path))
    (process,) = children()
    limits = Path(f"/proc/{process}/limits").read_text()
    assert "Max open files            0                    0" in limits
    assert "Max file size             0                    0" in limits


def children(process: int | None = None) -> list[int]:
    """Return the processes for trials that one has started, by default this one."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            command = (stat.parent / "cmdline").read_text()
        except OSError:  # it has ended
            continue
        if int(fields[1]) == (process or os.getpid()) and "trial_child" in command:
            found.append(int(stat.parent.name))
    return found
