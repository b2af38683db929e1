"""Find the identity that the certificate of a client shows. The transport has verified it against the authorities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cryptography import x509

from ganserve_server.errors import UnauthenticatedError
from ganserve_server.identity.identity import ROLES, Identity, ModelPatterns
from ganserve_server.identity.settings_file import CertificateRule


def identity_of(certificate: bytes, rules: Sequence[CertificateRule] | None) -> Identity:
    """Return the identity of a certificate in PEM or DER form; raise UnauthenticatedError if it shows none.

    Without rules, every certificate may do everything.
    """
    try:
        if certificate.startswith(b"-----"):
            parsed = x509.load_pem_x509_certificate(certificate)
        else:
            parsed = x509.load_der_x509_certificate(certificate)
        names = _names(parsed)
    except ValueError as error:
        raise UnauthenticatedError("bad_certificate") from error
    expires = parsed.not_valid_after_utc.timestamp()
    if rules is None:
        given = [*names["subject"], *names["uri"], *names["dns"], f"serial {parsed.serial_number:x}"]
        shown = next(filter(None, given))  # the subject may be empty
        name = f"certificate:{shown}"
        return Identity(name=name, roles=frozenset(ROLES), models=ModelPatterns("*"), expires=expires)
    for rule in rules:
        if rule.value in names[rule.kind]:
            return replace(rule.identity, expires=expires)
    raise UnauthenticatedError("unknown_certificate")


def _names(certificate: x509.Certificate) -> dict[str, list[str]]:
    """Return the subject, host names and addresses that a certificate is for."""
    try:
        others = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        others = x509.SubjectAlternativeName([])
    return {
        "subject": [certificate.subject.rfc4514_string()],
        "dns": list(others.get_values_for_type(x509.DNSName)),
        "uri": list(others.get_values_for_type(x509.UniformResourceIdentifier)),
    }
