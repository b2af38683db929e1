"""Load and unload versions of models. A version is closed only after its requests have finished."""

import logging
import threading
from collections.abc import Callable

from ganserve.v1 import gan_service_pb2
from ganserve_server.engine.sessions import EngineConfig
from ganserve_server.errors import PackageError, ProviderError
from ganserve_server.models.model import Model
from ganserve_server.models.package import read_package
from ganserve_server.models.version_table import VersionEntry, VersionTable
from ganserve_server.queue.options import BatchConfig

_log = logging.getLogger(__name__)


class Loader:
    """Loads and unloads the versions of a table. Callers hold `lock`."""

    def __init__(
        self, table: VersionTable, engine_config: EngineConfig, batch_config: BatchConfig, drain_timeout_s: float
    ) -> None:
        self.lock = threading.RLock()
        """Held during every change of the table."""
        self.listeners: list[Callable[[], None]] = []
        """Called, on any thread, after every change of a version's state."""
        self.closing = threading.Event()
        self._table = table
        self._engine_config = engine_config
        self._batch_config = batch_config
        self._drain_timeout_s = drain_timeout_s
        self._draining: list[threading.Thread] = []

    def load(self, entry: VersionEntry, *, starting: bool = False) -> None:
        """Load a version and replace the loaded one, if any. On failure, `entry.reason` gives the reason.

        At start, a missing execution provider raises ProviderError.
        """
        if entry.model is None:
            entry.state = gan_service_pb2.MODEL_STATE_LOADING
            self._notify()
        entry.tried, entry.reason = entry.found, ""
        try:
            model = Model(read_package(entry.folder), self._engine_config, self._batch_config)
        except (PackageError, ProviderError) as error:
            if starting and isinstance(error, ProviderError):
                raise
            entry.reason = str(error)
            if entry.model is None:
                entry.state = gan_service_pb2.MODEL_STATE_FAILED
            kept = "; the loaded version keeps serving" if entry.model else ""
            _log.warning("%s could not be loaded%s: %s", entry.folder, kept, error)
        else:
            before, entry.model = entry.model, model
            entry.state = gan_service_pb2.MODEL_STATE_READY
            if not starting:
                _log.info("model %s version %d is loaded", entry.name, entry.version)
            if before is not None:
                self._retire(entry, before)
        self._notify()

    def unload(self, entry: VersionEntry) -> None:
        """Unload a version, but let its running requests finish."""
        model, entry.model = entry.model, None
        if model is not None:
            entry.state = gan_service_pb2.MODEL_STATE_UNLOADING
            entry.tried = ()
            _log.info("model %s version %d is unloaded", entry.name, entry.version)
            self._retire(entry, model)
        elif entry.state != gan_service_pb2.MODEL_STATE_UNLOADING:
            self._forget_if_gone(entry)
        self._notify()

    def close(self) -> None:
        """Close all models; may block for one call of each."""
        self.closing.set()
        with self.lock:
            models = [entry.model for entry in self._table.entries() if entry.model is not None]
            self._table.replace([])
        for model in models:
            model.leases.retire()
            model.close()
        for thread in self._draining:
            thread.join()

    def _retire(self, entry: VersionEntry, model: Model) -> None:
        """Close a model on a separate thread once its requests have finished."""
        model.leases.retire()

        def drain() -> None:
            left = model.leases.wait_until_unused(self._drain_timeout_s, self.closing)
            if left and not self.closing.is_set():
                _log.warning(
                    "%d calls of model %s version %d did not finish within %g s and are cut off",
                    *(left, entry.name, entry.version, self._drain_timeout_s),
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
        if not entry.found:
            self._table.replace(other for other in self._table.entries() if other is not entry)

    def _notify(self) -> None:
        for listener in self.listeners:
            listener()
