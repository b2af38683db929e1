"""The models of a folder: which there are, which answer, and why the others do not; and how that changes.

Everything that loads or unloads happens on the caller's thread, one at a time, never on an event loop. Requests look
the models up meanwhile: a version answers until another has taken its place, and ends once its last request has.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from ganserve.v1 import gan_service_pb2
from ganserve_server.errors import (
    FailedPreconditionError,
    FieldViolation,
    InvalidRequestError,
    NotFoundError,
    PackageError,
    ProviderError,
    UnavailableError,
)
from ganserve_server.models.folders import scan
from ganserve_server.models.leases import Lease
from ganserve_server.models.model import Model
from ganserve_server.models.package import read_package
from ganserve_server.requests.validation import listed, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from ganserve_server.engine.engine import EngineConfig
    from ganserve_server.models.folders import Fingerprint
    from ganserve_server.queue.batcher import BatchConfig

_ResultT = TypeVar("_ResultT")
_log = logging.getLogger(__name__)


@dataclasses.dataclass(kw_only=True, slots=True)
class VersionEntry:
    """One version of a model and its state."""

    name: str
    version: int
    folder: Path
    state: gan_service_pb2.ModelState.ValueType = gan_service_pb2.MODEL_STATE_UNLOADED
    reason: str = ""
    """Why it is in its state, or why the last attempt to load it again failed."""
    model: Model | None = None
    """The model while it is ready."""
    found: Fingerprint = ()
    """Of its files; none: the folder is gone."""
    tried: Fingerprint = ()
    """Of its files when they were last loaded, well or not."""
    wanted: bool | None = None
    """True: somebody asked for this very version; False: somebody unloaded it; None: as the number of versions says."""

    def summary(self) -> gan_service_pb2.VersionSummary:
        """Describe it for ListModels."""
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

    def __init__(
        self,
        folder: Path,
        engine_config: EngineConfig,
        batch_config: BatchConfig,
        *,
        newest: int = 0,
        drain_timeout_s: float = 30.0,
    ) -> None:
        """Look at nothing yet.

        Args:
            folder: The folder.
            engine_config: How graphs are run.
            batch_config: How requests are joined.
            newest: How many of each model's newest versions are loaded; 0: all.
            drain_timeout_s: How long the requests of a version that is unloaded may take to finish.
        """
        self.folder = folder
        self.ignored: list[str] = []
        """Folders that look like no package, each with the reason."""
        self.unreadable = ""
        """What of the folder could not be read at the last look, and why; empty: all could."""
        self._engine_config = engine_config
        self._batch_config = batch_config
        self._newest = newest
        self._drain_timeout_s = drain_timeout_s
        # Replaced as a whole, never changed: requests read it without a lock.
        self._models: dict[str, dict[int, VersionEntry]] = {}
        self._changing = threading.RLock()
        self._changes = ThreadPoolExecutor(1, thread_name_prefix="repository-changes")
        self._seen: dict[Path, Fingerprint] = {}
        self._listeners: list[Callable[[], None]] = []
        self._retired: list[threading.Thread] = []
        self._closing = threading.Event()
        self._watcher: threading.Thread | None = None

    def on_change(self, listener: Callable[[], None]) -> None:
        """Has `listener` called, on any thread, whenever a version's state has changed."""
        self._listeners.append(listener)

    def load(self) -> None:
        """Load the packages of the folder; takes seconds, so not on an event loop.

        A broken package is kept as failed with its reason; the others are loaded all the same.

        Raises:
            UnavailableError: The folder cannot be read.
            ProviderError: The execution provider cannot be had.
        """
        self._refresh(settled_only=False, starting=True)

    def watch(self, poll_s: float) -> None:
        """Look at the folder again every `poll_s` seconds until `close`.

        A package is taken up once its files stayed the same from one look to the next, so that one that is being copied
        into the folder is left alone until it is whole. While the folder, or one in it, is gone or cannot be read, what
        was loaded from it serves on; a folder that can be read counts as it is, also when it is empty.
        """

        def poll() -> None:
            told = self.unreadable
            while not self._closing.wait(poll_s):
                try:
                    self._refresh(settled_only=True)
                except UnavailableError:
                    pass  # `unreadable` says why
                except Exception:  # noqa: BLE001 - whatever it is, the next look may go well
                    _log.exception("%s could not be looked at; trying again", self.folder)
                if self.unreadable == told:  # said once, not every few seconds
                    continue
                told = self.unreadable
                if told:
                    _log.warning("%s; what is loaded serves on, and the folder is looked at again", told)
                else:
                    _log.info("%s can be read again", self.folder)

        self._watcher = threading.Thread(target=poll, name="repository", daemon=True)
        self._watcher.start()

    def reload(self) -> list[gan_service_pb2.ModelSummary]:
        """Look at the folder again: loads what is new, was changed or failed before, unloads what is gone.

        Returns:
            All models.

        Raises:
            UnavailableError: The folder cannot be read; nothing has changed.
        """
        self._refresh(settled_only=False, again=True)
        return self.summaries()

    def load_model(self, name: str, version: int) -> gan_service_pb2.ModelSummary:
        """Load a version, or loads it again, and keeps it however many newer ones there are.

        Args:
            name: Name of the model.
            version: Version of the model; 0: the latest in the folder.

        Raises:
            NotFoundError: The folder has no such package.
            FailedPreconditionError: It cannot be loaded; what answered before still does.
        """
        with self._changing:
            self._look(settled_only=False)
            versions = self._versions(name)
            entry = _entry(name, versions, version or max(versions))
            if not entry.found:
                raise NotFoundError(f"the package of version {entry.version} of model {name!r} is gone from its folder")
            # Version 0 follows the newest, as the folder does; a version by its number stays.
            entry.wanted = True if version else None
            self._load_entry(entry)
            if entry.reason:
                raise FailedPreconditionError(
                    f"version {entry.version} of model {name!r} could not be loaded: {entry.reason}"
                )
            self._unload_surplus(versions)
            return self._summary(name)

    def unload_model(self, name: str, version: int) -> gan_service_pb2.ModelSummary:
        """Unloads a version, which stays so until it is loaded by its number or the server starts again.

        Its requests finish meanwhile.

        Args:
            name: Name of the model.
            version: Version of the model; 0: all.

        Raises:
            NotFoundError: There is no such model or version.
        """
        with self._changing:
            versions = self._versions(name)
            for entry in [_entry(name, versions, version)] if version else versions.values():
                entry.wanted = False
                entry.reason = ""
                if entry.state == gan_service_pb2.MODEL_STATE_FAILED:
                    entry.state = gan_service_pb2.MODEL_STATE_UNLOADED
                self._unload_entry(entry)
            return self._summary(name)

    async def off_loop(self, change: Callable[..., _ResultT], *arguments: object) -> _ResultT:
        """Run one of the methods that load or unload on a thread kept for them, and returns its result.

        On those of `asyncio.to_thread`, loads that wait for each other would leave none for the requests.
        """
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._changes, context.run, change, *arguments)

    def close(self) -> None:
        """End all models; may block for one call of each."""
        self._closing.set()
        self._changes.shutdown(wait=False, cancel_futures=True)
        if self._watcher is not None:
            self._watcher.join()
        with self._changing:
            models = [entry.model for entry in self._entries() if entry.model is not None]
            self._models = {}
        for model in models:
            model.leases.retire()
            model.close()
        for thread in self._retired:
            thread.join()

    def lease(self, name: str, version: int, *, field: str = "model") -> Lease[Model]:
        """The model that a request means, which stays loaded until the block ends; see `resolve`."""
        while True:
            model = self.resolve(name, version, field=field)
            if model.leases.acquire():  # else another took its place just now
                return Lease(model.leases, model)

    def resolve(self, name: str, version: int, *, field: str = "model") -> Model:
        """Return the model that a request means, as it is at this moment.

        Args:
            name: Name of the model; empty for the only one that is served.
            version: Version of the model; 0 for the latest that is ready.
            field: Path of the name's field, for the message.

        Raises:
            InvalidRequestError: No name, and not exactly one model is served.
            NotFoundError: No such model or version.
            FailedPreconditionError: The version could not be loaded, or was unloaded.
            UnavailableError: The version is being loaded or unloaded.
        """
        if not name:
            name = self._only_model(field)
        versions = self._versions(name)
        # Where none is ready, one that will be, or was until somebody unloaded it, tells more than one that failed.
        entry = _entry(name, versions, version or _latest(versions) or max(versions, key=lambda v: _hope(versions[v])))
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

    def models(self) -> list[Model]:
        """The models that are ready."""
        return [entry.model for entry in self._entries() if entry.model is not None]

    def names(self) -> Collection[str]:
        """The names of all models, whatever their state."""
        return self._models.keys()

    def summaries(self) -> list[gan_service_pb2.ModelSummary]:
        """Describe all models, by name, with their versions, ascending."""
        return [_summary(name, versions) for name, versions in self._models.items()]

    def _entries(self) -> list[VersionEntry]:
        return [entry for versions in self._models.values() for entry in versions.values()]

    def _versions(self, name: str) -> dict[int, VersionEntry]:
        versions = self._models.get(name)
        if versions is None:
            raise NotFoundError(f"there is no model {shown(name)}; there are: {listed(self._models)}")
        return versions

    def _summary(self, name: str) -> gan_service_pb2.ModelSummary:
        return _summary(name, self._models.get(name, {}))

    def _only_model(self, field: str) -> str:
        ready = [name for name, versions in self._models.items() if _latest(versions)]
        # Where none is ready, the only one there is has the reason.
        if len(names := ready or list(self._models)) == 1:
            return names[0]
        if not names:
            raise UnavailableError("no model is served yet: try again once a package is in the repository")
        description = f"is empty, which means the only model that is served; name one of: {listed(ready)}"
        raise InvalidRequestError([FieldViolation(field, description)])

    def _refresh(self, *, settled_only: bool, starting: bool = False, again: bool = False) -> None:
        with self._changing:
            settled = self._look(settled_only=settled_only)
            for versions in list(self._models.values()):
                for entry in versions.values():
                    if not entry.found:
                        self._unload_entry(entry)
                self._load_newest(versions, settled, starting=starting, again=again)
                self._unload_surplus(versions)

    def _look(self, *, settled_only: bool) -> set[Path]:
        """Brings the entries up to the folder, and returns the folders whose files may be read."""
        try:
            now = scan(self.folder)
        except OSError as error:
            self.unreadable = f"the model repository {self.folder} cannot be read: {error.strerror}"
            raise UnavailableError(self.unreadable) from error
        self.unreadable = "; ".join(now.unreadable.values())
        settled = {
            folder
            for folder, fingerprint in now.fingerprints.items()
            if not settled_only or self._seen.get(folder) == fingerprint
        }
        self._seen = now.fingerprints
        self.ignored = now.ignored
        models = {name: dict(versions) for name, versions in self._models.items()}
        for versions in models.values():
            for entry in versions.values():
                if now.unreadable.keys().isdisjoint((entry.folder, entry.folder.parent)):
                    entry.found = now.fingerprints.get(entry.folder, ())
        for name, folders in now.packages.items():
            for version, folder in folders.items():
                versions = models.setdefault(name, {})
                if version not in versions and folder in settled:
                    versions[version] = VersionEntry(
                        name=name, version=version, folder=folder, found=now.fingerprints[folder]
                    )
        self._publish(models)
        return settled

    def _publish(self, models: dict[str, dict[int, VersionEntry]]) -> None:
        self._models = {name: dict(sorted(versions.items())) for name, versions in sorted(models.items()) if versions}

    def _load_newest(
        self, versions: dict[int, VersionEntry], settled: set[Path], *, starting: bool, again: bool
    ) -> None:
        """Load what is wanted and was not tried yet, newest first; what failed too if it is to be tried again."""
        ready = 0
        for entry in sorted(versions.values(), key=lambda one: -one.version):
            if entry.wanted is False or not (entry.wanted or not self._newest or ready < self._newest):
                continue
            if (entry.found != entry.tried or (again and entry.reason)) and entry.folder in settled:
                self._load_entry(entry, starting=starting)
            ready += entry.model is not None

    def _unload_surplus(self, versions: dict[int, VersionEntry]) -> None:
        """Unloads the versions beyond the newest ones that nobody asked for by number."""
        ready = sorted((entry for entry in versions.values() if entry.model), key=lambda one: -one.version)
        for entry in ready[self._newest :] if self._newest else []:
            if not entry.wanted:
                self._unload_entry(entry)

    def _load_entry(self, entry: VersionEntry, *, starting: bool = False) -> None:
        """Load a version and lets it take the place of what answered for it before; `reason` says why it could not."""
        if entry.model is None:
            entry.state = gan_service_pb2.MODEL_STATE_LOADING
            self._changed()
        entry.tried, entry.reason = entry.found, ""
        try:
            model = Model(read_package(entry.folder), self._engine_config, self._batch_config)
        except (PackageError, ProviderError) as error:
            if starting and isinstance(error, ProviderError):
                raise
            entry.reason = str(error)
            if entry.model is None:
                entry.state = gan_service_pb2.MODEL_STATE_FAILED
            kept = "; what was loaded before serves on" if entry.model else ""
            _log.warning("%s could not be loaded%s: %s", entry.folder, kept, error)
        else:
            before, entry.model = entry.model, model
            entry.state = gan_service_pb2.MODEL_STATE_READY
            if not starting:
                _log.info("model %s version %d is loaded", entry.name, entry.version)
            if before is not None:
                self._retire(entry, before)
        self._changed()

    def _unload_entry(self, entry: VersionEntry) -> None:
        model, entry.model = entry.model, None
        if model is not None:
            entry.state = gan_service_pb2.MODEL_STATE_UNLOADING
            entry.tried = ()
            _log.info("model %s version %d is unloaded", entry.name, entry.version)
            self._retire(entry, model)
        elif entry.state != gan_service_pb2.MODEL_STATE_UNLOADING:
            self._forget_if_gone(entry)
        self._changed()

    def _retire(self, entry: VersionEntry, model: Model) -> None:
        """End a model once its requests have, on a thread of its own."""
        model.leases.retire()

        def drain() -> None:
            left = model.leases.wait_until_unused(self._drain_timeout_s, self._closing)
            if left and not self._closing.is_set():
                _log.warning(
                    "%d calls of model %s version %d did not finish within %g s and are cut off",
                    *(left, entry.name, entry.version, self._drain_timeout_s),
                )
            model.close()
            with self._changing:
                if entry.model is None and entry.state == gan_service_pb2.MODEL_STATE_UNLOADING:
                    entry.state = gan_service_pb2.MODEL_STATE_UNLOADED
                    self._forget_if_gone(entry)
                    self._changed()

        self._retired = [thread for thread in self._retired if thread.is_alive()]
        self._retired.append(threading.Thread(target=drain, name=f"drain-{entry.name}-{entry.version}", daemon=True))
        self._retired[-1].start()

    def _forget_if_gone(self, entry: VersionEntry) -> None:
        if entry.found:
            return
        models = {name: dict(versions) for name, versions in self._models.items()}
        models.get(entry.name, {}).pop(entry.version, None)
        self._publish(models)

    def _changed(self) -> None:
        for listener in self._listeners:
            listener()


def _entry(name: str, versions: dict[int, VersionEntry], version: int) -> VersionEntry:
    entry = versions.get(version)
    if entry is None:
        raise NotFoundError(f"model {name!r} has no version {version}; there are: {listed(versions)}")
    return entry


def _summary(name: str, versions: dict[int, VersionEntry]) -> gan_service_pb2.ModelSummary:
    return gan_service_pb2.ModelSummary(
        name=name, versions=[entry.summary() for entry in versions.values()], latest=_latest(versions)
    )


def _hope(entry: VersionEntry) -> tuple[int, int]:
    """Orders versions that are not ready: failed, unloaded, on their way; among these, by number."""
    last = (gan_service_pb2.MODEL_STATE_FAILED, gan_service_pb2.MODEL_STATE_UNLOADED)
    return last.index(entry.state) if entry.state in last else len(last), entry.version


def _latest(versions: dict[int, VersionEntry]) -> int:
    """Return the latest version that is ready; 0: none is."""
    for version in reversed(versions):  # they are ascending
        if versions[version].model is not None:
            return version
    return 0
