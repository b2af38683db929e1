"""Read a certificate, its key and the clients' authorities from PEM files, and check that they fit together."""

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from ganserve_server.errors import StartupError

_DER = Encoding.DER, PublicFormat.SubjectPublicKeyInfo


@dataclass(frozen=True, kw_only=True, slots=True)
class PemFiles:
    """The files of a server that encrypts its calls."""

    certificate: Path
    """Its certificate, followed by those of the authorities between it and the root."""
    key: Path
    """The certificate's private key."""
    client_ca: Path | None = None
    """Authorities that sign the certificates of clients; None asks clients for none."""

    def signature(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Return what changes when a file is written or replaced; None for a file that cannot be seen."""
        return tuple(_signature(file) for file in (self.certificate, self.key, self.client_ca) if file is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificates:
    """The contents of the files, which fit together."""

    chain: bytes
    key: bytes
    client_ca: bytes | None
    expires: datetime.datetime
    """End of the server's certificate."""


def read_pem_files(files: PemFiles) -> Certificates:
    """Return the contents of the files; raise StartupError, which names the flag and file that is wrong."""
    chain = _read("--tls-certificate", files.certificate)
    key = _read("--tls-key", files.key)
    client_ca = None if files.client_ca is None else _read("--tls-client-ca", files.client_ca)
    certificate = _certificates("--tls-certificate", files.certificate, chain)[0]
    _check_key(files, key, certificate)
    if files.client_ca is not None and client_ca is not None:
        _certificates("--tls-client-ca", files.client_ca, client_ca)
    expires = certificate.not_valid_after_utc
    if expires <= datetime.datetime.now(datetime.UTC):
        raise StartupError(f"--tls-certificate {files.certificate}: expired on {expires:%Y-%m-%d %H:%M} UTC. Renew it.")
    return Certificates(chain=chain, key=key, client_ca=client_ca, expires=expires)


def _read(flag: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise StartupError(f"{flag} {file}: cannot be read: {error.strerror}. Name a readable PEM file.") from error


def _certificates(flag: str, file: Path, data: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as error:
        fix = "Name a file with -----BEGIN CERTIFICATE-----."
        raise StartupError(f"{flag} {file}: has no certificate in PEM form. {fix}") from error


def _check_key(files: PemFiles, data: bytes, certificate: x509.Certificate) -> None:
    """Refuse a key that gRPC could not use with the certificate."""
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError as error:
        decrypt = f"Decrypt it with `openssl pkey -in {files.key} -out NEW`, and keep NEW readable for this user only."
        raise StartupError(f"--tls-key {files.key}: is encrypted with a password. {decrypt}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        fix = "Name a file with -----BEGIN PRIVATE KEY-----."
        raise StartupError(f"--tls-key {files.key}: has no private key in PEM form. {fix}") from error
    if key.public_key().public_bytes(*_DER) != certificate.public_key().public_bytes(*_DER):
        raise StartupError(
            f"--tls-key {files.key}: does not belong to the certificate of --tls-certificate {files.certificate}. "
            "Give the key that the certificate was made for."
        )


def _signature(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
