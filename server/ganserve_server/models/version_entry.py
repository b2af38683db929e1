"""Describe the state of one version of a model."""

from dataclasses import dataclass
from pathlib import Path

from ganserve.v1 import gan_service_pb2
from ganserve_server.models.folder_scan import Fingerprint
from ganserve_server.models.model import Model


@dataclass(kw_only=True, slots=True)
class VersionEntry:
    """One version of a model and its state."""

    name: str
    version: int
    folder: Path
    state: gan_service_pb2.ModelState.ValueType = gan_service_pb2.MODEL_STATE_UNLOADED
    reason: str = ""
    """Reason for the state, or for the last failed attempt to load the version again."""
    model: Model | None = None
    """The loaded model while it is ready."""
    found: Fingerprint = ()
    """Fingerprint of its files; () once the folder is gone."""
    tried: Fingerprint = ()
    """Fingerprint of its files at the last attempt to load them."""
    wanted: bool | None = None
    """True: loaded by its number; False: unloaded on request; None: follows the limit of newest versions."""


def prospects(entry: VersionEntry) -> tuple[int, int]:
    """Order versions that are not ready: failed, unloaded, in transition; then by number."""
    last = (gan_service_pb2.MODEL_STATE_FAILED, gan_service_pb2.MODEL_STATE_UNLOADED)
    return last.index(entry.state) if entry.state in last else len(last), entry.version


def latest_ready(versions: dict[int, VersionEntry]) -> int:
    """Return the latest version that is ready; 0 if none is."""
    for version in reversed(versions):  # ascending
        if versions[version].model is not None:
            return version
    return 0
