"""The models of a folder: which there are, which answer, and why the others do not."""

from __future__ import annotations

import dataclasses
import logging
import re
from typing import TYPE_CHECKING

from ganserve.v1 import gan_service_pb2
from ganserve_server.core.errors import (
    FailedPreconditionError,
    FieldViolation,
    InvalidRequestError,
    NotFoundError,
    PackageError,
    StartupError,
    UnavailableError,
)
from ganserve_server.core.model import Model
from ganserve_server.core.package import read_package
from ganserve_server.core.validation import listed, shown

if TYPE_CHECKING:
    from pathlib import Path

    from ganserve_server.core.batcher import BatchConfig
    from ganserve_server.core.engine import EngineConfig

_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_log = logging.getLogger(__name__)


@dataclasses.dataclass(kw_only=True, slots=True)
class VersionEntry:
    """One version of a model and its state."""

    folder: Path
    version: int
    state: gan_service_pb2.ModelState.ValueType = gan_service_pb2.MODEL_STATE_LOADING
    reason: str = ""
    model: Model | None = None
    """The model while it is ready."""

    def summary(self) -> gan_service_pb2.VersionSummary:
        """Describes it for ListModels."""
        summary = gan_service_pb2.VersionSummary(version=self.version, state=self.state, reason=self.reason)
        if self.model is not None:
            summary.sample.CopyFrom(self.model.spec.sample)
            summary.label_names.extend(self.model.info.label_names)
            summary.providers.extend(self.model.providers)
            summary.has_critic = self.model.critic is not None
            summary.controls.extend(self.model.spec.latent.controls)
        return summary


class Repository:
    """A folder of model packages, `<folder>/<name>/<version>`, and the models that were loaded from it."""

    def __init__(self, folder: Path, engine_config: EngineConfig, batch_config: BatchConfig) -> None:
        self.folder = folder
        self.ignored: list[str] = []
        """Folders that look like no package, each with the reason."""
        self._engine_config = engine_config
        self._batch_config = batch_config
        self._models: dict[str, dict[int, VersionEntry]] = {}

    def load(self) -> None:
        """Loads every package of the folder; takes seconds, so not on an event loop.

        A broken package is kept as failed with its reason; the others are loaded all the same.

        Raises:
            StartupError: The folder cannot be read.
            ProviderError: The execution provider cannot be had.
        """
        self._scan()
        for versions in self._models.values():
            for entry in versions.values():
                self._load_entry(entry)

    def close(self) -> None:
        """Ends all models; may block for one call of each."""
        for versions in self._models.values():
            for entry in versions.values():
                if entry.model is not None:
                    entry.model.close()

    def resolve(self, name: str, version: int, *, field: str = "model") -> Model:
        """Returns the model that a request means.

        Args:
            name: Name of the model; empty for the only one that is served.
            version: Version of the model; 0 for the latest that is ready.
            field: Path of the name's field, for the message.

        Raises:
            InvalidRequestError: No name, and not exactly one model is served.
            NotFoundError: No such model or version.
            FailedPreconditionError: The version could not be loaded.
            UnavailableError: The version is being loaded or unloaded.
        """
        if not name:
            name = self._only_model(field)
        versions = self._models.get(name)
        if versions is None:
            raise NotFoundError(f"there is no model {shown(name)}; there are: {listed(self._models)}")
        if version == 0:
            version = _latest(versions) or max(versions)
        entry = versions.get(version)
        if entry is None:
            raise NotFoundError(f"model {name!r} has no version {version}; there are: {listed(versions)}")
        if entry.model is not None:
            return entry.model
        if entry.state == gan_service_pb2.MODEL_STATE_FAILED:
            raise FailedPreconditionError(f"version {version} of model {name!r} could not be loaded: {entry.reason}")
        raise UnavailableError(f"version {version} of model {name!r} is not ready: try again soon")

    def summaries(self) -> list[gan_service_pb2.ModelSummary]:
        """Describes all models, by name, with their versions, ascending."""
        return [
            gan_service_pb2.ModelSummary(
                name=name, versions=[entry.summary() for entry in versions.values()], latest=_latest(versions)
            )
            for name, versions in self._models.items()
        ]

    def _only_model(self, field: str) -> str:
        ready = [name for name, versions in self._models.items() if _latest(versions)]
        if len(ready) == 1:
            return ready[0]
        description = f"is empty, which means the only model that is served; name one of: {listed(ready)}"
        raise InvalidRequestError([FieldViolation(field, description)])

    def _scan(self) -> None:
        try:
            folders = _subfolders(self.folder)
            for folder in folders:
                versions = {}
                for inner in _subfolders(folder):
                    if _VERSION.fullmatch(inner.name):
                        versions[int(inner.name)] = VersionEntry(folder=inner, version=int(inner.name))
                    else:
                        self.ignored.append(f"{inner}: a version's folder is named by a positive integer")
                if versions:
                    self._models[folder.name] = dict(sorted(versions.items()))
                else:
                    self.ignored.append(f"{folder}: has no version's folder, such as {folder / '1'}")
        except OSError as error:
            raise StartupError(f"the model repository {self.folder} cannot be read: {error}") from error

    def _load_entry(self, entry: VersionEntry) -> None:
        try:
            entry.model = Model(read_package(entry.folder), self._engine_config, self._batch_config)
        except PackageError as error:
            entry.state, entry.reason = gan_service_pb2.MODEL_STATE_FAILED, str(error)
            _log.warning("%s could not be loaded: %s", entry.folder, error)
        else:
            entry.state = gan_service_pb2.MODEL_STATE_READY


def _subfolders(folder: Path) -> list[Path]:
    """Names that begin with a dot are packages being written, or none at all."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_dir())


def _latest(versions: dict[int, VersionEntry]) -> int:
    """Returns the latest version that is ready; 0: none is."""
    return max((version for version, entry in versions.items() if entry.model is not None), default=0)
