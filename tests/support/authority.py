"""Make certificates: an authority, and what it signs."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """The files of a certificate and its key."""

    certificate: Path
    key: Path

    @property
    def server_flags(self) -> list[str]:
        return ["--tls-certificate", str(self.certificate), "--tls-key", str(self.key)]

    def replace(self, other: Pair) -> None:
        """Write another pair into these files, as a rotation does: each file is replaced whole."""
        for mine, its in ((self.certificate, other.certificate), (self.key, other.key)):
            fresh = mine.with_suffix(".fresh")
            fresh.write_bytes(its.read_bytes())
            fresh.replace(mine)


class Authority:
    """An authority that signs certificates into a folder."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder, self._name = folder, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.file = folder / f"{name}.pem"
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        builder = _builder(self._name, self._name, self._key, -1, 10).add_extension(constraints, critical=True)
        self.file.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def sign(
        self,
        name: str,
        *names: str,
        uri: str | None = None,
        from_days: float = -1,
        to_days: float = 5,
        file: str | None = None,
        pictures: bool = False,
        key: CertificateIssuerPrivateKeyTypes | None = None,
    ) -> Pair:
        """Return a certificate for host names and IP addresses; it is valid for some days around now.

        With `pictures` it is for C2PA's signatures. Its key is a new one of P-256, unless `key` is given.
        """
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
        builder = _builder(subject, self._name, key, from_days, to_days)
        others: list[x509.GeneralName] = [_general(each) for each in names]
        if uri is not None:
            others.append(x509.UniformResourceIdentifier(uri))
        if others:
            builder = builder.add_extension(x509.SubjectAlternativeName(others), critical=False)
        if pictures:
            builder = _for_pictures(builder, key, self._key)
        pair = Pair(self._folder / f"{file or name}.pem", self._folder / f"{file or name}.key")
        pair.certificate.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))
        pair.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return pair


def _builder(
    subject: x509.Name, issuer: x509.Name, key: CertificateIssuerPrivateKeyTypes, from_days: float, to_days: float
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return x509.CertificateBuilder(
        subject_name=subject,
        issuer_name=issuer,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now + from_days * _DAY,
        not_valid_after=now + to_days * _DAY,
    )


def _for_pictures(
    builder: x509.CertificateBuilder, key: CertificateIssuerPrivateKeyTypes, authority: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    """Add what C2PA asks of a certificate (C2PA Technical Specification, "X.509 certificates")."""
    usage = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    email = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    return (
        builder.add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
        .add_extension(email, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
