"""Test that a batch which can't fit into memory is refused before memory is taken, with what fits."""

import re
import resource
from pathlib import Path

import pytest
import torch
from rich.console import Console

from commands import ganserve
from ganserve_training import PRESETS
from ganserve_training.config import TrainConfig
from ganserve_training.data import load_split
from ganserve_training.errors import ConfigError
from ganserve_training.free_memory import free_bytes
from ganserve_training.networks import build_networks
from ganserve_training.run import memory
from ganserve_training.run.memory import bytes_of_sample
from ganserve_training.run.start_or_resume import train
from tiny_runs import tiny_config

CPU = torch.device("cpu")


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("preset", ["digits", "ring", "dcgan-32", "progressive-32"])
def test_an_absurd_batch_is_refused_at_once_with_one_that_fits(tmp_path: Path, preset: str) -> None:
    ganserve("train", preset, "--out", tmp_path / "run", "--steps", 0)  # Imports, which take memory of their own.
    before = peak_kib()
    done = ganserve("train", preset, "--out", tmp_path / "run", "--device", "cpu", "--batch-size", 4_000_000_000)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    found = re.search(
        r"4000000000: a step needs more than [\d,.]+ GB of memory, and [\d,.]+ GB are free\. "
        r"Use (\d+) or less",
        done.stderr,
    )
    assert found, done.stderr
    assert peak_kib() - before < 500_000
    assert 1 <= int(found[1]) < 4_000_000_000


def test_the_batch_that_is_said_to_fit_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2_000_000)
    config = tiny_config(batch_size=65_536, steps=1)
    with pytest.raises(ConfigError) as caught:
        train(config, tmp_path / "run", device="cpu", console=Console(quiet=True))
    found = re.search(r"Use (\d+) or less, or --accumulate-batches (\d+)\.", str(caught.value))
    assert found, caught.value
    train(tiny_config(batch_size=int(found[1]), steps=1), tmp_path / "one", device="cpu", console=Console(quiet=True))
    parts = tiny_config(batch_size=65_536, accumulate_batches=int(found[2]), steps=1)
    assert parts.batch_size % parts.accumulate_batches == 0


@pytest.mark.parametrize("preset", sorted(set(PRESETS) - {"stylegan2-256"}))
def test_presets_are_never_refused_where_a_gigabyte_is_free(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config: TrainConfig = PRESETS[preset]
    info = load_split(config.data, "train").info
    sample = bytes_of_sample(config, build_networks(config.networks, info), info, CPU)
    assert 0 < sample * config.batch_size < 1e9


def test_free_memory_is_known_here() -> None:
    free = free_bytes(CPU)
    assert free is not None
    assert 0 < free < 2**50


def test_memory_that_runs_out_in_a_step_is_one_line() -> None:
    with (
        pytest.raises(ConfigError, match=r"--batch-size 16: a step needs more memory than there is\. Use less"),
        memory.out_of_memory_told(tiny_config()),
    ):
        torch.empty(2**60)
    with pytest.raises(RuntimeError, match="shape"), memory.out_of_memory_told(tiny_config()):
        torch.zeros(2) @ torch.zeros(3, 3)


@pytest.mark.parametrize(
    "words",
    [
        ("ring", "--data.count", 400_000_000_000_000),
        ("stacked-digits", "--data.count", 4_000_000_000_000),
        ("digits", "--networks.generator-width", 3_000_000, "--networks.max-width", 3_000_000),
    ],
)
def test_other_absurd_sizes_are_refused_at_once(tmp_path: Path, words: tuple[object, ...]) -> None:
    preset, *options = words
    done = ganserve("train", preset, "--out", tmp_path / "run", "--device", "cpu", *options)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert re.search(
        rf"{options[0]} {options[1]}: .* need.* more than [\d,.]+ GB of memory.* are free\. Use ", done.stderr
    )
