"""Hold the versions of all models, and look up the one that a request names."""

from collections.abc import Collection

from ganserve.v1 import gan_service_pb2
from ganserve_server.error_text import listed, shown
from ganserve_server.errors import FailedPreconditionError, NotFoundError, UnavailableError, invalid_field
from ganserve_server.models.descriptions import summarise_model
from ganserve_server.models.model import Model
from ganserve_server.models.version_entry import VersionEntry, latest_ready, prospects


class VersionTable:
    """The versions of all models. Lookups need no lock, because changes replace the whole table."""

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
        version = version or latest_ready(versions) or max(versions, key=lambda number: prospects(versions[number]))
        entry = versions.get(version) or self.entry(name, version)  # raises
        if (model := entry.model) is not None:
            return model
        what = f"version {entry.version} of model {name!r}"
        if entry.state == gan_service_pb2.MODEL_STATE_FAILED:
            raise FailedPreconditionError(f"{what} could not be loaded: {entry.reason}")
        if entry.state == gan_service_pb2.MODEL_STATE_UNLOADED:
            raise FailedPreconditionError(
                f"{what} is not loaded: load it with AdminService.LoadModel (Open Inference Protocol: "
                "RepositoryModelLoad)"
            )
        raise UnavailableError(f"{what} is not ready: try again soon")

    def names(self) -> Collection[str]:
        """Return the names of all models, whatever their state."""
        return self._models.keys()

    def entries(self) -> list[VersionEntry]:
        """Return all versions of all models."""
        return [entry for versions in self._models.values() for entry in versions.values()]

    def versions(self, name: str) -> dict[int, VersionEntry]:
        """Return the versions of a model, ascending.

        Raises:
            NotFoundError: The model does not exist.
        """
        versions = self._models.get(name)
        if versions is None:
            raise NotFoundError(f"there is no model {shown(name)}; there are: {listed(self._models)}")
        return versions

    def entry(self, name: str, version: int) -> VersionEntry:
        """Return one version of a model.

        Raises:
            NotFoundError: The model or version does not exist.
        """
        versions = self.versions(name)
        entry = versions.get(version)
        if entry is None:
            raise NotFoundError(f"model {name!r} has no version {version}; there are: {listed(versions)}")
        return entry

    def summaries(self) -> list[gan_service_pb2.ModelSummary]:
        """Describe all models by name, with their versions, ascending."""
        return [self.summary(name) for name in self._models]

    def summary(self, name: str) -> gan_service_pb2.ModelSummary:
        """Describe a model; without versions if it does not exist."""
        versions = self._models.get(name, {})
        return summarise_model(name, versions, latest_ready(versions))

    def add(self, entries: Collection[VersionEntry]) -> None:
        """Add versions."""
        self._replace([*self.entries(), *entries])

    def remove(self, entry: VersionEntry) -> None:
        """Remove a version."""
        self._replace([other for other in self.entries() if other is not entry])

    def clear(self) -> None:
        """Remove all versions."""
        self._models = {}

    def _replace(self, entries: list[VersionEntry]) -> None:
        models: dict[str, dict[int, VersionEntry]] = {}
        for entry in sorted(entries, key=lambda one: (one.name, one.version)):
            models.setdefault(entry.name, {})[entry.version] = entry
        self._models = models

    def _only_model(self, field: str) -> str:
        ready = [name for name, versions in self._models.items() if latest_ready(versions)]
        # If the only model is not ready, its state explains why.
        names = ready or list(self._models)
        if len(names) == 1:
            return names[0]
        if not names:
            raise UnavailableError("no model is served yet: try again once a package is in the repository")
        raise invalid_field(field, f"this server has several models; name one: {listed(names)}")
