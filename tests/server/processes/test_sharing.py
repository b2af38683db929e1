"""Test what several server processes share, without running them: ports, limits, quotas, metrics, decisions."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from ganserve_server.engine.choices import Choices
from ganserve_server.errors import QuotaError, StartupError
from ganserve_server.identity.identity import Identity, ModelPatterns
from ganserve_server.identity.quota_settings import Quota, QuotaSettings
from ganserve_server.identity.quotas import Quotas
from ganserve_server.identity.shared_usage import SharedUsage, make_usage_file
from ganserve_server.processes.agreements import Meetings, OnceTable
from ganserve_server.processes.changes import Change, ChangeLog
from ganserve_server.processes.channel import ChannelClosedError
from ganserve_server.processes.fleet import Fleet
from ganserve_server.processes.metrics import ServiceCollector, Snapshot, combined
from ganserve_server.processes.number import REQUEST_S, processes_for
from ganserve_server.processes.ports import ReservedPort
from ganserve_server.processes.shares import share_of
from ganserve_server.requests.limits import Limits
from ganserve_server.settings import ServerConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GIB = 2**30
_REAPING = """
import os
from ganserve_server.processes.orphans import reap
own = os.spawnlp(os.P_NOWAIT, "true", "true")
os.waitid(os.P_PID, own, os.WEXITED | os.WNOWAIT)
print(reap({own}), os.waitpid(own, 0)[1])
orphan = os.spawnlp(os.P_NOWAIT, "true", "true")
os.waitid(os.P_PID, orphan, os.WEXITED | os.WNOWAIT)
print(reap(set()))
"""


def listening(port: int, *, shared: bool) -> socket.socket:
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
    try:
        one.bind(("127.0.0.1", port))
        one.listen()
    except OSError:
        one.close()
        raise
    return one


def test_a_reserved_port_is_for_those_that_share_it() -> None:
    held = ReservedPort("127.0.0.1", 0)
    with listening(held.number, shared=True), listening(held.number, shared=True):
        pass
    with pytest.raises(OSError, match="in use"):
        listening(held.number, shared=False)
    with pytest.raises(StartupError, match=f"127.0.0.1:{held.number}: another process uses the port"):
        ReservedPort("127.0.0.1", held.number)
    held.close()
    listening(held.number, shared=False).close()


@pytest.mark.parametrize("shared", [False, True])
def test_a_strangers_port_is_not_joined_even_if_it_shares(*, shared: bool) -> None:
    with listening(0, shared=shared) as stranger:
        port = stranger.getsockname()[1]
        for host in ("127.0.0.1", "0.0.0.0"):
            with pytest.raises(StartupError, match="another process uses the port"):
                ReservedPort(host, port)


def test_a_host_that_is_not_here_is_refused() -> None:
    with pytest.raises(StartupError, match="this machine has no such address"):
        ReservedPort("192.0.2.1", 0)


@pytest.mark.parametrize("processes", [2, 3, 16])
def test_shares_keep_to_the_limits_together(processes: int) -> None:
    config = ServerConfig(
        processes=processes, memory_limit_mib=4096, max_connections=1000, max_queued_samples=2048, workers=5
    )
    shares = [share_of(config, index, processes) for index in range(processes)]
    for name in ("memory_limit_mib", "max_connections", "max_caller_calls", "max_queued_samples"):
        assert sum(getattr(share, name) for share in shares) <= getattr(config, name)
        assert all(getattr(share, name) > 0 for share in shares)
    assert sum(share.workers for share in shares) >= 5
    default = share_of(ServerConfig(), 0, processes)
    assert Limits.of(default).max_connections * processes <= Limits.of(ServerConfig()).max_connections


@pytest.mark.parametrize(
    ("devices", "processes", "expected"),
    [
        ((0,), 3, [(0,), (0,), (0,)]),
        ((0, 1, 2, 3), 2, [(0, 2), (1, 3)]),
        ((4, 7), 2, [(4,), (7,)]),
        ((4, 7), 3, [(4,), (7,), (4,)]),
    ],
)
def test_gpus_go_round(devices: tuple[int, ...], processes: int, expected: list[tuple[int, ...]]) -> None:
    config = ServerConfig(devices=devices)
    assert [share_of(config, index, processes).devices for index in range(processes)] == expected


def test_the_number_follows_from_the_time_of_a_sample() -> None:
    assert processes_for(0.0, 16, 64 * GIB) == 16, "Python's work is all there is"
    assert processes_for(REQUEST_S, 16, 64 * GIB) == 8
    assert processes_for(2e-3, 16, 64 * GIB) == 2
    assert processes_for(0.1, 16, 64 * GIB) == 1, "the model's calls fill the cores"
    assert processes_for(0.0, 16, 2 * GIB) == 4
    assert processes_for(0.0, 1, 64 * GIB) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"processes": 0}, "--processes 0: must be auto, or 1 to 256"),
        ({"processes": 257}, "must be auto, or 1 to 256"),
        ({"processes": 2, "host": "unix:/tmp/x"}, "needs TCP, and --host unix:/tmp/x is a Unix socket"),
        ({"processes": 4, "max_connections": 3}, "--max-connections 3: must be at least --processes 4"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(ServerConfig(), **settings)


@pytest.fixture
def tables() -> Iterator[list[SharedUsage]]:
    descriptor = make_usage_file(3)
    yield [SharedUsage(descriptor, process) for process in range(3)]
    os.close(descriptor)


def sharing(tables: list[SharedUsage]) -> list[Quotas]:
    quotas = [Quotas() for _ in tables]
    for one, table in zip(quotas, tables, strict=True):
        one.share(table.of)
    return quotas


def app(name: str = "app") -> Identity:
    return Identity(name=name, roles=frozenset({"sample"}), models=ModelPatterns("*"))


def test_calls_are_counted_over_all_processes(tables: list[SharedUsage]) -> None:
    first, second, third = sharing(tables)
    settings = QuotaSettings(default=Quota(concurrent_calls=2))
    one, _ = first.enter(app(), settings), second.enter(app(), settings)
    with pytest.raises(QuotaError, match="2 calls run already"):
        third.enter(app(), settings)
    assert one is not None
    one.leave()
    third.enter(app(), settings)
    with pytest.raises(QuotaError):
        first.enter(app(), settings)
    tables[0].forget(1)  # it has been killed
    first.enter(app(), settings)
    assert first.enter(app("other"), settings), "callers do not share"


def test_a_rate_is_that_of_all_processes(tables: list[SharedUsage], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    quotas, settings = sharing(tables), QuotaSettings(default=Quota(requests_per_s=6))
    for _ in range(2):
        for one in quotas:
            one.enter(app(), settings)
    for one in quotas:
        with pytest.raises(QuotaError, match="6 calls a second"):
            one.enter(app(), settings)
    now[0] += 0.5
    for one in quotas:
        one.enter(app(), settings)
    with pytest.raises(QuotaError):
        quotas[0].enter(app(), settings)


def test_slots_of_idle_callers_are_used_again(tables: list[SharedUsage], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("ganserve_server.identity.shared_usage._SLOTS", 4)
    quotas, settings = sharing(tables)[0], QuotaSettings(default=Quota(requests_per_s=1))
    for number in range(12):
        caller = quotas.enter(app(f"app{number}"), settings)
        assert caller is not None
        caller.leave()
        now[0] += 10
    again = quotas.enter(app("app0"), settings)
    assert again is not None
    with pytest.raises(QuotaError):
        quotas.enter(app("app0"), settings)


def test_values_of_processes_become_the_servers() -> None:
    def families(count: float, ready: float, readable: float) -> list[object]:
        requests = CounterMetricFamily("ganserve_requests", "r", labels=("method", "code"))
        requests.add_metric(("Sample", "OK"), count)
        seconds = HistogramMetricFamily("ganserve_request_seconds", "s", labels=("method",))
        seconds.add_metric(("Sample",), [("1.0", count), ("+Inf", count + 1)], sum_value=count)
        return [
            *(requests, seconds, GaugeMetricFamily("ganserve_ready", "r", value=ready)),
            *(GaugeMetricFamily("ganserve_repository_readable", "r", value=readable),),
        ]

    whole = combined([*families(3, 1, 1), *families(4, 0, 0)])  # type: ignore[list-item]
    values = {(sample.name, sample.labels.get("le")): sample.value for family in whole for sample in family.samples}
    assert values["ganserve_requests_total", None] == 7
    assert values["ganserve_request_seconds_bucket", "1.0"] == 7
    assert values["ganserve_request_seconds_bucket", "+Inf"] == 9
    assert values["ganserve_request_seconds_sum", None] == 7
    assert values["ganserve_ready", None] == 1, "one process that answers is enough"
    assert values["ganserve_repository_readable", None] == 0


def test_one_process_computes_for_all_and_a_failure_is_tried_again() -> None:
    table, results = OnceTable(), []
    assert table.ask(1, "trial") == (False, None)
    waiting = threading.Thread(target=lambda: results.append(table.ask(2, "trial")))
    waiting.start()
    table.tell(1, "trial", "failed")
    waiting.join(30)
    assert results == [(True, "failed")]
    assert table.ask(3, "trial") == (True, "failed"), "it asks for the first time"
    assert table.ask(2, "trial") == (False, None), "it asks again"
    waiting = threading.Thread(target=lambda: results.append(table.ask(3, "trial")))
    waiting.start()
    table.forget(2)  # it has ended, so that 3 computes
    waiting.join(30)
    assert results[-1] == (False, None)


def test_processes_wait_for_each_other_but_not_for_those_that_end() -> None:
    serving = {1, 2, 3}
    meetings, came = Meetings(lambda: set(serving), 600.0), []
    threads = [threading.Thread(target=lambda n=n: came.append(meetings.wait(n, "v2"))) for n in (1, 2)]
    for thread in threads:
        thread.start()
    threads[0].join(0.05)
    assert not came, "one is missing"
    serving.discard(3)
    for thread in threads:
        thread.join(30)
    assert came == [True, True]
    assert meetings.wait(9, "v2"), "a process that does not serve yet does not wait"
    assert not Meetings(lambda: {1, 2}, 0.0).wait(1, "v3")


def test_processes_that_left_wait_for_each_other_again() -> None:
    serving: set[int] = set()
    meetings, came = Meetings(lambda: set(serving), 600.0), []
    assert meetings.wait(1, "v1")
    assert meetings.wait(2, "v1"), "both start with it"
    serving |= {1, 2}
    for worker in (1, 2):
        meetings.leave(worker, "v1")
    first = threading.Thread(target=lambda: came.append(meetings.wait(1, "v1")))
    first.start()
    first.join(0.05)
    assert not came, "the other one has left, too"
    assert meetings.wait(2, "v1")
    first.join(30)
    assert came == [True]
    meetings.forget(1)
    serving.discard(1)
    serving.add(3)
    assert not Meetings(lambda: serving, 0.0).wait(3, "v1")
    assert meetings.wait(3, "v1"), "2 has not left"


def test_changes_are_remembered_until_another_overrides_them() -> None:
    log = ChangeLog()
    unload, load = Change("unload", "a", 1, (1,)), Change("load", "b", 2, (2,))
    for change in (unload, load, Change("reload"), Change("load", "a", 1, (1,))):
        log.add(change)
    newest, changes = log.since(0)
    assert changes == [load, Change("load", "a", 1, (1,))]
    log.add(Change("unload", "a", 0, (1, 2)))
    assert log.since(newest)[1] == [Change("unload", "a", 0, (1, 2))]
    log.add(Change("load", "a", 0, (2,)))
    kept = [load, Change("unload", "a", 0, (1,)), Change("load", "a", 0, (2,))]
    assert log.since(0)[1] == kept, "loading the latest says nothing about others"
    log.forget("a", 2)
    log.forget("c", 1)
    assert log.since(0)[1] == kept[:2]


def test_a_change_that_failed_overrides_nothing() -> None:
    log = ChangeLog()
    before = [Change("load", "a", 1, (1,)), Change("load", "b", 2, (2,))]
    for change in before:
        log.add(change)
    failed = Change("unload", "a", 0, (1, 3))
    earlier = log.add(failed)
    assert log.since(0)[1] == [before[1], failed]
    log.remove(failed, earlier)
    assert log.since(0)[1] == before


class Counting:
    """A process that serves and has counted calls; `ends` makes it end before it says how many."""

    def __init__(self, *, ends: Callable[[], None] | None = None) -> None:
        self.serving_since, self.hangs, self.last, self.ends = 1.0, False, None, ends
        self.number = self.calls = 0

    def ask(self, _kind: str) -> Future[Snapshot]:
        answer: Future[Snapshot] = Future()
        if self.ends is not None:
            self.ends()
            answer.set_exception(ChannelClosedError())
            return answer
        self.number += 1
        answer.set_result(snapshot(self.calls, self.number))
        return answer


def snapshot(calls: int, number: int) -> Snapshot:
    return Snapshot(families=[CounterMetricFamily("calls", "", value=calls)], number=number)


def test_a_process_that_ends_during_a_scrape_counts_once() -> None:
    fleet = Fleet(ChangeLog())
    collector = ServiceCollector(fleet.snapshots, fleet.counts, lambda: 0)

    def calls() -> float:
        return next(family.samples[0].value for family in collector.collect() if family.name == "calls")

    stays, other = Counting(), Counting()
    for one in (stays, other):
        one.calls = 100
        fleet.add(one)  # type: ignore[arg-type]
    assert calls() == 200
    other.ends = lambda: fleet.remove(other)  # type: ignore[arg-type]
    stays.calls = 110
    assert calls() == 210
    assert calls() == 210


def test_a_late_answer_does_not_replace_a_newer_one() -> None:
    fleet, one = Fleet(ChangeLog()), Counting()
    fleet.add(one)  # type: ignore[arg-type]
    one.calls, one.number = 7, 5
    fleet.snapshots()
    one.calls, one.number = 6, 3
    assert [last.number for last in fleet.snapshots()] == [6]


def test_orphans_are_reaped_and_own_children_left() -> None:
    done = subprocess.run([sys.executable, "-c", _REAPING], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "0", "1"]


def test_a_choice_is_made_once_and_is_that_of_all_processes() -> None:
    table = OnceTable()

    def process(number: int) -> Choices:
        def agree(key: object, choose: Callable[[], object]) -> object:
            done, result = table.ask(number, repr(key))
            if not done:
                table.tell(number, repr(key), result := choose())
            return result

        choices = Choices()
        choices.share(agree)
        return choices

    first, second = process(1), process(2)
    assert first.make("layout", lambda: "nhwc") == "nhwc"
    assert second.make("layout", lambda: "nchw") == "nhwc"
    assert first.make("layout", lambda: "nchw") == "nhwc", "a further session of the same process"
    assert Choices().make("layout", lambda: "nchw") == "nchw", "one process alone chooses by itself"
