"""Test where targets lead: addresses, names and proxies."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from ganserve import ServerUnavailable
from ganserve._calls.targets import Proxy, Target, proxy_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Api

VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
    ("text", "host", "port", "fixed"),
    [
        ("gan.svc:7", "gan.svc", 7, ()),
        ("dns:gan.svc:7", "gan.svc", 7, ()),
        ("dns:///gan.svc:7", "gan.svc", 7, ()),
        ("dns:gan.svc", "gan.svc", 443, ()),
        ("LOCALHOST:7", "LOCALHOST", 7, ()),
        ("10.0.0.1:7", None, 443, ("10.0.0.1:7",)),
        ("[::1]:7", None, 443, ("[::1]:7",)),
        ("ipv4:10.0.0.1:7,10.0.0.2:8", None, 443, ("ipv4:10.0.0.1:7", "ipv4:10.0.0.2:8")),
        ("ipv6:[::1]:7,[::2]:7", None, 443, ("ipv6:[::1]:7", "ipv6:[::2]:7")),
        ("dns://8.8.8.8/gan.svc:7", None, 443, ("dns://8.8.8.8/gan.svc:7",)),
        ("unix:/run/x.sock", None, 443, ("unix:/run/x.sock",)),
        ("xds:///gan", None, 443, ("xds:///gan",)),
    ],
)
def test_names_are_told_from_addresses(text: str, host: str | None, port: int, fixed: tuple[str, ...]) -> None:
    assert Target.of(text) == Target(text, host=host, port=port, fixed=fixed)


def test_a_name_is_looked_up() -> None:
    addresses = Target.of("localhost:7").look_up()
    assert "ipv4:127.0.0.1:7" in addresses
    assert set(addresses) <= {"ipv4:127.0.0.1:7", "ipv6:[::1]:7"}
    with pytest.raises(OSError, match=r"not known|No address|resolution"):
        Target.of("no-such-host.invalid:7").look_up()


@pytest.mark.parametrize(
    "target",
    [
        *("localhost:7", "LOCALHOST:7", "a.localhost:7", "127.0.0.1:7", "127.8.8.8:7", "[::1]:7"),
        *("ipv4:127.0.0.1:7", "ipv6:[::1]:7", "dns:localhost:7", "dns:///LocalHost:7", "unix:/run/x.sock"),
    ],
)
def test_calls_to_this_machine_pass_no_proxy(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    assert Target.of(target).proxy is None


@pytest.mark.parametrize(
    ("address", "no_proxy", "passes"),
    [
        ("vm:7", "", True),
        ("10.1.2.3:7", "10.0.0.0/8", False),
        ("11.1.2.3:7", "10.0.0.0/8", True),
        ("gan.example.org:7", "other, .example.org", False),
        ("gan.example.org:7", "EXAMPLE.ORG", False),
        ("vm:7", "*", False),
        ("[fd00::1]:7", "fd00::/8", False),
    ],
)
def test_no_proxy_excludes_servers(address: str, no_proxy: str, passes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://name:secret@proxy:3128")
    monkeypatch.setenv("no_proxy", no_proxy)
    assert proxy_of(address) == (Proxy("http_proxy", "proxy:3128") if passes else None)
    monkeypatch.setenv("grpc_proxy", "http://first:1")
    assert proxy_of(address) == (Proxy("grpc_proxy", "first:1") if passes else None)


def test_an_error_names_the_proxy(
    connect: Callable[..., Api], closed_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://name:secret@{closed_port}")
    api = connect("vm.invalid:7", max_attempts=1)
    with pytest.raises(ServerUnavailable, match=f"through the proxy {closed_port}") as e:
        api.models()
    assert "environment variable http_proxy" in str(e.value)
    assert "secret" not in str(e.value)


@pytest.mark.parametrize("target", ["localhost:{}", "LOCALHOST:{}", "dns:localhost:{}", "ipv4:127.0.0.1:{}"])
def test_a_server_on_this_machine_is_found_behind_a_dead_proxy(
    connect: Callable[..., Api], server: str, closed_port: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://{closed_port}")
    assert connect(target.format(server.rpartition(":")[2]), max_attempts=1).models()


@pytest.fixture
def other_protocol() -> Iterator[int]:
    """Answer every connection to 127.0.0.1 in HTTP/1."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_the_error_tells_the_reason_of_the_address_that_spoke(
    connect: Callable[..., Api], other_protocol: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that of ::1, where nothing listens."""
    addresses = (f"ipv4:127.0.0.1:{other_protocol}", f"ipv6:[::1]:{other_protocol}")
    for order in (addresses, addresses[::-1]):
        monkeypatch.setattr(Target, "look_up", lambda self, order=order: order)
        api = connect(f"localhost:{other_protocol}", max_attempts=1)
        with pytest.raises(ServerUnavailable) as caught:
            api.models()
        assert "refused" not in str(caught.value)
