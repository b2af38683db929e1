"""Test how a client finds its server."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ganserve import Client, InvalidRequest
from ganserve._calls.channel import channel_options


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("example.org:443", "example.org:443"),
        ("example.org", "example.org:50051"),
        (" 10.0.0.1:7 ", "10.0.0.1:7"),
        ("[::1]:50051", "[::1]:50051"),
        ("[::1]", "[::1]:50051"),
        ("unix:/run/ganserve.sock", "unix:/run/ganserve.sock"),
        ("dns:///gan.svc:50051", "dns:///gan.svc:50051"),
        ("ipv4:10.0.0.1:50051,10.0.0.2:50051", "ipv4:10.0.0.1:50051,10.0.0.2:50051"),
    ],
)
def test_targets(target: str, expected: str) -> None:
    with Client(target) as client:
        assert client.target == expected
        assert repr(client) == f"Client({expected!r})"


@pytest.mark.parametrize(
    "target", ["", "http://localhost:50051", "localhost:", "localhost:0", "localhost:65536", "host:port", "a b", 50051]
)
def test_bad_targets(target: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"target: is .*; expected") as caught:
        Client(target)
    assert caught.value.violations[0].field == "target"


def test_the_argument_target_overrides_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GANSERVE_TARGET", raising=False)
    assert Client().target == "localhost:50051"
    monkeypatch.setenv("GANSERVE_TARGET", "gpu-box:6000")
    assert Client().target == "gpu-box:6000"
    assert Client("other").target == "other:50051"
    monkeypatch.setenv("GANSERVE_TARGET", "")
    assert Client().target == "localhost:50051"
    monkeypatch.setenv("GANSERVE_TARGET", "http://gpu-box")
    with pytest.raises(InvalidRequest, match="the environment variable GANSERVE_TARGET: is 'http://gpu-box'"):
        Client()


@pytest.mark.parametrize("timeout_s", [0, -1, math.nan, True, "60", None])
def test_bad_default_deadlines(timeout_s: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"timeout_s: is .*; expected seconds above 0"):
        Client("localhost", timeout_s=timeout_s)


def test_calls_to_localhost_ignore_the_proxy_of_the_environment() -> None:
    for target in ("localhost:50051", "127.0.0.1:50051", "[::1]:50051", "unix:/run/x.sock"):
        assert ("grpc.enable_http_proxy", 0) in channel_options(target)
    assert ("grpc.enable_http_proxy", 0) not in channel_options("example.org:50051")
