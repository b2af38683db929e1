"""What is seen of a fork before it happens; that real ones are looked at is in test_data.py."""

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
    """Someone else's gRPC in this process."""
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield
    server.stop(0).wait()


@pytest.mark.skipif(sys.platform != "linux", reason="finds gRPC's threads as Linux lists them")
@pytest.mark.usefixtures("others")
def test_grpc_is_seen_whoever_uses_it() -> None:
    forks = Forks()
    forks.before()
    forks.check()  # not in the parent
    forks.after_in_child()
    with pytest.raises(GanserveError, match="was forked while its parent used gRPC, which can crash or hang here"):
        forks.check()


def test_a_process_without_grpc_forks_as_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks_module, "_core_runs", lambda: False)
    forks = Forks()
    forks.before()
    forks.after_in_child()
    forks.check()


def test_what_a_client_that_was_just_closed_leaves_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = iter([True, True, False, False])
    monkeypatch.setattr(forks_module, "_core_runs", lambda: next(runs))
    forks = Forks()
    forks.closed()
    forks.before()
    forks.after_in_child()
    assert not forks.inherited


def test_a_fork_waits_until_grpc_is_back_in_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    # gRPC ends its threads for a fork, and starts them again, at first without names.
    runs = iter([True, False, False, True])
    monkeypatch.setattr(forks_module, "_core_runs", lambda: next(runs))
    forks = Forks()
    forks.before()
    forks.after_in_parent()
    assert next(runs, None) is None


def test_no_client_can_be_made_in_such_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    forks = Forks()
    forks.inherited = True
    monkeypatch.setattr(channel_module, "forks", forks)
    with pytest.raises(GanserveError, match='multiprocessing_context="spawn" or "forkserver"'):
        Client("127.0.0.1:1")
    with pytest.raises(GanserveError, match="was forked while its parent used gRPC"):
        asyncio.run(AsyncClient("127.0.0.1:1").sample(1))
