"""The encryption of a client: what it trusts, and how it shows who it is."""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ganserve._argument_checks import kind_of
from ganserve._errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TLS_VARIABLE = "GANSERVE_TLS"
_VARIABLES = {
    "ca": "GANSERVE_TLS_CA",
    "certificate": "GANSERVE_TLS_CLIENT_CERTIFICATE",
    "key": "GANSERVE_TLS_CLIENT_KEY",
    "server_name": "GANSERVE_TLS_SERVER_NAME",
}
_SWITCH = {**dict.fromkeys(("true", "1", "yes", "on"), True), **dict.fromkeys(("false", "0", "no", "off"), False)}
_UTF8_MARK = b"\xef\xbb\xbf"  # begins files of some editors; gRPC does not read behind it
_NAME = re.compile(r"[A-Za-z0-9._:-]{1,253}")

_Path: TypeAlias = "str | os.PathLike[str]"
_File: TypeAlias = "_Path | None"


@dataclass(frozen=True, kw_only=True, slots=True)
class TLS:
    """Encryption of a client's calls, by TLS 1.2 or 1.3.

    The files are in PEM form, and are read when the client is made.
    """

    ca: str | os.PathLike[str] | None = None
    """File of the authorities that may sign the server's certificate. Default: gRPC's own list of public ones."""
    certificate: str | os.PathLike[str] | None = None
    """File of the client's certificate, for servers that ask for one."""
    key: str | os.PathLike[str] | None = None
    """File of the private key of `certificate`."""
    server_name: str | None = None
    """The name that the server's certificate must have. Default: the host of the target."""


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Encryption:
    """The contents of the files of `TLS`."""

    ca: bytes | None
    certificate: bytes | None
    key: bytes | None
    server_name: str | None


def resolve_tls(tls: bool | TLS | None) -> Encryption | None:
    """Return how a client encrypts: by its argument, else by the environment; None if it does not."""
    if isinstance(tls, TLS):
        given = {name: getattr(tls, name) for name in _VARIABLES}
        return _read(given, dict.fromkeys(_VARIABLES, ""))
    if tls is not None and not isinstance(tls, bool):
        raise InvalidRequest.of("tls", f"is {kind_of(tls)}; expected True, False, or TLS(ca=…)")
    values = {name: os.environ.get(variable, "").strip() or None for name, variable in _VARIABLES.items()}
    word = os.environ.get(TLS_VARIABLE, "").strip().lower()
    if word and word not in _SWITCH:
        raise InvalidRequest.of(f"the environment variable {TLS_VARIABLE}", f"is {word!r}; expected 1 or 0")
    wanted = tls if tls is not None else _SWITCH.get(word, any(values.values()))
    return _read(values, _VARIABLES) if wanted else None


def tls_of(
    ca: _File, certificate: _File, key: _File, server_name: str | None, *, switch: bool | None
) -> bool | TLS | None:
    """Return a client's argument `tls` for the options of a command; what is not given comes from the environment."""
    given: dict[str, Any] = {"ca": ca, "certificate": certificate, "key": key, "server_name": server_name}
    if switch is False or not any(given.values()):
        return switch
    return TLS(**{name: value or os.environ.get(_VARIABLES[name]) or None for name, value in given.items()})


def _read(values: Mapping[str, _File], variables: Mapping[str, str]) -> Encryption:
    """Return the contents of the files, after a look at whether they can work; the server has the last word."""

    def name_of(field: str) -> str:
        return f"the environment variable {variables[field]}" if variables[field] else f"tls.{field}"

    ca, certificate, key, server_name = (values[field] for field in _VARIABLES)
    for field in ("certificate", "key"):
        other = "key" if field == "certificate" else "certificate"
        if values[field] is not None and values[other] is None:
            raise InvalidRequest.of(name_of(field), f"is given without its {other}; expected both, or neither")
    if server_name is not None and (not isinstance(server_name, str) or not _NAME.fullmatch(server_name)):
        raise InvalidRequest.of(name_of("server_name"), f"is {server_name!r}; expected a name such as gan.example.org")
    contents = {field: _contents(name_of(field), values[field]) for field in ("ca", "certificate", "key")}
    if ca is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca)
        except ssl.SSLError:
            expected = "expected -----BEGIN CERTIFICATE-----"
            raise InvalidRequest.of(
                name_of("ca"), f"is {str(ca)!r}, which has no certificate in PEM form; {expected}"
            ) from None
    if certificate is not None and key is not None:
        _check_pair(certificate, key, name_of)
    return Encryption(**contents, server_name=server_name)


def _contents(name: str, file: _File) -> bytes | None:
    if file is None:
        return None
    if not isinstance(file, str | os.PathLike):
        raise InvalidRequest.of(name, f"is {kind_of(file)}; expected the path of a PEM file")
    try:
        return Path(file).read_bytes().removeprefix(_UTF8_MARK)
    except OSError as error:
        raise InvalidRequest.of(name, f"is {str(file)!r}; does not open: {error.strerror}") from error


def _check_pair(certificate: _Path, key: _Path, name_of: Callable[[str], str]) -> None:
    """Refuse a certificate and a key that do not belong together."""

    def no_password() -> str:
        raise _EncryptedKeyError

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password=no_password)
    except _EncryptedKeyError:
        raise InvalidRequest.of(
            name_of("key"), f"is {str(key)!r}, which is encrypted with a password; expected a key without one"
        ) from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise InvalidRequest.of(
                name_of("key"), f"is {str(key)!r}, which does not belong to the certificate {str(certificate)!r}"
            ) from None
        raise InvalidRequest.of(
            name_of("certificate"), f"is {str(certificate)!r}, and it is not a PEM pair with the key {str(key)!r}"
        ) from None


class _EncryptedKeyError(Exception):
    """A key needs a password."""
