"""Test who is a caller."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import sys
from pathlib import Path

import pytest

from ganserve_server.api.grpc.peers import ConnectionCutter, caller_of


@pytest.mark.parametrize(
    ("peer", "caller"),
    [
        ("ipv4:10.1.2.3:5000", "10.1.2.3"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:5000", "2001:db8:1:2::/64"),
        ("ipv6:[2001:db8:1:2::9]:5000", "2001:db8:1:2::/64"),
        ("ipv6:%5B::ffff:10.1.2.3%5D:5000", "10.1.2.3"),
        ("ipv6:%5Bfe80::1%25eth0%5D:5000", "fe80::/64"),
        ("unix:", "unix"),
    ],
)
def test_a_caller_is_an_address_without_its_port(peer: str, caller: str) -> None:
    assert caller_of(peer) == caller


@pytest.mark.skipif(sys.platform != "linux", reason="connections are closed on Linux only")
@pytest.mark.parametrize("exhausted", [False, True])
def test_connections_are_closed_by_their_peers_even_if_no_file_can_be_opened(*, exhausted: bool) -> None:
    cutter = ConnectionCutter()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        clients = [stack.enter_context(socket.create_connection(listener.getsockname())) for _ in range(3)]
        accepted = [stack.enter_context(listener.accept()[0]) for _ in clients]
        peers = [f"ipv4:127.0.0.1:{one.getpeername()[1]}" for one in accepted]
        if exhausted:
            highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
            stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
            with contextlib.suppress(OSError):
                while True:
                    stack.callback(os.close, os.dup(0))
        closed = cutter.cut_off([*peers[:2], "unix:", "ipv4:127.0.0.1:1"])
        assert closed == set(peers[:2])
        assert [one.recv(1) for one in clients[:2]] == [b"", b""]
        accepted[2].sendall(b"a")
        assert clients[2].recv(1) == b"a"
        assert not cutter.cut_off(["unix:"])
