"""Test that credentials do not leave the machine in plain text, and that wrong tokens are not shown."""

from __future__ import annotations

from typing import Any

import pytest

from ganserve import AsyncClient, Client, InvalidRequest


@pytest.mark.parametrize(
    "target", ["gan.example.org", "10.1.2.3:50051", "ipv4:127.0.0.1:1,10.0.0.1:1", "xds:x", "a,unix:b"]
)
def test_a_token_does_not_leave_the_machine_in_plain_text(target: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^token: would travel to .* in plain text") as caught:
        Client(target, token="secret-token")
    assert "secret" not in str(caught.value)
    Client(target, token="secret-token", token_over_plain_text=True).close()
    Client(target, token="secret-token", tls=True).close()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("authorization", "Bearer secret"),
        ("proxy-authorization", "Basic secret"),
        ("cookie", "id=secret"),
        ("x-api-key", "secret"),
        ("x-amz-security-token", "secret"),
        ("key-bin", b"secret"),
        ("x-from", "Bearer secret"),
        ("x-from", "gsv_secret"),
    ],
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_credentials_in_metadata_do_not_either(kind: type[Any], name: str, value: str | bytes) -> None:
    remote, metadata = "10.1.2.3:50051", {"x-team": "shop", "monkey": "1", name: value}
    with pytest.raises(
        InvalidRequest, match=rf"^metadata: has {name}, which would travel to .* in plain text"
    ) as caught:
        kind(remote, metadata=metadata)
    assert "secret" not in str(caught.value).replace("x-amz-security", "")
    kind(remote, metadata=metadata, token_over_plain_text=True)
    kind(remote, metadata=metadata, tls=True)
    kind("localhost", metadata=metadata)
    kind(remote, metadata={"x-team": "shop", "monkey": "1"})


@pytest.mark.parametrize(
    "target", ["localhost", "127.0.0.1:1", "[::1]:1", "unix:/x", "ipv6:[::1]:1", "dns:///localhost:1"]
)
def test_a_token_may_travel_inside_the_machine(target: str) -> None:
    Client(target, token="secret-token").close()


def test_wrong_tokens_are_refused_and_not_shown() -> None:
    for token in ("", "two words", "new\nline", "é", "x" * 7000, 3, b"x"):
        with pytest.raises(InvalidRequest, match=r"^token: ") as caught:
            Client(token=token)  # type: ignore[arg-type]
        assert "words" not in str(caught.value)
    with pytest.raises(InvalidRequest, match="metadata has authorization, too"):
        Client(token="x", metadata={"authorization": "Bearer y"})
