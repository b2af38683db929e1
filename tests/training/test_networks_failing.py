"""Test what a user hears of networks of their own that fail after training has begun."""

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ganserve_training import PRESETS
from ganserve_training.config import CustomConfig
from ganserve_training.errors import ConfigError, NetworkFailedError
from ganserve_training.networks.own_code import failures_told, is_from_user
from tiny_runs import run_tiny

MODULE = "ganserve_test_failing"
SOURCE = """
import os, sys, torch
from torch import nn

HOW = {how!r}
if HOW == "import sys.exit":
    sys.exit(3)
if HOW == "import os._exit":
    os._exit(4)

def fail():
    if HOW == "KeyError":
        raise KeyError("nope")
    if HOW == "sys.exit":
        sys.exit("bye")
    if HOW == "os._exit":
        os._exit(0)
    if HOW == "KeyboardInterrupt":
        raise KeyboardInterrupt
    if HOW == "torch":
        torch.zeros(3) @ torch.zeros(4)

class Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()
    @staticmethod
    def backward(ctx, gradient):
        raise ValueError("not today")

class Generator(nn.Module):
    def __init__(self, latent_dim, sample_shape):
        super().__init__()
        self.body = nn.Linear(latent_dim, sample_shape[0])
        self.calls = 0
    def forward(self, latents):
        self.calls += self.training
        made = self.body(latents)
        if self.calls > 20:
            fail()
            made = Backward.apply(made) if HOW == "backward" else made
        return made

class Critic(nn.Module):
    def __init__(self, sample_shape):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(sample_shape[0], 8), nn.ReLU(), nn.Linear(8, 1))
    def forward(self, samples):
        return self.body(samples)
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Write the module whose generator fails in the given way."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield lambda how: (tmp_path / f"{MODULE}.py").write_text(SOURCE.replace("{how!r}", repr(how))) and None
    sys.modules.pop(MODULE, None)


def train_them(tmp_path: Path) -> None:
    names = {"generator_class": f"{MODULE}:Generator", "critic_class": f"{MODULE}:Critic"}
    networks = CustomConfig(latent_dim=2, check_export=False, **names)
    run_tiny(replace(PRESETS["ring"], steps=40, batch_size=16, networks=networks), tmp_path / "run")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("KeyError", "raised KeyError: 'nope'"),
        ("sys.exit", "raised SystemExit('bye'), as sys.exit does"),
        ("os._exit", "called os._exit(0), which ends the process"),
        ("KeyboardInterrupt", "raised KeyboardInterrupt"),
        ("torch", "raised RuntimeError: inconsistent tensor size"),
        ("backward", "raised ValueError: not today"),
    ],
)
def test_a_failure_in_training_names_class_problem_and_line(
    how: str, said: str, tmp_path: Path, write: Callable[[str], None]
) -> None:
    write(how)
    leave = os._exit
    with pytest.raises(NetworkFailedError) as failure:
        train_them(tmp_path)
    message = str(failure.value)
    who = "networks.architecture custom" if how == "backward" else f"networks.generator-class {MODULE}:Generator"
    assert message.startswith(f"--{who}: ")
    assert said in message
    line = int(re.search(rf"\({MODULE}\.py, line (\d+)\)\. Correct the class\.$", message)[1])  # type: ignore[index]
    expected = {"torch": "torch.zeros(3)", "backward": "raise ValueError"}.get(how, how)
    assert expected in (tmp_path / f"{MODULE}.py").read_text().splitlines()[line - 1]
    assert os._exit is leave


@pytest.mark.parametrize("how", ["sys.exit(3)", "os._exit(4)"])
def test_a_module_that_ends_the_process_is_told(how: str, tmp_path: Path, write: Callable[[str], None]) -> None:
    write(f"import {how.partition('(')[0]}")
    with pytest.raises(ConfigError, match=rf"importing {MODULE} (raised SystemExit\(3\)|called os._exit\(4\))"):
        train_them(tmp_path)


def test_an_interruption_from_outside_passes() -> None:
    with pytest.raises(KeyboardInterrupt) as interruption, failures_told():
        signal.raise_signal(signal.SIGINT)
    assert not is_from_user(interruption.value)


def test_a_child_process_may_end_itself() -> None:
    with failures_told():
        child = os.fork()
        if child == 0:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
