"""Test docs/stylegan-faces.md as a new user would try it: import, serve, call."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from commands import ganserve
from documents import DOCS, blocks, commands
from foreign_styles import ada_critic, ada_generator
from persisted_modules import network_pickle
from server_process import running_server

if TYPE_CHECKING:
    from pathlib import Path

WIDTHS = (8, 8, 8, 8, 4)
PAGE = DOCS / "stylegan-faces.md"


class _Mapping(nn.Module):
    w_avg = torch.full((4,), 0.5)

    def forward(self, z: torch.Tensor, labels: None) -> torch.Tensor:
        return z[:, None].repeat(1, 3, 1)


class _Synthesis(nn.Module):
    def forward(self, w: torch.Tensor, *, force_fp32: bool) -> torch.Tensor:
        """Compute an image with convolutions whose groups are the batch, as StyleGAN3's are."""
        weight = w.mean(dim=1).repeat_interleave(3, dim=0)[:, :, None, None]
        grid = torch.linspace(-1, 1, 32).expand(1, 4 * w.shape[0], 32, 32)
        made = nn.functional.conv2d(grid, weight, groups=w.shape[0])
        return (made * 0.3).reshape(w.shape[0], 3, 32, 32)


@pytest.mark.slow
def test_stylegan3_is_exported_by_its_own_code_and_packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stylegan3.pkl").write_bytes(b"weights")
    generator = nn.Module()
    generator.mapping, generator.synthesis, generator.z_dim = _Mapping(), _Synthesis(), 4
    generator.eval()
    legacy = types.ModuleType("legacy")
    legacy.load_network_pkl = lambda _: {"G_ema": generator}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "legacy", legacy)
    program, _ = blocks(PAGE, "python")
    exec(program.code, {})
    (packaging,) = [block for block in blocks(PAGE) if block.code.startswith("ganserve package")]
    (words,) = commands(packaging)
    done = ganserve(*words[1:])
    assert done.returncode == 0, done.stderr
    assert "one sample after another" in done.stdout


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
        _, program = blocks(PAGE, "python")
        exec(program.code, {})
    assert {"faces.png", "mixed.png", "way.png", "middle.png"} <= {path.name for path in tmp_path.iterdir()}
