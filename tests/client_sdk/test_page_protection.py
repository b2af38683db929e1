"""Test what protects the page: its password, its certificate, and the refusal to be open to a network."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from ganserve import InvalidRequest
from ganserve._commands import main
from ganserve._commands.page_protection import PageProtection
from ganserve._ui.password import PasswordWall

if TYPE_CHECKING:
    from pathlib import Path

    from authority import Authority

PASSWORD = "correct horse battery"


def status(*headers: tuple[bytes, bytes], kind: str = "http") -> int:
    """Return the status of a request with headers, 200 if it passes the wall."""
    answers: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        answers.append({"status": 200})

    async def send(message: Any) -> None:
        answers.append(message)

    wall = PasswordWall(app, PASSWORD)
    asyncio.run(wall({"type": kind, "headers": list(headers)}, None, send))
    return int(answers[0].get("status", answers[0].get("code", 0)))


def basic(text: str) -> tuple[bytes, bytes]:
    return b"authorization", b"Basic " + base64.b64encode(text.encode())


def test_the_password_opens_the_page() -> None:
    assert status(basic(f"anybody:{PASSWORD}")) == 200
    assert status((b"authorization", f"Bearer {PASSWORD}".encode())) == 200
    assert status(basic(f"anybody:{PASSWORD}"), kind="websocket") == 200


@pytest.mark.parametrize(
    "header",
    [
        basic(f"anybody:{PASSWORD}x"),
        basic(f"anybody:{PASSWORD[:-1]}"),
        basic("anybody:"),
        basic(PASSWORD),
        (b"authorization", b"Basic !!!"),
        (b"authorization", b"Basic"),
        (b"authorization", b"Bearer "),
        (b"authorization", f"Digest {PASSWORD}".encode()),
        (b"x-authorization", f"Bearer {PASSWORD}".encode()),
    ],
)
def test_nothing_else_does(header: tuple[bytes, bytes]) -> None:
    assert status(header) == 401
    assert status(header, kind="websocket") == 1008
    assert status(basic(f"a:{PASSWORD}"), (b"authorization", b"Bearer x")) == 401, "which of them counts?"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {},
            "anybody could use the page. Give --password-file, --page-certificate and --page-key; or",
        ),
        ({"password": PASSWORD}, "the page is not encrypted"),
    ],
)
def test_an_open_page_stays_on_this_machine(given: dict[str, Any], message: str) -> None:
    with socket.create_server(("0.0.0.0", 0)) as everywhere, socket.create_server(("127.0.0.1", 0)) as here:
        PageProtection(**given).check("127.0.0.1", here)
        PageProtection(**given, insecure=True).check("0.0.0.0", everywhere)
        with pytest.raises(InvalidRequest) as caught:
            PageProtection(**given).check("0.0.0.0", everywhere)
        assert message in str(caught.value)


def test_the_command_refuses(capsys: pytest.CaptureFixture[str], tmp_path: Path, authority: Authority) -> None:
    pair, other, short = authority.sign("page"), authority.sign("other page"), tmp_path / "short"
    short.write_text("short\n")
    for arguments, message in (
        (["--host", "0.0.0.0"], "--host 0.0.0.0: lets other machines in, and anybody could use the page."),
        (["--password-file", str(short)], "--password-file: has a password that is short"),
        (["--password-file", "/no/file"], "--password-file /no/file: does not open: No such file"),
        (["--page-key", str(pair.key)], "--page-key: needs --page-certificate"),
        (["--page-certificate", str(pair.certificate)], "--page-certificate: needs --page-key"),
        (
            ["--page-certificate", str(pair.certificate), "--page-key", str(other.key)],
            f"--page-certificate {pair.certificate}: it is not a PEM pair with the key",
        ),
    ):
        assert main(["ui", *arguments]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert "short\n" not in said


@pytest.mark.slow
def test_a_protected_page_is_served(repository: Path, authority: Authority, tmp_path: Path) -> None:
    pair, file = authority.sign("served page", "127.0.0.1"), tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    flags = ["--page-certificate", str(pair.certificate), "--page-key", str(pair.key), "--password-file", str(file)]
    command = [sys.executable, "-m", "ganserve", "ui", "--models", str(repository), "--host", "0.0.0.0", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1].replace("localhost", "127.0.0.1")
            assert url.startswith("https://")
            context = ssl.create_default_context(cafile=authority.file)
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(url, context=context, timeout=60)
            name, value = basic(f"me:{PASSWORD}")
            request = urllib.request.Request(url, headers={name.decode(): value.decode()})
            with urllib.request.urlopen(request, context=context, timeout=60) as answer:
                assert answer.status == 200
        finally:
            process.terminate()
