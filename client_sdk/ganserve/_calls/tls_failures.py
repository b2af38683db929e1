"""Say in one line why two sides could not agree on encryption."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ganserve._calls.rotation import Endpoint

_ENCRYPT = "tls=True, --tls or GANSERVE_TLS=1"
_NEVER_CONNECTED = ("failed to connect", "connections to all backends failing")
_CLOSED = ("socket closed", "connection reset", "broken pipe")


def tls_failure(details: str, endpoint: Endpoint) -> str:
    """Return the message for gRPC's reason of a failed connection; empty if encryption is not the cause."""
    server, said = f"the server at {endpoint.target}", details.lower()
    if not endpoint.encrypted:
        # A server that encrypts ends a connection in plain text without a word.
        if "socket closed" in said and any(words in said for words in _NEVER_CONNECTED):
            return f"{server} closed the connection before it answered: if it encrypts, call it with {_ENCRYPT}"
        return ""
    if "certificate has expired" in said:
        return f"the certificate of {server} has expired: renew it there, or correct this machine's clock"
    if "certificate is not yet valid" in said:
        return f"the certificate of {server} is not valid yet: correct this machine's clock, or wait"
    if "hostname verification" in said:
        return (
            f"the certificate of {server} is for another name: use that name as the target, or give it by "
            "TLS(server_name=…), --tls-server-name or GANSERVE_TLS_SERVER_NAME"
        )
    if "certificate_verify_failed" in said:
        reason = said.rpartition("certificate_verify_failed: ")[2].partition(": ok")[0]
        return (
            f"no authority that this client trusts has signed the certificate of {server} ({reason}): give the right "
            "one by TLS(ca=…), --tls-ca or GANSERVE_TLS_CA"
        )
    if "wrong_version_number" in said:
        return f"{server} does not encrypt: start it with --tls-certificate, or leave out {_ENCRYPT}"
    if "no_common_signature" in said:
        return (
            f"{server} cannot use this client's certificate: give one whose key is of P-256, P-384, or RSA with at "
            "least 2048 bits"
        )
    if "handshake failed" in said:
        reason = details.rpartition("last error: ")[2]
        return f"{server} and this client found no common encryption ({reason}): allow TLS 1.2 or 1.3 on both sides"
    if any(word in said for word in _CLOSED):
        return (
            f"{server} closed the connection: if it wants a client's certificate, give one that it trusts and that has "
            "not expired by TLS(certificate=…, key=…), by --tls-client-certificate and --tls-client-key, or by their "
            "variables"
        )
    return ""
