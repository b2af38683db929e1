"""Test that processes that hang are found and replaced, and that a busy machine makes none look hung."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ganserve import Client
from ganserve_server.processes import liveness
from ganserve_server.processes.changes import ChangeLog
from ganserve_server.processes.fleet import Fleet
from ganserve_server.processes.liveness import Watch, look_at
from ganserve_server.processes.vitals import Thread, Vitals, own_time_s, read_vitals
from repositories import wait_for
from server_process import fetch, processes_of, running_server
from tiny_packages import build_tiny_package

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ELAPSED_S = 2.0
_LOOP = "while True: pass"
_WAIT = "import threading; threading.Event().wait()"
_PATIENT_S = 300


def vitals(*threads: tuple[str, float, float], faults: int = 0) -> Vitals:
    """Return vitals of threads by state, time on a core and time waiting for one; the first is the event loop's."""
    made = {
        number: Thread(state=state, ran_s=ran, queued_s=queued) for number, (state, ran, queued) in enumerate(threads)
    }
    return Vitals(major_faults=faults, main=made[0], threads=made)


@pytest.mark.parametrize(
    ("case", "now", "expected"),
    [
        ("an endless loop with a core of its own", vitals(("R", 2, 0)), 2.0),
        ("the same on a busy machine", vitals(("R", 0.5, 0)), 0.5),
        ("waits for a core, which the kernel has not counted yet", vitals(("R", 0, 0)), 0.0),
        ("waited for a core", vitals(("S", 0.5, 1.5)), 0.5),
        ("another thread, which may hold the lock, waits for a core", vitals(("S", 0, 0), ("R", 0, 0)), 0.0),
        ("waits for what never comes", vitals(("S", 0, 0), ("S", 0, 0)), 2.0),
        ("waits for a disk", vitals(("D", 0, 0)), 0.0),
        ("its memory is on a disk", vitals(("S", 0, 0), faults=1), 0.0),
        ("a debugger holds it", vitals(("t", 0, 0)), 0.0),
        ("has just been stopped", vitals(("T", 0, 0)), 0.0),
    ],
)
def test_only_time_in_which_a_process_could_run_counts(case: str, now: Vitals, expected: float) -> None:
    before = vitals(("S", 0, 0), ("S", 0, 0))
    assert own_time_s(before, now, ELAPSED_S) == pytest.approx(expected), case


def test_a_process_that_stays_stopped_could_have_run_all_the_time() -> None:
    stopped = vitals(("T", 0, 0))
    assert own_time_s(stopped, replace(stopped, major_faults=1), ELAPSED_S) == ELAPSED_S


class Asked:
    """A real process that the tests answer for."""

    def __init__(self, program: str) -> None:
        self.serving_since: float | None = None
        self.process = subprocess.Popen([sys.executable, "-c", program])
        self.questions: list[Future[None]] = []
        self.hangs = False
        self.killed: float | None = None
        self.why = ""

    def ask(self, _kind: str) -> Future[None]:
        self.questions.append(Future())
        return self.questions[-1]

    def end(self, why: str) -> None:
        self.why, self.killed = why, 0.0
        self.process.kill()


@pytest.fixture
def asked(request: pytest.FixtureRequest) -> Iterator[Asked]:
    one = Asked(request.param)
    yield one
    one.process.kill()
    one.process.wait()


@pytest.mark.parametrize("asked", [_LOOP, _WAIT], indirect=True)
@pytest.mark.parametrize("stopped", [False, True])
def test_a_process_that_hangs_is_ended_and_one_that_answers_is_not(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, *, stopped: bool
) -> None:
    monkeypatch.setattr(liveness, "PATIENCE_S", 0.2)
    monkeypatch.setattr(liveness, "_HANGS_S", 0.1)
    watch = Watch(asked, 0.02)  # type: ignore[arg-type] # it has what is used
    for _ in range(20):  # it answers, so that its own time does not matter
        watch.look()
        asked.questions[-1].set_result(None)
    watch.look()
    if stopped:
        asked.process.send_signal(signal.SIGSTOP)
        wait_for(lambda: (now := read_vitals(asked.process.pid)) is not None and now.stopped, "the stop")
    assert not asked.hangs

    def look() -> bool:
        look_at([watch])
        return asked.process.poll() is not None

    wait_for(look, "the end")
    assert asked.hangs
    assert ("was stopped by a signal" if stopped else "did not answer") in asked.why
    assert len(asked.questions) == 21, "one question at a time"


def test_a_process_that_starts_may_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "PATIENCE_S", 0.0)
    starting = Asked(_WAIT)
    watch = Watch(starting, 0.01)  # type: ignore[arg-type]
    for _ in range(5):
        look_at([watch])
    assert starting.killed is None
    starting.questions[0].set_result(None)
    wait_for(lambda: look_at([watch]) or starting.killed is not None, "the end")
    assert starting.killed is not None
    starting.process.wait()


def test_others_get_time_to_answer_without_the_one_that_was_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "PATIENCE_S", 0.03)
    waiting, stopped = Asked(_WAIT), Asked(_WAIT)
    # Each look counts at most a millisecond, so that both have the same time.
    watches = [Watch(each, 0.001) for each in (waiting, stopped)]  # type: ignore[arg-type]
    look_at(watches)
    for each in (waiting, stopped):
        each.questions[-1].set_result(None)
    stopped.process.send_signal(signal.SIGSTOP)
    wait_for(lambda: (vitals := read_vitals(stopped.process.pid)) is not None and vitals.stopped, "the stop")
    look_at(watches)
    wait_for(lambda: look_at(watches) or stopped.killed is not None, "the end of the stopped one")
    assert waiting.killed is None
    assert watches[0].urgency() == (False, 0.0)
    wait_for(lambda: look_at(watches) or waiting.killed is not None, "the end of one that does not answer even then")
    for each in (waiting, stopped):
        each.process.wait()


def test_the_probes_tell_whether_a_restart_would_help() -> None:
    fleet = Fleet(ChangeLog())
    first: Any = Asked("")
    second: Any = Asked("")
    for worker in (first, second):
        worker.last, worker.serving_since = None, 1.0
        worker.process.wait()
        fleet.add(worker)
    first.hangs = True
    assert fleet.are_alive(), "it is replaced"
    second.hangs = True
    assert not fleet.are_alive()
    assert fleet.not_ready_because() == "no process answers"
    second.hangs, first.killed = False, -1e9
    assert not fleet.are_alive(), "it does not end"


_BLOCKING = """
import signal, threading
signal.signal(signal.SIGUSR2, lambda *_: threading.Event().wait())
"""


@pytest.mark.slow
def test_hung_processes_are_replaced_while_another_serves(tmp_path: Path) -> None:
    build_tiny_package(tmp_path / "models")
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(_BLOCKING)
    path = os.pathsep.join([str(tmp_path / "path"), os.environ.get("PYTHONPATH", "")])
    flags = ("--processes", "3", "--metrics-port", "0")
    with running_server(tmp_path / "models", *flags, environment={"PYTHONPATH": path}) as server:
        stopped, blocked, _ = processes_of(server)
        os.kill(stopped, signal.SIGSTOP)
        os.kill(blocked, signal.SIGUSR2)
        for pid, why in ((stopped, "was stopped by a signal"), (blocked, "did not answer")):
            text = rf"\(pid {pid}\) {why} for \d+ s in which it could have run, and was killed; it is replaced$"
            server.wait_for(re.compile(text, re.MULTILINE), _PATIENT_S)
            assert fetch(server, "/healthz")[0] == 200
            assert fetch(server, "/readyz")[0] == 200
        wait_for(lambda: len(re.findall(r"process \d \(pid \d+\) serves$", server.log, re.MULTILINE)) == 2, "both")
        with Client(server.address) as client:
            assert len(client.sample(2)) == 2
        assert "\nganserve_replaced_processes_total 2.0\n" in fetch(server, "/metrics")[1]
        server.terminate()
        assert server.wait() == 0
