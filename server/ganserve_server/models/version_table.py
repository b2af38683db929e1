"""Hold the versions of all models, and look up the one that a request names."""

from collections.abc import Collection, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from ganserve.v1 import gan_service_pb2
from ganserve_server.error_text import listed, shown
from ganserve_server.errors import FailedPreconditionError, NotFoundError, UnavailableError, invalid_field
from ganserve_server.identity.identity import may_see, sees_all
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
    load: Future[None] | None = None
    """The load that runs, if one does."""
    wanted: bool | None = None
    """True: loaded by its number; False: unloaded on request; None: loaded if it is among the newest versions."""

    def __str__(self) -> str:
        return f"version {self.version} of model {self.name!r}"

    def prospects(self) -> tuple[int, int]:
        """Order versions that are not ready: failed, unloaded, in transition; then by number."""
        last = (gan_service_pb2.MODEL_STATE_FAILED, gan_service_pb2.MODEL_STATE_UNLOADED)
        return last.index(self.state) if self.state in last else len(last), self.version

    def summary(self) -> gan_service_pb2.VersionSummary:
        """Describe the version for ListModels."""
        summary = gan_service_pb2.VersionSummary(version=self.version, state=self.state, reason=self.reason)
        if (model := self.model) is not None:
            summary.sample.CopyFrom(model.spec.sample)
            summary.label_names.extend(model.info.label_names)
            summary.providers.extend(model.providers)
            summary.has_critic = model.critic is not None
            summary.controls.extend(model.spec.latent.controls)
            if model.spec.HasField("style"):
                summary.style.CopyFrom(model.spec.style)
            generator = model.engines()[0]
            summary.bfloat16 = generator.config.bfloat16
            if (lone := generator.lone_calls) is not None:
                summary.lone_threads, summary.lone_samples = lone.threads, lone.samples
        return summary


class VersionTable:
    """The versions of all models. Lookups need no lock, because changes replace the whole table.

    A model that the running call may not see does not exist for it: lookups and their errors pass over it.
    """

    def __init__(self) -> None:
        self._models: dict[str, dict[int, VersionEntry]] = {}

    def resolve(self, name: str, version: int, *, field: str = "model") -> Model:
        """Return the model that a request names, as it is at this moment.

        An empty name means the server's only model, version 0 the latest that is ready. Errors name `field`.

        Raises:
            InvalidRequestError: There is no name, and the server has several models.
            NotFoundError: The model or version does not exist.
            FailedPreconditionError: The version failed to load, or was unloaded.
            UnavailableError: The version is being loaded or unloaded.
        """
        if not name:
            name = self._only_model(field)
        versions = self.versions(name)
        # If none is ready, the error describes the version most likely to become ready, rather than one that failed.
        version = version or _latest_ready(versions) or max(versions, key=lambda number: versions[number].prospects())
        entry = versions.get(version) or self.entry(name, version)  # raises
        if (model := entry.model) is not None:
            return model
        if entry.state == gan_service_pb2.MODEL_STATE_FAILED:
            raise FailedPreconditionError(f"{entry} could not be loaded: {entry.reason}")
        if entry.state == gan_service_pb2.MODEL_STATE_UNLOADED:
            how = "AdminService.LoadModel (Open Inference Protocol: RepositoryModelLoad)"
            raise FailedPreconditionError(f"{entry} is not loaded: load it with {how}")
        raise UnavailableError(f"{entry} is not ready: try again soon")

    def names(self) -> Collection[str]:
        """Return the names of all models, whatever their state."""
        return self._visible().keys()

    def groups(self) -> list[dict[int, VersionEntry]]:
        """Return the versions of each model, ascending, of all models."""
        return list(self._models.values())

    def entries(self) -> list[VersionEntry]:
        """Return all versions of all models."""
        return [entry for versions in self._models.values() for entry in versions.values()]

    def versions(self, name: str) -> dict[int, VersionEntry]:
        """Return the versions of a model, ascending; raise NotFoundError if it does not exist."""
        versions = self._models.get(name)
        if versions is None or not may_see(name):
            raise NotFoundError(f"there is no model {shown(name)}; there are: {listed(self._visible())}")
        return versions

    def entry(self, name: str, version: int) -> VersionEntry:
        """Return one version of a model; raise NotFoundError if it does not exist."""
        versions = self.versions(name)
        entry = versions.get(version)
        if entry is None:
            raise NotFoundError(f"model {name!r} has no version {version}; there are: {listed(versions)}")
        return entry

    def summaries(self) -> list[gan_service_pb2.ModelSummary]:
        """Describe all models by name, with their versions, ascending."""
        return [self.summary(name) for name in self._visible()]

    def summary(self, name: str) -> gan_service_pb2.ModelSummary:
        """Describe a model; without versions if it does not exist."""
        versions = self._models.get(name, {})
        return gan_service_pb2.ModelSummary(
            name=name, versions=[entry.summary() for entry in versions.values()], latest=_latest_ready(versions)
        )

    def replace(self, entries: Iterable[VersionEntry]) -> None:
        """Hold these versions only."""
        models: dict[str, dict[int, VersionEntry]] = {}
        for entry in sorted(entries, key=lambda one: (one.name, one.version)):
            models.setdefault(entry.name, {})[entry.version] = entry
        self._models = models

    def _visible(self) -> dict[str, dict[int, VersionEntry]]:
        if sees_all():
            return self._models
        return {name: versions for name, versions in self._models.items() if may_see(name)}

    def _only_model(self, field: str) -> str:
        visible = self._visible()
        ready = [name for name, versions in visible.items() if _latest_ready(versions)]
        # If the only model is not ready, its state explains why.
        names = ready or list(visible)
        if len(names) == 1:
            return names[0]
        if not names:
            raise UnavailableError("no model is served yet: try again once a package is in the repository")
        raise invalid_field(field, f"this server has several models; name one: {listed(names)}")


def _latest_ready(versions: dict[int, VersionEntry]) -> int:
    """Return the latest version that is ready; 0 if none is."""
    return next((version for version in reversed(versions) if versions[version].model is not None), 0)  # ascending
