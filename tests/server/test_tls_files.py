"""Test the PEM files of encryption: forms that work, files that are refused, and changes that come right."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from authority import Authority, Pair
from ganserve import TLS, Client, InvalidRequest
from ganserve._tls import resolve_tls
from ganserve_server.errors import StartupError
from ganserve_server.settings_sources import read_configuration
from ganserve_server.tls.pem_files import PemFiles
from ganserve_server.tls.server_tls import ServerTls
from server_process import ServerProcess

if TYPE_CHECKING:
    from pathlib import Path


def test_a_change_that_becomes_right_by_itself_is_used(authority: Authority, tmp_path: Path) -> None:
    pair = Pair(tmp_path / "server.pem", tmp_path / "server.key")
    pair.replace(authority.sign("now", "localhost"))
    tls = ServerTls(PemFiles(certificate=pair.certificate, key=pair.key))
    soon = authority.sign("soon", "localhost", from_days=2 / 86_400)
    pair.replace(soon)
    end = time.monotonic() + 60
    while not tls.look():
        assert time.monotonic() < end
        time.sleep(0.1)
    assert tls.certificates.chain == soon.certificate.read_bytes()


def test_chains_kinds_and_forms_of_files_work(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pair = authority.sign("rsa", "localhost", key=rsa.generate_private_key(65537, 2048))
    windows = Pair(tmp_path / "windows.pem", tmp_path / "windows.key")
    chain = pair.certificate.read_bytes() + authority.file.read_bytes()
    windows.certificate.write_bytes(b"\xef\xbb\xbf" + chain.replace(b"\n", b"\r\n"))
    windows.key.write_bytes(pair.key.read_bytes().replace(b"\n", b"\r\n"))
    windows.key.chmod(0o640)
    tls = ServerTls(PemFiles(certificate=windows.certificate, key=windows.key, client_ca=windows.certificate))
    assert not caplog.text
    assert (tls.certificates.chain, tls.certificates.client_ca) == (chain, chain), "gRPC reads only plain forms"
    assert tls.certificates.key == pair.key.read_bytes()
    marked = tmp_path / "marked.pem"
    marked.write_bytes(b"\xef\xbb\xbf" + authority.file.read_bytes())
    encryption = resolve_tls(TLS(ca=marked))
    assert encryption is not None
    assert encryption.ca == authority.file.read_bytes()
    windows.key.chmod(0o644)
    ServerTls(PemFiles(certificate=windows.certificate, key=windows.key))
    assert f"--tls-key {windows.key}: every user of this machine can read it" in caplog.text


def test_a_server_refuses_files_that_it_cannot_use(authority: Authority, tmp_path: Path) -> None:
    pair, other = authority.sign("mine"), authority.sign("not mine")
    late, garbage, secret = authority.sign("late", to_days=-0.5), tmp_path / "garbage", tmp_path / "secret.key"
    garbage.write_text("-----BEGIN NOTHING-----")
    subprocess.run(["openssl", "pkey", "-in", pair.key, "-aes256", "-passout", "pass:xyz", "-out", secret], check=True)
    missing = tmp_path / "missing"
    early, past = authority.sign("early", from_days=1), authority.sign("past", to_days=-0.5)
    kinds = [
        authority.sign(f"kind {number}", key=key)
        for number, key in enumerate(
            (
                ed25519.Ed25519PrivateKey.generate(),
                ec.generate_private_key(ec.SECP521R1()),
                ec.generate_private_key(ec.SECP256K1()),
                rsa.generate_private_key(65537, 1024),
            )
        )
    ]
    for certificate, key, client_ca, message in (
        (missing, pair.key, None, f"--tls-certificate {missing}: cannot be read: No such file or directory. Name a"),
        (pair.certificate, missing, None, f"--tls-key {missing}: cannot be read"),
        (garbage, pair.key, None, f"--tls-certificate {garbage}: has no certificate in PEM form."),
        (pair.certificate, garbage, None, f"--tls-key {garbage}: has no private key in PEM form."),
        (pair.certificate, secret, None, f"--tls-key {secret}: is encrypted with a password. Decrypt it"),
        (pair.certificate, other.key, None, f"--tls-key {other.key}: does not belong to the certificate of"),
        (late.certificate, late.key, None, f"--tls-certificate {late.certificate}: expired on "),
        (early.certificate, early.key, None, f"--tls-certificate {early.certificate}: is not valid before "),
        (pair.certificate, pair.key, garbage, f"--tls-client-ca {garbage}: has no certificate"),
        (pair.certificate, pair.key, past.certificate, f"--tls-client-ca {past.certificate}: expired on "),
        *((odd.certificate, odd.key, None, f"--tls-key {odd.key}: is of a kind that clients of") for odd in kinds),
    ):
        with pytest.raises(StartupError) as caught:
            ServerTls(PemFiles(certificate=certificate, key=key, client_ca=client_ca))
        assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tls-key", "k"], "--tls-key k: needs --tls-certificate"),
        (["--tls-client-ca", "k"], "--tls-client-ca k: needs --tls-certificate"),
        (["--tls-certificate", "c"], "--tls-certificate c: needs its private key. Give it by --tls-key."),
    ],
)
def test_a_server_needs_both_files(flags: list[str], message: str) -> None:
    with pytest.raises(Exception, match=message):
        read_configuration(flags, {})


def test_a_missing_file_names_its_variable(repository: Path, tmp_path: Path) -> None:
    files = {"GANSERVE_TLS_CERTIFICATE": str(tmp_path / "no.pem"), "GANSERVE_TLS_KEY": str(tmp_path / "no.key")}
    server = ServerProcess(repository, environment=files)
    assert server.wait() == 2
    assert f"GANSERVE_TLS_CERTIFICATE {tmp_path / 'no.pem'}: cannot be read" in server.log
    server.stop()


def test_a_client_refuses_files_that_it_cannot_use(authority: Authority, tmp_path: Path) -> None:
    pair, other = authority.sign("client"), authority.sign("other client")
    garbage, secret = tmp_path / "garbage", tmp_path / "secret.key"
    garbage.write_text("nothing")
    subprocess.run(["openssl", "pkey", "-in", pair.key, "-aes256", "-passout", "pass:xyz", "-out", secret], check=True)
    for tls, message in (
        (TLS(ca=tmp_path / "missing"), r"^tls.ca: is '.*missing'; does not open: No such file"),
        (TLS(ca=garbage), "^tls.ca: is '.*garbage', which has no certificate in PEM form"),
        (TLS(certificate=pair.certificate), "^tls.certificate: is given without its key"),
        (TLS(key=pair.key), "^tls.key: is given without its certificate"),
        (TLS(certificate=pair.certificate, key=other.key), "^tls.key: is .*, which does not belong to the certificate"),
        (TLS(certificate=pair.certificate, key=secret), "^tls.key: is .*, which is encrypted with a password"),
        (TLS(certificate=garbage, key=pair.key), "^tls.certificate: is .*, and it is not a PEM pair with the key"),
        (TLS(server_name="a b"), "^tls.server_name: is 'a b'"),
        ("yes", "^tls: is a str; expected True, False, or TLS"),
    ):
        with pytest.raises(InvalidRequest, match=message):
            Client("localhost:1", tls=tls)  # type: ignore[arg-type]
