"""Test where shards are kept: locks, and names that appear only once a shard is whole."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from typing import TYPE_CHECKING

import pytest

from ganserve_server.bulk.store import FolderStore, UrlStore
from ganserve_server.errors import BulkError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_system_without_locks_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_file: object, _operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    number = errno.ENOLCK
    with FolderStore(tmp_path).locked():
        assert (tmp_path / ".lock").read_text() == str(os.getpid())
    number = errno.EIO
    with pytest.raises(BulkError, match="Input/output error"), FolderStore(tmp_path).locked():
        pass


def test_unfinished_shards_of_killed_workers_are_removed(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    (tmp_path / ".before.1.part").touch()
    with store.locked():
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
        with store.scratch("whole") as path:
            path.write_text("whole")
        (tmp_path / ".meanwhile.2.part").mkdir()  # by a worker of a cluster, which knows no lock
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def test_places_without_whole_writes_get_them_by_renaming(tmp_path: Path) -> None:
    store = UrlStore(f"local://{tmp_path}/out")
    seen = []
    real = store._files.mv
    store._files.mv = lambda a, b: (seen.append((a, b)), real(a, b))
    with store.scratch("x") as path:
        path.write_text("whole")
    assert store.read("x") == "whole"
    assert store.names() == {"x"}
    assert seen
    with contextlib.suppress(BulkError), store.scratch("y") as path:
        path.write_text("half")
        raise BulkError("stopped")
    assert store.names() == {"x"}


def test_shards_of_killed_processes_do_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    dead = tmp_path / "temporary" / "ganserve-bulk-dead"
    dead.mkdir(parents=True)
    (dead / "owner").touch()
    (dead / "samples-00000-of-00002.parquet").write_bytes(bytes(1000))
    store = UrlStore(f"local://{tmp_path}/out")
    with store.scratch("x") as first, store.scratch("y") as second:
        assert not dead.exists()
        for path in (first, second):
            path.write_text("whole")
    assert store.names() == {"x", "y"}
    assert not list((tmp_path / "temporary").iterdir())
    (tmp_path / "temporary").rmdir()
    with pytest.raises(BulkError, match="set TMPDIR"), store.scratch("x"):
        pass
