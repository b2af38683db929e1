"""Test docs/stylegan-faces.md as a new user would try it: import, serve, call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from commands import ganserve
from documents import DOCS, blocks, commands
from foreign_styles import ada_critic, ada_generator
from persisted_modules import network_pickle
from server_process import running_server

if TYPE_CHECKING:
    from pathlib import Path

WIDTHS = (8, 8, 8, 8, 4)
PAGE = DOCS / "stylegan-faces.md"


@pytest.mark.slow
def test_a_new_user_serves_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    network_pickle(ada_generator(64, 0, WIDTHS), ada_critic(64, 0, WIDTHS), tmp_path).rename(tmp_path / "ffhq.pkl")
    importing, sampling = [block for block in blocks(PAGE) if block.code.startswith("ganserve ")][:2]
    (first, *_) = commands(importing)
    done = ganserve(*first[1:])
    assert done.returncode == 0, done.stderr
    with running_server(tmp_path / "models") as server:
        monkeypatch.setenv("GANSERVE_TARGET", server.address)
        (words,) = commands(sampling)
        done = ganserve(*words[1:])
        assert done.returncode == 0, done.stderr
        (program,) = blocks(PAGE, "python")
        exec(program.code, {})
    assert {"faces.png", "mixed.png", "way.png", "middle.png"} <= {path.name for path in tmp_path.iterdir()}
