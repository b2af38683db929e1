"""Load and unload versions of models. A version is closed only after its requests have finished."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from ganserve.v1 import gan_service_pb2
from ganserve_server.engine.parallelism import usable_cores
from ganserve_server.engine.sessions import EngineConfig
from ganserve_server.error_text import counted, printable
from ganserve_server.errors import PackageError, ProviderError
from ganserve_server.models.agreement import Agreement, Alone
from ganserve_server.models.graph_files import check_graph_files
from ganserve_server.models.load_places import LoadPlaces
from ganserve_server.models.model import Model
from ganserve_server.models.package_files import Package, manifest_digest, read_package
from ganserve_server.models.trial_inputs import fitted, trial_feeds
from ganserve_server.models.trial_process import SlowTrialError, TrialProcesses
from ganserve_server.models.version_table import VersionEntry, VersionTable
from ganserve_server.queue.options import BatchConfig

_MOST_REASON_CHARACTERS = 2000
_FEWEST_LOADS, _MOST_LOADS = 2, 4  # at a time: an endless trial must not keep the others waiting
_log = logging.getLogger(__name__)


class Loader:
    """Loads and unloads the versions of a table. Callers hold `lock`, which no load holds while it reads or tries."""

    def __init__(
        self,
        table: VersionTable,
        engine_config: EngineConfig,
        batch_config: BatchConfig,
        drain_timeout_s: float,
        trials: TrialProcesses | None,
        agreement: Agreement | None = None,
        quiet: threading.Lock | None = None,
    ) -> None:
        """Keep the settings; without `trials`, packages are loaded without a trial in another process.

        By `agreement` all processes of the server begin to serve a version together. Models are made while nobody else
        holds `quiet`.
        """
        self.lock = threading.RLock()
        """Held during every change of the table."""
        self.listeners: list[Callable[[], None]] = []
        """Called, on any thread, after every change of a version's state."""
        self.closing = threading.Event()
        self._table = table
        self._engine_config = engine_config
        self._batch_config = batch_config
        self._drain_timeout_s = drain_timeout_s
        self._trials = trials
        self._agreement = agreement or Alone()
        self._draining: list[threading.Thread] = []
        self._places = LoadPlaces(min(max(usable_cores(), _FEWEST_LOADS), _MOST_LOADS))
        self._loads = ThreadPoolExecutor(self._places.most, thread_name_prefix="load")
        self._again = ThreadPoolExecutor(self._places.most_again, thread_name_prefix="load-again")
        self._open: set[Future[None]] = set()
        self._running = 0
        self.started = False
        """True once versions are loaded while the server runs, which the log says."""
        # One at a time: they use all cores, and measure their speed.
        self._making = quiet or threading.Lock()

    def begin(self, entry: VersionEntry) -> Future[None]:
        """Begin to load a version that is not loading, to replace the loaded one, if any.

        When the result is done, `entry.reason` is empty or tells why the version was not loaded. An execution provider
        that is missing raises ProviderError there.
        """
        if entry.model is None:
            entry.state = gan_service_pb2.MODEL_STATE_LOADING
        entry.tried, entry.reason = entry.found, ""
        self._running += 1
        done: Future[None] = Future()
        entry.load = done
        self._open.add(done)
        self._submit(entry, done, attempt=0)
        self._notify()
        return done

    def unload(self, entry: VersionEntry) -> None:
        """Unload a version, but let its running requests finish. A load that runs is discarded when it ends."""
        model, entry.model = entry.model, None
        if model is not None:
            entry.state = gan_service_pb2.MODEL_STATE_UNLOADING
            entry.tried = ()
            _log.info("model %s version %d is unloaded", entry.name, entry.version)
            self._retire(entry, model)
        elif entry.state == gan_service_pb2.MODEL_STATE_LOADING:
            entry.state = gan_service_pb2.MODEL_STATE_UNLOADED
            entry.tried = ()
        elif entry.state != gan_service_pb2.MODEL_STATE_UNLOADING:
            self._forget_if_gone(entry)
        self._notify()

    def close(self) -> None:
        """Close all models; may block for one call of each."""
        self.closing.set()
        if self._trials is not None:
            self._trials.close()
        for loads in (self._loads, self._again):
            loads.shutdown(cancel_futures=True)
        for done in list(self._open):
            done.cancel()
        with self.lock:
            models = [entry.model for entry in self._table.entries() if entry.model is not None]
            self._table.replace([])
        for model in models:
            model.leases.retire()
            model.close()
        for thread in self._draining:
            thread.join()

    def _submit(self, entry: VersionEntry, done: Future[None], attempt: int) -> None:
        self._places.announce(again=attempt > 0)
        (self._again if attempt else self._loads).submit(self._run, entry, done, attempt)

    def _run(self, entry: VersionEntry, done: Future[None], attempt: int) -> None:
        """Load a version, on a thread of its own; if its trial gives way to others, later again with twice the time."""
        try:
            if not self._load(entry, attempt):
                self._submit(entry, done, attempt + 1)
                return
        except BaseException as error:  # noqa: BLE001 - for whoever waits
            done.set_exception(error)
        else:
            done.set_result(None)
        self._open.discard(done)

    def _load(self, entry: VersionEntry, attempt: int) -> bool:
        """Load a version and put it into the table; return False if its trial gave way to others."""
        model, failure = None, None
        try:
            with self._places.taken(again=attempt > 0):
                package = self._read(entry)
                model = None if package is None else self._made(package, attempt)
            if model is not None:
                self._agreement.together(_key(entry, model))
        except SlowTrialError:
            return False
        except (PackageError, ProviderError) as error:
            failure = error
        except MemoryError:
            failure = PackageError("this process has not enough memory to load it")
        except Exception as error:  # noqa: BLE001 - whatever it is, the other versions load
            _log.exception("%s could not be loaded", entry.folder)
            failure = PackageError(f"{type(error).__name__}: {error}")
        with self.lock:
            entry.load = None
            self._running -= 1
            if not self._running and self._trials is not None:
                self._trials.rest()
            if failure is not None:
                self._failed(entry, failure)
            elif model is not None:
                self._loaded(entry, model)
            self._notify()
        if isinstance(failure, ProviderError):
            raise failure
        return True

    def _read(self, entry: VersionEntry) -> Package | None:
        """Return the version's package; None if it is the one that is loaded."""
        if (model := entry.model) is not None and manifest_digest(entry.folder) == model.digest:
            package = read_package(entry.folder)  # raises if a file no longer has its digest
            return package if package.digest != model.digest else None
        return read_package(entry.folder)

    def _made(self, package: Package, attempt: int) -> Model:
        engine_config, batch_config = fitted(package.info, self._engine_config, self._batch_config)
        if self._trials is None:
            check_graph_files(package)
        else:
            feeds = trial_feeds(package.info, engine_config, batch_config)
            wanted = functools.partial(self._places.wanted, again=attempt > 0)
            self._trials.check(package, engine_config, feeds, attempt, wanted)
        with self._making:
            return Model(package, self._engine_config, self._batch_config)

    def _failed(self, entry: VersionEntry, failure: Exception) -> None:
        if entry.wanted is False or not entry.found:  # unloaded or removed meanwhile
            self._forget_if_gone(entry)
            return
        entry.reason = printable(str(failure)[:_MOST_REASON_CHARACTERS])
        if entry.model is None and entry.state == gan_service_pb2.MODEL_STATE_LOADING:
            entry.state = gan_service_pb2.MODEL_STATE_FAILED
        if not (self.closing.is_set() or (self._trials is not None and self._trials.closed)):
            kept = "; the loaded version keeps serving" if entry.model else ""
            _log.warning("%s could not be loaded%s: %s", entry.folder, kept, entry.reason)

    def _loaded(self, entry: VersionEntry, model: Model) -> None:
        if self.closing.is_set() or entry.wanted is False or not entry.found:  # unloaded or removed meanwhile
            self._agreement.leave(_key(entry, model))
            model.close()
            self._forget_if_gone(entry)
            return
        before, entry.model = entry.model, model
        entry.state = gan_service_pb2.MODEL_STATE_READY
        if self.started:
            _log.info("model %s version %d is loaded", entry.name, entry.version)
        if before is not None:
            self._retire(entry, before)

    def _retire(self, entry: VersionEntry, model: Model) -> None:
        """Close a model on a separate thread once its requests have finished."""
        self._agreement.leave(_key(entry, model))
        model.leases.retire()

        def drain() -> None:
            left = model.leases.wait_until_unused(self._drain_timeout_s, self.closing)
            if left and not self.closing.is_set():
                _log.warning(
                    "cut off: %s of model %s version %d did not finish within %g s",
                    *(counted(left, "call"), entry.name, entry.version, self._drain_timeout_s),
                )
            model.close()
            with self.lock:
                if entry.model is None and entry.state == gan_service_pb2.MODEL_STATE_UNLOADING:
                    entry.state = gan_service_pb2.MODEL_STATE_UNLOADED
                    self._forget_if_gone(entry)
                    self._notify()

        self._draining = [thread for thread in self._draining if thread.is_alive()]
        self._draining.append(threading.Thread(target=drain, name=f"drain-{entry.name}-{entry.version}", daemon=True))
        self._draining[-1].start()

    def _forget_if_gone(self, entry: VersionEntry) -> None:
        if not entry.found and entry.model is None and entry.load is None:
            self._table.replace(other for other in self._table.entries() if other is not entry)
            if entry.wanted is not None:
                self._agreement.withdraw(entry.name, entry.version)

    def _notify(self) -> None:
        for listener in self.listeners:
            listener()


def _key(entry: VersionEntry, model: Model) -> tuple[str, int, str]:
    """Return the name of a version's content among the processes of the server."""
    return entry.name, entry.version, model.digest
