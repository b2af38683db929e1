"""The repository of one process among several: loads and unloads on request happen in all of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from ganserve.v1 import gan_service_pb2
from ganserve_server.errors import NotFoundError, RequestError
from ganserve_server.identity.identity import may_see
from ganserve_server.models.repository import Repository
from ganserve_server.processes.changes import Change


class SharedRepository(Repository):
    """A repository whose changes on request are made by `change_all`, which calls `make` in every process."""

    def __init__(self, *arguments: Any, change_all: Callable[[Change], None], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._change_all = change_all

    def reload(self) -> list[gan_service_pb2.ModelSummary]:
        """Scan the folder again in all processes; see `Repository.reload`."""
        self._change_all(Change("reload"))
        return self.summaries()

    def load_model(self, name: str, version: int) -> gan_service_pb2.ModelSummary:
        """Load a version in all processes; see `Repository.load_model`."""
        if not may_see(name):
            self._table.versions(name)  # raises
        try:
            self._change_all(Change("load", name, version, (version or self._newest_found(name),)))
        except NotFoundError:
            self._table.versions(name)  # its error names only models that the running call may see
            raise
        return self._table.summary(name)

    def unload_model(self, name: str, version: int) -> gan_service_pb2.ModelSummary:
        """Unload a version, or all, in all processes; see `Repository.unload_model`."""
        known = self._table.versions(name)  # raises if the running call may not see the model
        self._change_all(Change("unload", name, version, (version,) if version else tuple(known)))
        return self._table.summary(name)

    def make(self, change: Change) -> RequestError | None:
        """Make a change in this process alone, and return the error that it raises."""
        try:
            if change.kind == "reload":
                super().reload()
            elif change.kind == "load":
                super().load_model(change.name, change.version)
            elif change.version:
                super().unload_model(change.name, change.version)
            else:  # not those that came later
                for version in change.versions:
                    with contextlib.suppress(NotFoundError):
                        super().unload_model(change.name, version)
        except RequestError as error:
            return error
        return None

    def _newest_found(self, name: str) -> int:
        """Return the version that a request for the latest one loads; 0 if there is none."""
        with self._loader.lock:
            self._scan(settled_only=False)
            return max((entry.version for entry in self._table.entries() if entry.name == name), default=0)
