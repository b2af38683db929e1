"""Sign pictures with C2PA manifests (Coalition for Content Provenance and Authenticity), and read them.

The library is c2pa-python, which the extra `c2pa` installs. It does not use the network: no time stamp is requested
for, and no manifest or revocation that a picture names is looked up.
"""

from __future__ import annotations

import io
import json
import logging
import os
import threading
import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from ganserve._marks.mark import DIGITAL_SOURCE_TYPE

if TYPE_CHECKING:
    from types import ModuleType

INSTALL = "pip install 'ganserve[c2pa]'"
MEDIA_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
_MANIFEST_BYTES = 2**12  # of a manifest without its signature; ours have 1,400
_MOST_SHOWN = 200
_LOOK_EVERY_S = 1.0
_log = logging.getLogger(__name__)
_NEEDS = (
    "C2PA asks for the key usage digitalSignature and the extended key usage emailProtection or documentSigning, for "
    "the certificates of the authorities behind it, and for a date before its end."
)
_SETTINGS = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"verify_after_sign": False, "remote_manifest_fetch": False, "ocsp_fetch": False},
}


class SigningError(ValueError):
    """A certificate or key cannot sign pictures; the message names the file, the problem and the fix."""

    def __init__(self, message: str, *, key: bool = False) -> None:
        super().__init__(message)
        self.argument = "key" if key else "certificate"
        """The one that is wrong."""


class NoC2paError(ImportError):
    """The library c2pa-python is not installed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """A picture's C2PA manifest, and whether its signature is right."""

    state: str
    """"Trusted", "Valid" (right, by an authority that is not on c2pa's list of trust), or "Invalid"."""
    issuer: str
    """Organisation of the certificate that signed; empty: unknown."""
    problems: tuple[str, ...]
    """C2PA's codes of what is wrong."""


class C2paSigner:
    """Signs pictures with a certificate. Any thread may use it.

    When its files change, it uses the new ones within two seconds, once they fit together.
    """

    def __init__(self, certificate: str | os.PathLike[str], key: str | os.PathLike[str]) -> None:
        """Read the PEM files and sign a picture to try them.

        Args:
            certificate: The certificate, followed by those of the authorities between it and the root.
            key: Its private key, not encrypted.

        Raises:
            SigningError: A file cannot be read, or they cannot sign C2PA manifests.
            NoC2paError: The extra `c2pa` is not installed.
        """
        self._files = certificate, key
        self._signature, self._problem = self._file_signature(), ""
        self._pair = _Pair(certificate, key)
        self._looking, self._next_look = threading.Lock(), time.monotonic() + _LOOK_EVERY_S

    @property
    def most_bytes(self) -> int:
        """Most bytes that signing adds to a file."""
        return self._pair.most_bytes

    def sign(self, file: bytes, form: str, model: str = "", version: int = 0) -> bytes:
        """Return a picture file, PNG, JPEG or WEBP, with a manifest that says that a model made it.

        Raises SigningError if the certificate no longer signs, as after its end.
        """
        if time.monotonic() >= self._next_look and self._looking.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._looking.release()
        return self._pair.sign(file, form, model, version)

    def _look(self) -> None:
        """Read the files again if they have changed; while they cannot sign, the old ones stay in use."""
        self._next_look = time.monotonic() + _LOOK_EVERY_S
        signature = self._file_signature()
        if signature == self._signature:
            return
        try:
            self._pair = _Pair(*self._files)
        except SigningError as error:
            if str(error) != self._problem:  # each look tries again, and the log says it once
                self._problem = str(error)
                _log.warning("the certificate for C2PA in use stays: %s", error)
        else:
            self._signature, self._problem = signature, ""
            _log.info("a new certificate for C2PA is in use: %s", os.fspath(self._files[0]))

    def _file_signature(self) -> list[tuple[int, int, int] | None]:
        return [_signature_of(file) for file in self._files]


class _Pair:
    """A certificate and its key, which can sign."""

    def __init__(self, certificate: str | os.PathLike[str], key: str | os.PathLike[str]) -> None:
        """Read the files and try them; raise SigningError or NoC2paError."""
        self._c2pa = _library()
        self._certificate, self._key = _read(certificate), _read(key, key=True)
        self._algorithm, self._key = _usable_key(key, self._key)
        self._file, self._local = os.fspath(certificate), threading.local()
        manifest = read_manifest(self.sign(_SMALL_PNG, "PNG", "", 0), "PNG")
        if manifest is None or manifest.state == "Invalid":
            codes = "" if manifest is None else ", ".join(manifest.problems)
            raise SigningError(
                f"{certificate}: its signatures are not valid ({codes}). Give a certificate for C2PA that is not "
                "expired, and the key that it was made for."
            )
        self.most_bytes: int = self._signer().reserve_size() + _MANIFEST_BYTES
        """Most bytes that signing adds to a file."""

    def sign(self, file: bytes, form: str, model: str, version: int) -> bytes:
        """Return a picture file with a manifest; raise SigningError."""
        agent = {"name": f"ganserve model {model}" if model else "ganserve"}
        if version:
            agent["version"] = str(version)
        action = {"action": "c2pa.created", "digitalSourceType": DIGITAL_SOURCE_TYPE, "softwareAgent": agent}
        manifest = {
            "claim_generator_info": [{"name": "ganserve"}],
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
        }
        signed = io.BytesIO()
        try:
            with self._c2pa.Builder(json.dumps(manifest), _context()) as builder:
                builder.sign(self._signer(), MEDIA_TYPES[form], io.BytesIO(file), signed)
        except self._c2pa.C2paError as error:
            reason = str(error)[:_MOST_SHOWN]
            raise SigningError(f"{self._file}: cannot sign C2PA manifests ({reason}). {_NEEDS}") from error
        return signed.getvalue()

    def _signer(self) -> Any:
        """Return this thread's signer: the library's cannot be shared."""
        if not hasattr(self._local, "signer"):
            info = self._c2pa.C2paSignerInfo(self._algorithm, self._certificate, self._key, None)
            self._local.signer = self._c2pa.Signer.from_info(info)
        return self._local.signer


def _signature_of(file: str | os.PathLike[str]) -> tuple[int, int, int] | None:
    """Return what changes when a file is written or replaced, or its permissions change; None if it cannot be seen."""
    from pathlib import Path

    try:
        status = Path(file).stat()
    except OSError:
        return None
    return status.st_ctime_ns, status.st_size, status.st_ino


def read_manifest(file: bytes, form: str) -> Manifest | None:
    """Return what the C2PA manifest of a picture file says; None if it has none.

    Raises NoC2paError.
    """
    c2pa = _library()
    try:
        with c2pa.Reader(MEDIA_TYPES[form], io.BytesIO(file), context=_context()) as reader:
            described = json.loads(reader.json())
    except c2pa.C2paError.ManifestNotFound:
        return None
    except (c2pa.C2paError, ValueError) as error:
        return Manifest(state="Invalid", issuer="", problems=(str(error)[:_MOST_SHOWN],))
    active = described.get("manifests", {}).get(described.get("active_manifest"), {})
    problems = tuple(str(each.get("code", ""))[:_MOST_SHOWN] for each in described.get("validation_status", []))
    issuer = str(active.get("signature_info", {}).get("issuer") or "")[:_MOST_SHOWN]
    return Manifest(state=str(described.get("validation_state", "Invalid"))[:20], issuer=issuer, problems=problems)


def may_have_manifest(file: bytes) -> bool:
    """Return whether a file has the label of C2PA's manifest store, without reading it."""
    return b"c2pa\x00" in file


def _library() -> ModuleType:
    try:
        import c2pa
    except ImportError as error:
        raise NoC2paError(f"C2PA needs the library c2pa-python. {INSTALL}") from error
    library: ModuleType = c2pa
    return library


@cache
def _context() -> Any:
    c2pa = _library()
    return c2pa.Context(c2pa.Settings.from_dict(_SETTINGS))


def _read(file: str | os.PathLike[str], *, key: bool = False) -> bytes:
    from pathlib import Path

    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise SigningError(f"{file}: cannot be read: {error.strerror}. Name a readable PEM file.", key=key) from error


def _usable_key(file: str | os.PathLike[str], data: bytes) -> tuple[bytes, bytes]:
    """Return the C2PA algorithm of a private key, and the key in the form that the library reads."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    try:
        key = serialization.load_pem_private_key(data, password=None)
    except TypeError as error:
        raise SigningError(
            f"{file}: is encrypted with a password. Decrypt it with `openssl pkey`.", key=True
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SigningError(
            f"{file}: has no private key in PEM form. Name a file with -----BEGIN PRIVATE KEY-----.", key=True
        ) from error
    algorithm = ""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        algorithm = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}.get(key.curve.name, "")
    elif isinstance(key, rsa.RSAPrivateKey):
        algorithm = "ps256"
    elif isinstance(key, ed25519.Ed25519PrivateKey):
        algorithm = "ed25519"
    if not algorithm:
        fix = "Use P-256, P-384, P-521, RSA or Ed25519."
        raise SigningError(f"{file}: is of a kind that C2PA does not know. {fix}", key=True)
    private = serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
    return algorithm.encode(), pem


_SMALL_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010800000000"
    "3a7e9b550000000a49444154789c6360000000020001e221bc330000000049454e44ae426082"
)
