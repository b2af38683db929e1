"""Test a watched folder: packages being copied, unreadable and missing folders."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ganserve_server.errors import UnavailableError
from ganserve_server.models.repository import Repository
from repositories import BATCH, ENGINE, READY, states, wait_for
from tiny_packages import build_tiny_package

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_an_unreadable_folder_changes_nothing(repository: Repository, models: Path) -> None:
    models.rename(models.with_name("away"))
    for change in (repository.reload, lambda: repository.load_model("tiny", 1)):
        with pytest.raises(UnavailableError, match=r"models cannot be read: No such file or directory$"):
            change()
    models.write_text("a file in its place")
    with pytest.raises(UnavailableError, match=r"cannot be read: Not a directory$"):
        repository.reload()
    assert repository.resolve("tiny", 0).info.version == 1


def test_emptying_the_folder_unloads_its_models(repository: Repository, models: Path) -> None:
    shutil.rmtree(models / "tiny")
    repository.reload()
    wait_for(lambda: not states(repository), "the end of the model")
    assert repository.unreadable == ""


def test_a_package_is_loaded_only_once_it_is_copied_completely(models: Path) -> None:
    repository = Repository(models, ENGINE, BATCH)
    repository.load()
    seen: list[dict[str, dict[int, int]]] = []
    repository.on_change(lambda: seen.append(states(repository)))
    whole = build_tiny_package(models.parent / "elsewhere", "tiny", version=2)
    target = models / "tiny" / "2"
    target.mkdir()
    for file in sorted(whole.iterdir()):
        data = file.read_bytes()
        with (target / file.name).open("wb") as out:
            for start in range(0, len(data), 1 + len(data) // 4):
                out.write(data[start : start + 1 + len(data) // 4])
                out.flush()
                repository._refresh(settled_only=True)  # what the watching thread does at each check
    assert seen == []
    repository._refresh(settled_only=True)
    assert states(repository)["tiny"][2] == READY
    repository.close()


def test_watching_continues_after_an_error(models: Path) -> None:
    repository = Repository(models, ENGINE, BATCH)
    repository.load()
    repository.watch(0.02)
    models.rename(models.with_name("away"))
    wait_for(lambda: repository.unreadable, "the folder to be missed")
    models.with_name("away").rename(models)
    build_tiny_package(models, "tiny", version=2)
    wait_for(lambda: states(repository)["tiny"].get(2) == READY, "the new version")
    repository.close()


def test_a_broken_link_beside_a_package_changes_nothing(repository: Repository, models: Path) -> None:
    (models / "tiny" / "1" / ".#manifest.json").symlink_to("somebody@a-host.1:1")  # an editor's lock
    (models / "tiny" / "1" / "loop").symlink_to("loop")
    repository.reload()
    assert states(repository) == {"tiny": {1: READY}}
    assert repository.resolve("tiny", 1).leases.acquire()


def test_unreadable_folders_do_not_block_others(
    repository: Repository, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_tiny_package(models, "other", version=1)
    build_tiny_package(models, "late", version=1)
    repository.reload()
    # The user of the tests may have permission to read everything.
    locked, whole = {models / "other", models / "tiny" / "1", models / "secret"}, Path.iterdir
    (models / "secret").symlink_to(models / "tiny")
    stat = Path.stat

    def look(path: Path, **follow: bool) -> os.stat_result:
        if path.name == "secret":
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **follow)

    def iterdir(folder: Path) -> Iterator[Path]:
        if folder in locked:
            raise PermissionError(13, "Permission denied", str(folder))
        return whole(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    monkeypatch.setattr(Path, "stat", look)
    build_tiny_package(models, "new", version=1)
    shutil.rmtree(models / "late")
    repository.reload()
    wait_for(lambda: "late" not in states(repository), "the removed model to go")
    assert states(repository) == {name: {1: READY} for name in ("new", "other", "tiny")}
    assert sorted(repository.ignored) == [f"{folder}: cannot be read: Permission denied" for folder in sorted(locked)]
    assert sorted(repository.unreadable.split("; ")) == sorted(repository.ignored)


def test_a_package_in_the_place_of_a_model_is_logged(
    repository: Repository, models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    package = build_tiny_package(models.parent / "elsewhere")
    with caplog.at_level("INFO", logger="ganserve_server"):
        repository.watch(0.01)
        shutil.copytree(package, models / "1")
        moved = f"{models}/1: is a package, but lies where a model should: move it to {models}/NAME/1"
        wait_for(lambda: moved in caplog.text, "the message")
        time.sleep(0.1)
    assert caplog.text.count(moved) == 1


def test_a_missing_folder_is_logged_once_and_checked_again(
    repository: Repository, models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    away = models.with_name("away")
    with caplog.at_level("INFO", logger="ganserve_server"):
        models.rename(away)
        repository.watch(0.01)
        wait_for(lambda: "cannot be read" in caplog.text, "the folder to be missed")
        time.sleep(0.1)
        assert repository.resolve("tiny", 1).info.version == 1
        away.rename(models)
        wait_for(lambda: "can be read again" in caplog.text, "the folder to be found")
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
    assert "Traceback" not in caplog.text
    assert states(repository) == {"tiny": {1: READY}}
