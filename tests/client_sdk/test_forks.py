"""Test the check before a fork; test_data.py tests real forks."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest

from ganserve import AsyncClient, Client, GanserveError
from ganserve._calls import channel as channel_module
from ganserve._calls import forks as forks_module
from ganserve._calls.forks import Forks

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def others() -> Iterator[None]:
    """Use gRPC in this process without ganserve."""
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield
    server.stop(0).wait()


@pytest.mark.skipif(sys.platform != "linux", reason="finds gRPC's threads as Linux lists them")
@pytest.mark.usefixtures("others")
def test_any_use_of_grpc_is_detected() -> None:
    forks = Forks()
    forks.before()
    forks.check()  # the parent may go on using it
    forks.after_in_child()
    with pytest.raises(GanserveError, match="was forked while its parent used gRPC, which can crash or hang here"):
        forks.check()


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no check end because a busy machine takes longer than usual."""
    monkeypatch.setattr(forks_module, "_SETTLE_S", 60.0)


def test_a_process_without_grpc_may_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks_module, "_core_runs", lambda: False)
    forks = Forks()
    forks.before()
    forks.after_in_child()
    forks.check()


@pytest.mark.usefixtures("_patient")
def test_a_fork_waits_for_the_threads_of_a_closed_client(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = iter([True, True, False, False])
    monkeypatch.setattr(forks_module, "_core_runs", lambda: next(runs))
    forks = Forks()
    forks.closed()
    forks.before()
    forks.after_in_child()
    assert not forks.inherited


@pytest.mark.usefixtures("_patient")
def test_a_fork_waits_until_grpc_runs_again_in_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    # gRPC ends its threads for a fork, and starts them again, at first without names.
    runs = iter([True, False, False, True])
    monkeypatch.setattr(forks_module, "_core_runs", lambda: next(runs))
    forks = Forks()
    forks.before()
    forks.after_in_parent()
    assert next(runs, None) is None


def test_a_fork_cannot_make_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    forks = Forks()
    forks.inherited = True
    monkeypatch.setattr(channel_module, "forks", forks)
    with pytest.raises(GanserveError, match='multiprocessing_context="spawn" or "forkserver"'):
        Client("127.0.0.1:1")
    with pytest.raises(GanserveError, match="was forked while its parent used gRPC"):
        asyncio.run(AsyncClient("127.0.0.1:1").sample(1))
