"""Keep the certificates of a running server up to date with their files."""

import logging
import ssl
import threading

from ganserve_server.errors import StartupError
from ganserve_server.setting_files import warn_if_open
from ganserve_server.tls.pem_files import Certificates, PemFiles, read_pem_files

_log = logging.getLogger(__name__)


class ServerTls:
    """The server's certificates. Any thread may use it.

    Connections that are open keep theirs; each new one gets the newest that are right.
    """

    def __init__(self, files: PemFiles) -> None:
        """Read the files; raise StartupError if they are wrong."""
        self._files = files
        self._lock = threading.Lock()
        self._signature = files.signature()
        self._problem = ""
        self.certificates: Certificates = read_pem_files(files)
        """The contents of the files."""
        warn_if_open("--tls-key", files.key, secret=True)
        try:
            self.http = self._http_context()
        except OSError as error:
            raise StartupError(
                f"--tls-certificate {files.certificate}: does not work: {error}. Make another."
            ) from error
        """Encrypts the connections of the HTTP port, which may come without a client's certificate."""

    @property
    def wants_client_certificates(self) -> bool:
        """True if gRPC's clients must show a certificate."""
        return self._files.client_ca is not None

    def look(self) -> bool:
        """Read the files again if they have changed, and return whether other certificates are in use now.

        While they do not fit together, as between two writes of a rotation, or are not valid yet, the old ones stay in
        use, and each look tries again.
        """
        with self._lock:
            signature = self._files.signature()
            if signature == self._signature:
                return False
            try:
                certificates = read_pem_files(self._files)
                http = self._http_context()
            except (StartupError, OSError) as error:  # OSError: written again meanwhile, or missing
                if str(error) != self._problem:
                    self._problem = str(error)
                    _log.warning("the certificates in use stay: %s", error)
                return False
            self._signature, self._problem = signature, ""
            self.certificates, self.http = certificates, http
            warn_if_open("--tls-key", self._files.key, secret=True)
            _log.info("new certificates are in use; the server's expires on %s", f"{certificates.expires:%Y-%m-%d}")
            return True

    def _http_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._files.certificate, self._files.key)
        if self._files.client_ca is not None:
            # Probes of kubelets have no certificate; /metrics asks for an identity itself.
            context.verify_mode = ssl.CERT_OPTIONAL
            context.load_verify_locations(self._files.client_ca)
        return context
