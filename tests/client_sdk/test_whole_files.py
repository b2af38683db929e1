"""Test that a full disk leaves no cut-off files, and that its error names the file."""

from __future__ import annotations

import os
import resource
import signal
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from commands import ganserve
from ganserve import Client
from ganserve._results.whole_files import whole_file, write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_BYTES = 64


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Let no file grow beyond a few bytes, as on a full disk."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_BYTES, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


SAVING: dict[str, Callable[[Any, Path], object]] = {
    "grid.png": lambda batch, file: batch.save_grid(file),
    "all.npz": lambda batch, file: batch.save_npz(file),
    "folder/0.png": lambda batch, file: batch.save(file.parent),
}


@pytest.mark.parametrize("name", SAVING)
def test_a_full_disk_leaves_no_file(server: str, tmp_path: Path, name: str, request: pytest.FixtureRequest) -> None:
    with Client(server) as client:
        batch = client.sample(1, model="tiny-rgb", seed=1)
    request.getfixturevalue("full_disk")
    with pytest.raises(OSError, match="File too large") as caught:
        SAVING[name](batch, tmp_path / name)
    assert Path(caught.value.filename).parent == (tmp_path / name).parent
    assert Path(caught.value.filename).suffix == (tmp_path / name).suffix
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["points.csv", "points.npy", "points.npz"])
def test_the_command_names_the_file(server: str, tmp_path: Path, name: str, request: pytest.FixtureRequest) -> None:
    words = ("sample", "-n", "50", "--model", "tiny-vector", "--target", server, "--out", tmp_path / name)
    assert ganserve(*words, "--seed", "1").returncode == 0
    before = (tmp_path / name).read_bytes()
    request.getfixturevalue("full_disk")
    done = ganserve(*words, "--seed", "2")
    assert (done.returncode, done.stderr) == (1, f"ganserve sample: error: {tmp_path / name}: File too large\n")
    assert (tmp_path / name).read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / name]


def test_links_and_devices_are_written_through(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    write_whole(tmp_path / "link", b"linked")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"linked"
    write_whole(os.devnull, b"nothing")
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_an_interruption_leaves_the_earlier_file(tmp_path: Path) -> None:
    write_whole(tmp_path / "x", b"whole")

    def interrupted() -> None:
        with whole_file(tmp_path / "x") as stream:
            np.save(stream, np.zeros(100))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "x").read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]
