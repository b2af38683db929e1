"""Protect the page of `ganserve ui`: its password, its certificate, and the refusal to be open to a network."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ganserve._errors import InvalidRequest

if TYPE_CHECKING:
    import socket
    from pathlib import Path

PASSWORD_VARIABLE = "GANSERVE_UI_PASSWORD"  # noqa: S105 - a name
_PASSWORD = re.compile(r"[ -~]{12,1000}")


@dataclass(frozen=True, kw_only=True, slots=True)
class PageProtection:
    """The page's password and certificate."""

    password: str | None = field(default=None, repr=False)
    certificate: Path | None = None
    key: Path | None = None
    insecure: bool = False

    @classmethod
    def of(
        cls, password_file: Path | None, certificate: Path | None, key: Path | None, *, insecure: bool
    ) -> PageProtection:
        """Return the protection for the command's options and the environment; raise InvalidRequest if one is wrong."""
        source, password = f"the environment variable {PASSWORD_VARIABLE}", os.environ.get(PASSWORD_VARIABLE)
        if password_file is not None:
            source = "--password-file"
            try:
                password = password_file.read_text(encoding="utf-8", errors="replace")
            except OSError as error:
                problem = f"is {str(password_file)!r}; does not open: {error.strerror}"
                raise InvalidRequest.of(source, problem) from error
        if password is not None and not _PASSWORD.fullmatch(password := password.strip()):
            expected = "expected at least 12 characters of ASCII"
            raise InvalidRequest.of(source, f"has a password that is short, or has other characters; {expected}")
        if (certificate is None) != (key is None):
            given, other = ("--page-key", "--page-certificate")[:: 1 if certificate is None else -1]
            raise InvalidRequest.of(given, f"needs {other}; give both, or neither")
        if certificate is not None and key is not None:
            _check_pair(certificate, key)
        return cls(password=password, certificate=certificate, key=key, insecure=insecure)

    @property
    def scheme(self) -> str:
        """The beginning of the page's address."""
        return "http" if self.certificate is None else "https"

    @property
    def options(self) -> dict[str, Any]:
        """The options of uvicorn's configuration that encrypt."""
        if self.certificate is None:
            return {}
        return {"ssl_certfile": str(self.certificate), "ssl_keyfile": str(self.key)}

    def check(self, host: str, listener: socket.socket) -> None:
        """Raise InvalidRequest, with the ways out, if other machines could use an open page."""
        address = str(listener.getsockname()[0]).partition("%")[0]
        if self.insecure or ipaddress.ip_address(address).is_loopback:
            return
        if self.password is not None and self.certificate is not None:
            return
        missing = "the page is not encrypted" if self.password else "anybody could use the page"
        raise InvalidRequest.of(
            "--host",
            f"is {host!r}; lets other machines in, and {missing}. Give --password-file, --page-certificate and "
            "--page-key; or listen on 127.0.0.1 behind a proxy that does both; or accept it with --insecure",
        )


def _check_pair(certificate: Path, key: Path) -> None:
    for flag, file in (("--page-certificate", certificate), ("--page-key", key)):
        try:
            file.read_bytes()
        except OSError as error:
            raise InvalidRequest.of(flag, f"is {str(file)!r}; does not open: {error.strerror}") from error
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLError as error:
        problem = f"is {str(certificate)!r}, and it is not a PEM pair with the key {str(key)!r}"
        raise InvalidRequest.of("--page-certificate", problem) from error
