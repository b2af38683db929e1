"""Test how a client finds its server."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from ganserve import Client, InvalidRequest
from ganserve._calls.channel import channel_options
from ganserve._calls.targets import Target
from ganserve._config import check_timeout

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Api


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


@pytest.mark.parametrize("target", ["unix:", "dns:", "\ud800:1", "unix:/\ud800"])
def test_targets_without_an_address_or_in_no_unicode(target: str) -> None:
    with pytest.raises(InvalidRequest, match=r"target: is .*; expected"):
        Client(target)


@pytest.mark.parametrize("target", ["ipv4:999", "ipv6:[::1]", "ipv4:1.2.3.4:5,zzz"])
def test_targets_that_grpc_does_not_know(connect: Callable[..., Api], target: str) -> None:
    with pytest.raises(InvalidRequest, match=r"target: is .*; expected"):
        connect(target).models()


@pytest.mark.parametrize("timeout_s", [0, -1, math.nan, True, "60", None, -math.inf])
def test_bad_default_deadlines(timeout_s: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"timeout_s: is .*; expected seconds above 0"):
        Client("localhost", timeout_s=timeout_s)


@pytest.mark.parametrize("timeout_s", [1e9, 9.3e9, 1e10, 1e300, 10**400, math.inf])
def test_very_long_deadlines_are_none(
    connect: Callable[..., Api], server: str, timeout_s: float, recwarn: pytest.WarningsRecorder
) -> None:
    api = connect(server, model="tiny")
    assert len(api.sample(1, timeout_s=timeout_s)) == 1
    assert len(api.batches(3, chunk_size=1, timeout_s=timeout_s)) == 3
    api.wait_until_ready(timeout_s)
    assert check_timeout(timeout_s) == math.inf
    assert not recwarn.list  # such as pytest's of a thread that died


def test_deadlines_may_be_numbers_of_numpy() -> None:
    assert check_timeout(np.float32(2.5)) == 2.5
    assert type(check_timeout(np.int64(3))) is float


@pytest.mark.parametrize("interceptors", [5, None, [object()], "x", [grpc.UnaryUnaryClientInterceptor]])
def test_bad_interceptors(connect: Callable[..., Api], interceptors: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"interceptors: is .*; expected a sequence of gRPC's interceptors for"):
        connect("localhost:1", interceptors=interceptors).models()


def test_calls_to_localhost_ignore_the_proxy_of_the_environment() -> None:
    for target in ("localhost:50051", "127.0.0.1:50051", "[::1]:50051", "unix:/run/x.sock"):
        assert ("grpc.enable_http_proxy", 0) in channel_options(Target.of(target), target)
