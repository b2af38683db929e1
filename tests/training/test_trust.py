"""Test that a run's folder can't make export or evaluation run code that the user has not chosen."""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from commands import ganserve
from ganserve_training.config import CustomConfig, TrainConfig
from ganserve_training.errors import CheckpointError, UntrustedRunError
from ganserve_training.files import file_sha256
from ganserve_training.run.checkpoint import checkpoint_paths
from ganserve_training.run.start_or_resume import train
from ganserve_training.run.trained_model import load_trained
from tiny_runs import tiny_config

SOURCE = """
import math
from torch import nn

class Generator(nn.Module):
    def __init__(self, latent_dim, sample_shape):
        super().__init__()
        self.shape = tuple(sample_shape)
        self.body = nn.Linear(latent_dim, math.prod(sample_shape))

    def forward(self, latents, labels=None):
        return self.body(latents).unflatten(1, self.shape)

class Critic(nn.Module):
    def __init__(self, sample_shape):
        super().__init__()
        self.body = nn.Linear(math.prod(sample_shape), 1)

    def forward(self, samples, labels=None):
        return self.body(samples.flatten(1)).squeeze(1)
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user of our own, who has not trained with any class yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "ganserve_test_trusted.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path / "code")
    yield "ganserve_test_trusted"
    sys.modules.pop("ganserve_test_trusted", None)


def custom(generator: str, critic: str) -> TrainConfig:
    networks = CustomConfig(latent_dim=4, generator_class=generator, critic_class=critic, check_export=False)
    data = tiny_config().data
    return tiny_config(steps=2, networks=networks, data=type(data)(labels="ignore"))


def trained(module: str, out: Path) -> Path:
    config = custom(f"{module}:Generator", f"{module}:Critic")
    train(config, out, device="cpu", console=Console(quiet=True))
    return out


def planted(run: Path, out: Path, generator: str, critic: str) -> Path:
    """A copy of a run whose newest checkpoint names other classes, with a right digest."""
    shutil.copytree(run, out)
    path = checkpoint_paths(out / "checkpoints")[-1]
    state = torch.load(path, weights_only=True)
    state["config"]["networks"] = {
        "architecture": "custom",
        "generator_class": generator,
        "critic_class": critic,
        "latent_dim": 4,
    }
    torch.save(state, path)
    path.with_name(path.name + ".sha256").write_text(f"{file_sha256(path)}  {path.name}\n")
    return out


@pytest.mark.parametrize("named", ["os:abort", "sys:exit", "os:getcwd", "subprocess:call"])
def test_code_that_a_planted_run_names_is_neither_imported_nor_called(
    small_run: Path, tmp_path: Path, named: str
) -> None:
    run = planted(small_run, tmp_path / "planted", named, named)
    for words in (("evaluate", run), ("export-onnx", run, "--out", tmp_path / "models" / "planted")):
        done = ganserve(*words)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert f"you have not trained with on this machine: {named}, {named}. If you know that code" in done.stderr
        assert done.stderr.rstrip().endswith("add --trust.")
    assert not (tmp_path / "models" / "planted" / "1").exists()


def test_a_module_is_not_even_imported(small_run: Path, module: str, tmp_path: Path) -> None:
    run = planted(small_run, tmp_path / "planted", f"{module}:Generator", f"{module}:Critic")
    with pytest.raises(UntrustedRunError):
        load_trained(run)
    assert module not in sys.modules


def test_classes_that_were_trained_with_are_ones_own_in_every_run_and_place(module: str, tmp_path: Path) -> None:
    run = trained(module, tmp_path / "run")
    assert load_trained(run).step == 2
    run.rename(tmp_path / "moved")
    assert load_trained(tmp_path / "moved").step == 2


def test_a_resumed_run_calls_no_code_that_its_cures_name(module: str, tmp_path: Path) -> None:
    run = trained(module, tmp_path / "run")
    path = checkpoint_paths(run / "checkpoints")[-1]
    state = torch.load(path, weights_only=True)
    changes = {"networks.generator_class": "os:abort"}
    cure = {"step": 1, "back_to": 0, "kind": "oscillation", "message": "", "changes": changes}
    state |= {"asked": state["config"], "cures": [cure]}
    torch.save(state, path)
    path.with_name(path.name + ".sha256").write_text(f"{file_sha256(path)}  {path.name}\n")
    config = replace(custom(f"{module}:Generator", f"{module}:Critic"), steps=4)
    with pytest.raises(CheckpointError, match=r"its cures name code that the command does not: os:abort\."):
        train(config, run, device="cpu", console=Console(quiet=True))


def test_a_run_from_another_machine_needs_a_word(module: str, tmp_path: Path, state: Path) -> None:
    run = trained(module, tmp_path / "run")
    shutil.rmtree(state)
    with pytest.raises(UntrustedRunError, match=f"{module}:Generator, {module}:Critic"):
        load_trained(run)
    assert load_trained(run, trust=True).step == 2
    out = ("--out", tmp_path / "models" / "mine")
    assert ganserve("export-onnx", run, *out).returncode == 2
    assert ganserve("export-onnx", run, *out, "--generator-only", "--trust").returncode == 0
    few = ("--metrics", "sliced-wasserstein", "-n", "50")
    assert ganserve("evaluate", run, *few).returncode == 2
    assert ganserve("evaluate", run, *few, "--trust").returncode == 0


def test_a_list_that_others_can_write_counts_for_nothing(module: str, tmp_path: Path, state: Path) -> None:
    run = trained(module, tmp_path / "run")
    (state / "ganserve" / "own-classes").chmod(0o666)
    with pytest.raises(UntrustedRunError):
        load_trained(run)


def test_a_list_that_can_t_be_written_is_told(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", os.fspath(tmp_path / "file"))
    config = custom(f"{module}:Generator", f"{module}:Critic")
    train(config, tmp_path / "run", device="cpu", console=Console(stderr=True, width=400))
    assert "note: your classes can't be remembered, so export-onnx and evaluate will ask for --trust" in (
        capsys.readouterr().err
    )


def test_built_in_networks_need_no_trust(small_run: Path) -> None:
    assert load_trained(small_run).step == 8
