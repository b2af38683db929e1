"""Read a certificate, its key and the clients' authorities from PEM files, and check that they fit together."""

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from ganserve_server.errors import StartupError
from ganserve_server.setting_files import FileSignature, file_signature

_DER = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
# What the clients of gRPC accept of a server: not Ed25519, P-521 or smaller RSA keys.
_CURVES, _LEAST_RSA_BITS = ("secp256r1", "secp384r1"), 2048


@dataclass(frozen=True, kw_only=True, slots=True)
class PemFiles:
    """The files of a server that encrypts its calls."""

    certificate: Path
    """Its certificate, followed by those of the authorities between it and the root."""
    key: Path
    """The certificate's private key."""
    client_ca: Path | None = None
    """Authorities that sign the certificates of clients; None asks clients for none."""

    def signature(self) -> tuple[FileSignature, ...]:
        """Return what changes with the files."""
        return tuple(file_signature(file) for file in (self.certificate, self.key, self.client_ca) if file is not None)


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
    chain = _certificates("--tls-certificate", files.certificate)
    certificate = chain[0]
    key = _key(files, certificate)
    authorities = None if files.client_ca is None else _authorities(files.client_ca)
    begins, expires = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    now = datetime.datetime.now(datetime.UTC)
    if expires <= now:
        raise StartupError(f"--tls-certificate {files.certificate}: expired on {expires:%Y-%m-%d %H:%M} UTC. Renew it.")
    if begins > now:
        raise StartupError(
            f"--tls-certificate {files.certificate}: is not valid before {begins:%Y-%m-%d %H:%M} UTC. Wait, or correct "
            "this machine's clock."
        )
    # Written anew, because gRPC reads fewer forms of PEM files than `cryptography`.
    return Certificates(
        chain=_pem(chain), key=key, client_ca=None if authorities is None else _pem(authorities), expires=expires
    )


def _pem(certificates: list[x509.Certificate]) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def _read(flag: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise StartupError(f"{flag} {file}: cannot be read: {error.strerror}. Name a readable PEM file.") from error


def _certificates(flag: str, file: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(flag, file))
    except ValueError as error:
        fix = "Name a file with -----BEGIN CERTIFICATE-----."
        raise StartupError(f"{flag} {file}: has no certificate in PEM form. {fix}") from error


def _authorities(file: Path) -> list[x509.Certificate]:
    """Return the authorities that sign clients' certificates; refuse them if all have expired."""
    authorities = _certificates("--tls-client-ca", file)
    ends = max(authority.not_valid_after_utc for authority in authorities)
    if ends <= datetime.datetime.now(datetime.UTC):
        raise StartupError(f"--tls-client-ca {file}: expired on {ends:%Y-%m-%d %H:%M} UTC. Name a newer authority.")
    return authorities


def _key(files: PemFiles, certificate: x509.Certificate) -> bytes:
    """Return the key of a certificate; refuse one that gRPC could not use with it."""
    data = _read("--tls-key", files.key)
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
    known = isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES
    if not known and not (isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _LEAST_RSA_BITS):
        raise StartupError(
            f"--tls-key {files.key}: is of a kind that clients of gRPC refuse. Make a key of P-256, P-384, or RSA with "
            f"at least {_LEAST_RSA_BITS} bits, and a certificate for it."
        )
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
