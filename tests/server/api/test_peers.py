"""Test who is a caller."""

from __future__ import annotations

import pytest

from ganserve_server.api.grpc.peers import caller_of


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
