"""Give gRPC the server's certificates, the newest for each new connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from ganserve_server.tls.server_tls import ServerTls


def server_credentials(tls: ServerTls) -> grpc.ServerCredentials:
    """Return credentials that follow the certificates; gRPC accepts TLS 1.2 and 1.3."""
    given = tls.certificates

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """Return the configuration of a new connection if it differs from the last; runs on gRPC's threads."""
        nonlocal given
        if tls.certificates is given:
            return None
        given = tls.certificates
        return _configuration(tls)

    may_return_none: Any = fetch  # as gRPC documents; its stubs do not
    return grpc.dynamic_ssl_server_credentials(
        _configuration(tls), may_return_none, require_client_authentication=tls.wants_client_certificates
    )


def _configuration(tls: ServerTls) -> grpc.ServerCertificateConfiguration:
    certificates = tls.certificates
    return grpc.ssl_server_certificate_configuration(
        [(certificates.key, certificates.chain)], root_certificates=certificates.client_ca
    )
