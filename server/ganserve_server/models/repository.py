"""Serve the models of a folder: load them, follow its changes, load and unload versions on request.

Versions are loaded on threads of their own, a few at a time, never on an event loop. Requests look up models meanwhile:
a version answers until its replacement is ready, and closes after its last request.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ganserve.v1 import gan_service_pb2
from ganserve_server.engine.sessions import EngineConfig
from ganserve_server.errors import FailedPreconditionError, NotFoundError, ProviderError, UnavailableError
from ganserve_server.identity.identity import may_see
from ganserve_server.models.agreement import Agreement, Alone
from ganserve_server.models.folder_scan import Fingerprint, scan
from ganserve_server.models.leases import Lease
from ganserve_server.models.loader import Loader
from ganserve_server.models.model import Model
from ganserve_server.models.trial_process import TrialProcesses
from ganserve_server.models.version_table import VersionEntry, VersionTable
from ganserve_server.queue.options import BatchConfig

_ResultT = TypeVar("_ResultT")
_CHANGES = 4  # requests for loads and unloads at a time; each may wait for a load
_CHECK_S = 0.5
_PATIENCE_S = 10.0  # of the start, with versions that load slowly while others are ready
_log = logging.getLogger(__name__)


class Repository:
    """A folder of model packages, `<folder>/<name>/<version>`, and the models loaded from it."""

    def __init__(
        self,
        folder: Path,
        engine_config: EngineConfig,
        batch_config: BatchConfig,
        *,
        newest: int = 0,
        drain_timeout_s: float = 30.0,
        trials: TrialProcesses | None = None,
        agreement: Agreement | None = None,
        quiet: threading.Lock | None = None,
    ) -> None:
        """Keep the settings; `load` reads the folder.

        Of each model the `newest` versions are loaded (0: all). The requests of an unloaded version may take
        `drain_timeout_s` to finish. With `trials` each version is tried in another process before this one loads it.
        `agreement` is that with the other processes of the server. Models are made while nobody else holds `quiet`.
        """
        self.folder = folder
        self.ignored: list[str] = []
        """Folders that are not packages, each with the reason."""
        self.unreadable = ""
        """Paths that could not be read at the last scan, and why; empty if all could."""
        self._newest = newest
        self._table = VersionTable()
        self._agreement = agreement or Alone()
        self._loader = Loader(self._table, engine_config, batch_config, drain_timeout_s, trials, self._agreement, quiet)
        self._changes = ThreadPoolExecutor(_CHANGES, thread_name_prefix="repository-changes")
        self._last_scan: dict[Path, Fingerprint] = {}
        self._arriving: dict[str, int] = {}  # the newest version of each model whose files still change
        self._watcher: threading.Thread | None = None
        self.resolve = self._table.resolve
        """Return the model that a request names; see `VersionTable.resolve`."""
        self.names = self._table.names
        self.summaries = self._table.summaries

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener`, on any thread, after every change of a version's state."""
        # Not in the context of a call, which may not see every model.
        self._loader.listeners.append(lambda: contextvars.Context().run(listener))

    def load(self) -> None:
        """Load the packages of the folder; takes seconds, so never call it on an event loop.

        A broken package is kept as failed with its reason; the others are loaded all the same. Once versions are ready,
        slower ones are waited for no longer than ten seconds in all, and continue to load. Raises UnavailableError if
        the folder cannot be read, and ProviderError.
        """
        started = time.monotonic()
        done: Future[None] = Future()

        def refresh() -> None:
            try:
                self._refresh(settled_only=False, starting=True)
            except BaseException as error:  # noqa: BLE001 - for the thread that waits
                done.set_exception(error)
            else:
                done.set_result(None)

        threading.Thread(target=refresh, name="repository-start", daemon=True).start()
        changed = threading.Event()
        self._loader.listeners.append(changed.set)
        done.add_done_callback(lambda _: changed.set())
        while not (done.done() or (self.models() and time.monotonic() - started >= _PATIENCE_S)):
            changed.wait(max(started + _PATIENCE_S - time.monotonic(), _CHECK_S))
            changed.clear()
        self._loader.listeners.remove(changed.set)
        self._loader.started = True
        if done.done():
            done.result()

    def watch(self, poll_s: float) -> None:
        """Check the folder every `poll_s` seconds until `close`.

        A package is loaded once its files stay the same from one check to the next, so that a package is not loaded
        while it is being copied. While a folder is missing or unreadable, its loaded models keep serving; an empty
        folder that can be read unloads them.
        """
        self._watcher = threading.Thread(target=self._watch, args=(poll_s,), name="repository", daemon=True)
        self._watcher.start()

    def reload(self) -> list[gan_service_pb2.ModelSummary]:
        """Scan the folder again, load what is new, changed or failed before, unload what is gone; return all models.

        Raises UnavailableError if the folder cannot be read; then nothing has changed.
        """
        self._refresh(settled_only=False, again=True)
        return self.summaries()

    def load_model(self, name: str, version: int) -> gan_service_pb2.ModelSummary:
        """Load a version (0: the latest in the folder); if it is loaded, load it again only if its content has changed.

        A version loaded by its number stays, however many newer ones there are.

        Raises:
            NotFoundError: The folder has no such package.
            FailedPreconditionError: The package cannot be loaded; a loaded version keeps serving.
        """
        with self._loader.lock:
            self._scan(settled_only=False)
            versions = self._table.versions(name)
            entry = self._table.entry(name, version or max(versions))
            if not entry.found:
                raise NotFoundError(f"the package of {entry} is gone from its folder")
            # Version 0 follows the newest, as the folder does; a version loaded by its number stays.
            entry.wanted = True if version else None
            load = entry.load or self._loader.begin(entry)
        with contextlib.suppress(ProviderError):  # `entry.reason` says it
            load.result()
        with self._loader.lock:
            if entry.reason:
                raise FailedPreconditionError(f"{entry} could not be loaded: {entry.reason}")
            self._unload_surplus(versions)
            return self._table.summary(name)

    def unload_model(self, name: str, version: int) -> gan_service_pb2.ModelSummary:
        """Unload a version (0: all) until it is loaded by its number or the server restarts. Its requests finish.

        Raises NotFoundError if the model or version does not exist.
        """
        with self._loader.lock:
            entries = [self._table.entry(name, version)] if version else self._table.versions(name).values()
            for entry in entries:
                entry.wanted = False
                entry.reason = ""
                if entry.state == gan_service_pb2.MODEL_STATE_FAILED:
                    entry.state = gan_service_pb2.MODEL_STATE_UNLOADED
                self._loader.unload(entry)
            return self._table.summary(name)

    async def off_loop(self, change: Callable[..., _ResultT], *arguments: object) -> _ResultT:
        """Run a method that loads or unloads on a separate thread, and return its result.

        The threads of `asyncio.to_thread` are for requests: loads that wait for each other would occupy all of them.
        """
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._changes, context.run, change, *arguments)

    def close(self) -> None:
        """Close all models; may block for one call of each."""
        self._loader.closing.set()
        self._changes.shutdown(wait=False, cancel_futures=True)
        if self._watcher is not None:
            self._watcher.join()
        self._loader.close()

    def lease(self, name: str, version: int, *, field: str = "model") -> Lease[Model]:
        """Return a lease of the model that a request names, which stays loaded until the block ends; see `resolve`."""
        while True:
            model = self.resolve(name, version, field=field)
            if model.leases.acquire():  # else another version has just replaced it
                return Lease(model.leases, model)

    def models(self) -> list[Model]:
        """Return the models that are ready, as far as the running call may see them."""
        return [entry.model for entry in self._table.entries() if entry.model is not None and may_see(entry.name)]

    def _watch(self, poll_s: float) -> None:
        logged, ignored = self.unreadable, set(self.ignored)
        while not self._loader.closing.wait(self._agreement.until_poll_s(poll_s)):
            try:
                self._refresh(settled_only=True, wait=False)
            except UnavailableError:
                pass  # `unreadable` says why
            except Exception:  # noqa: BLE001 - the next attempt may succeed
                _log.exception("the model repository could not be checked; trying again")
            if self.unreadable and self.unreadable != logged:
                _log.warning("%s; loaded models keep serving, and the folder is checked again", self.unreadable)
            elif logged and not self.unreadable:
                _log.info("the model repository can be read again")
            logged = self.unreadable
            for reason in set(self.ignored) - ignored - {*self.unreadable.split("; ")}:
                _log.warning("ignored: %s", reason)
            ignored = set(self.ignored)

    def _refresh(self, *, settled_only: bool, again: bool = False, wait: bool = True, starting: bool = False) -> None:
        """Scan the folder, unload what is gone and load what is new or changed; with `again`, also what failed.

        At the start, a missing execution provider raises ProviderError; later it is a version's failure.
        """
        with self._loader.lock:
            settled = self._scan(settled_only=settled_only)
        while loads := self._begin_loads(settled, again=again):
            again = False
            if not wait:
                return  # the next check reads the result
            for load in loads:
                with contextlib.nullcontext() if starting else contextlib.suppress(ProviderError):
                    load.result()

    def _begin_loads(self, settled: set[Path], *, again: bool) -> list[Future[None]]:
        """Begin to load wanted versions, and unload what is gone or beyond the newest; return the loads that run."""
        with self._loader.lock:
            for versions in self._table.groups():
                self._load_newest(versions, settled, again=again)
                self._unload_gone(versions)
                self._unload_surplus(versions)
            return [entry.load for entry in self._table.entries() if entry.load is not None]

    def _scan(self, *, settled_only: bool) -> set[Path]:
        """Update the table from the folder and return the folders that may be loaded."""
        try:
            now = scan(self.folder)
        except OSError as error:
            self.unreadable = f"the model repository {self.folder} cannot be read: {error.strerror}"
            raise UnavailableError(self.unreadable) from error
        self.unreadable = "; ".join(now.unreadable.values())
        settled = {
            folder
            for folder, fingerprint in now.fingerprints.items()
            if not settled_only or self._last_scan.get(folder) == fingerprint
        }
        self._arriving = {
            name: max((version for version, folder in folders.items() if folder not in settled), default=0)
            for name, folders in now.packages.items()
        }
        self._last_scan = now.fingerprints
        self.ignored = now.ignored
        known = set()
        for entry in self._table.entries():
            known.add(entry.folder)
            if now.unreadable.keys().isdisjoint((entry.folder, entry.folder.parent)):
                entry.found = now.fingerprints.get(entry.folder, ())
        new = [
            VersionEntry(name=name, version=version, folder=folder, found=now.fingerprints[folder])
            for name, folders in now.packages.items()
            for version, folder in folders.items()
            if folder in settled - known
        ]
        self._table.replace([*self._table.entries(), *new])
        return settled

    def _load_newest(self, versions: dict[int, VersionEntry], settled: set[Path], *, again: bool) -> None:
        """Begin to load wanted versions that are new or changed, newest first; with `again`, also those that failed."""
        hopeful = 0
        for entry in sorted(versions.values(), key=lambda one: -one.version):
            if entry.wanted is False or not (entry.wanted or not self._newest or hopeful < self._newest):
                continue
            is_due = entry.found != entry.tried or (again and entry.reason)
            if is_due and entry.found and entry.folder in settled and entry.load is None:
                self._loader.begin(entry)
            hopeful += bool(entry.found) and (entry.model is not None or entry.load is not None)

    def _unload_gone(self, versions: dict[int, VersionEntry]) -> None:
        """Unload versions that left the folder; one that answers stays while a newer one is on its way."""
        for entry in versions.values():
            if not entry.found and (entry.model is None or not self._has_successor(entry, versions)):
                self._loader.unload(entry)

    def _has_successor(self, entry: VersionEntry, versions: dict[int, VersionEntry]) -> bool:
        """Return whether a newer version is being loaded, or copied into the folder."""
        loads = max((one.version for one in versions.values() if one.load is not None and one.found), default=0)
        return entry.version < max(loads, self._arriving.get(entry.name, 0))

    def _unload_surplus(self, versions: dict[int, VersionEntry]) -> None:
        """Unload versions beyond the newest ones, except those loaded by their number."""
        ready = sorted((entry for entry in versions.values() if entry.model), key=lambda one: -one.version)
        for entry in ready[self._newest :] if self._newest else []:
            if not entry.wanted:
                self._loader.unload(entry)
