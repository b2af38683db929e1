"""Test several real processes over gloo: curves, the writer, resuming with other numbers, and their end."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from ganserve_training import train
from ganserve_training.commands import train as train_command
from ganserve_training.config import (
    AdaConfig,
    Anneal,
    AugmentationConfig,
    DcganConfig,
    GradientPenalty,
    ModifiedMinimaxLoss,
    ProgressiveConfig,
    RegularisersConfig,
    ScheduleConfig,
    TrainConfig,
    WassersteinLoss,
)
from ganserve_training.config.serialisation import config_from_dict
from ganserve_training.errors import LostProcessError, StoppedError
from ganserve_training.run.checkpoint import checkpoint_paths, load_checkpoint
from ganserve_training.run.distributed import notice_lost_processes, running_statistics
from ganserve_training.run.logs import read_log
from process_group import do_together, train_job
from tiny_runs import TINY_FLAGS, tiny_config

DEADLINE_S = 240.0
OFF = Anneal.constant(0.0)
PLAIN: dict[str, Any] = {"augmentation": AugmentationConfig(), "loss": ModifiedMinimaxLoss()}
CONFIGS = {
    "modified-minimax-r1-r2": tiny_config(**PLAIN),
    "pairing": tiny_config(augmentation=AugmentationConfig()),
    "gradient-penalty": tiny_config(
        augmentation=AugmentationConfig(),
        loss=WassersteinLoss(),
        regularisers=RegularisersConfig(
            r1_gamma=OFF, r2_gamma=OFF, gradient_penalty=GradientPenalty(weight=10.0), drift=0.001
        ),
        schedule=ScheduleConfig(critic_steps=2, generator_steps=1),
    ),
    "parts": tiny_config(**PLAIN, accumulate_batches=2),
    "progressive": tiny_config(
        **PLAIN,
        networks=ProgressiveConfig(latent_dim=8, generator_width=4, critic_width=4, stable_kimg=0.064, fade_kimg=0.064),
    ),
}
ADA = tiny_config(
    augmentation=AugmentationConfig(
        translation_px=1,  # p stays near 0, so no sample is shifted
        ada=AdaConfig(target=0.6, kimg=1e6, every_steps=100),
    ),
    loss=ModifiedMinimaxLoss(),
)
STATISTICS = tiny_config(
    steps=2,
    networks=DcganConfig(latent_dim=8, generator_width=4, critic_width=4, minibatch_stddev_group=2),
)
# Rounding differs between processes, because sums have another order, and Adam turns rounding errors into steps where
# gradients vanish. Over these 12 steps the largest difference was 1.2e-6; without averaged gradients it was over 3e-2.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def together(runs: Path) -> dict[str, list[dict[str, Any]]]:
    """Run all jobs of these tests in one group of two processes."""
    plain = CONFIGS["modified-minimax-r1-r2"]
    train_alone(plain, runs / "one-then-two", stop_after=5)
    jobs = {name: train_job(config, runs / f"two-{name}") for name, config in CONFIGS.items()}
    jobs |= {
        "again": train_job(plain, runs / "two-modified-minimax-r1-r2"),
        "changed": train_job(tiny_config(**PLAIN, seed=7), runs / "two-modified-minimax-r1-r2"),
        "one-then-two": train_job(plain, runs / "one-then-two"),
        "two-stopped": train_job(plain, runs / "two-then-one", stop_after=5),
        "ada-stopped": train_job(ADA, runs / "two-ada", stop_after=6),
        "indivisible": train_job(tiny_config(**PLAIN, batch_size=15), runs / "two-indivisible"),
        "layers": {"function": "layers"},
        "players": {**train_job(STATISTICS, runs), "function": "players"},
    }
    return do_together(jobs, runs)


def train_alone(config: TrainConfig, out: Path, *, stop_after: int | None = None) -> str:
    """Train in this process and return its output."""
    said = io.StringIO()
    countdown = iter(range(stop_after or 10**9, -1, -1))
    try:
        train(
            config,
            out,
            device="cpu",
            console=Console(file=said, width=1000),
            stop_signal=lambda: signal.SIGTERM if next(countdown) == 1 else None,
        )
    except StoppedError:
        assert stop_after is not None
    return said.getvalue()


def assert_same_curves(ours: Path, theirs: Path, *, but: tuple[str, ...] = ()) -> None:
    """Compare the lines of both logs within TOLERANCE."""
    records = [read_log(out / "log.jsonl") for out in (ours, theirs)]
    assert [record["step"] for record in records[0]] == [3, 6, 9, 12]
    for one, other in zip(*records, strict=True):
        assert one.keys() == other.keys()
        assert one["samples_seen"] == other["samples_seen"]
        for name in one.keys() - {"samples_per_second", *but}:
            torch.testing.assert_close(
                torch.tensor(one[name]), torch.tensor(other[name]), **TOLERANCE, msg=lambda m, n=name: f"{n}: {m}"
            )


def newest(out: Path) -> dict[str, Any]:
    return load_checkpoint(checkpoint_paths(out / "checkpoints")[-1]).state


def newest_step(out: Path) -> int:
    paths = checkpoint_paths(out / "checkpoints")
    return int(paths[-1].stem.removeprefix("step-")) if paths else 0


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_two_processes_have_the_loss_curve_of_one(
    together: dict[str, list[dict[str, Any]]], runs: Path, name: str
) -> None:
    assert [each["step"] for each in together[name]] == [12, 12]
    train_alone(CONFIGS[name], runs / f"one-{name}")
    # Pairing uses only differences of scores, so rounding lets their common level drift.
    drifts = ("real_score", "fake_score") if name == "pairing" else ()
    assert_same_curves(runs / f"two-{name}", runs / f"one-{name}", but=drifts)


@pytest.mark.slow
def test_only_the_first_process_writes_and_prints(together: dict[str, list[dict[str, Any]]], runs: Path) -> None:
    out = runs / "two-modified-minimax-r1-r2"
    first, second = together["modified-minimax-r1-r2"]
    assert "step 12/12  critic loss" in first["said"]
    assert second["said"] == ""
    assert [path.name for path in checkpoint_paths(out / "checkpoints")] == ["step-00000008.pt", "step-00000012.pt"]
    assert sorted(path.name for path in (out / "samples").iterdir()) == ["step-00000006.png", "step-00000012.png"]
    assert [record["step"] for record in read_log(out / "log.jsonl")] == [3, 6, 9, 12]
    assert not list(out.rglob("*.tmp"))
    assert [(each["step"], each["resumed_step"]) for each in together["again"]] == [(12, 12)] * 2


@pytest.mark.slow
def test_two_processes_resume_a_run_of_one(together: dict[str, list[dict[str, Any]]], runs: Path) -> None:
    first, second = together["one-then-two"]
    assert [(each["step"], each["resumed_step"]) for each in (first, second)] == [(12, 5)] * 2
    assert "resuming from step 5" in first["said"]
    assert "note: processes was 1, now it is 2" in first["said"]
    train_alone(CONFIGS["modified-minimax-r1-r2"], runs / "one-straight")
    assert_same_curves(runs / "one-then-two", runs / "one-straight")


@pytest.mark.slow
def test_one_process_resumes_a_run_of_two(together: dict[str, list[dict[str, Any]]], runs: Path) -> None:
    """A signal to the second process stops both after a checkpoint."""
    assert [each["error"] for each in together["two-stopped"]] == ["StoppedError"] * 2
    assert newest_step(runs / "two-then-one") == 5
    said = train_alone(CONFIGS["modified-minimax-r1-r2"], runs / "two-then-one")
    assert "note: processes was 2, now it is 1" in said
    assert_same_curves(runs / "two-then-one", runs / "two-modified-minimax-r1-r2")


@pytest.mark.slow
def test_an_error_in_the_first_process_stops_the_others(together: dict[str, list[dict[str, Any]]]) -> None:
    first, second = together["changed"]
    assert first["error"] == "ConfigChangedError"
    assert "seed: 0 -> 7" in first["message"]
    assert second["error"] == "LostProcessError"


@pytest.mark.slow
def test_a_batch_that_cannot_be_divided_is_refused_in_each_process(together: dict[str, list[dict[str, Any]]]) -> None:
    for each in together["indivisible"]:
        assert each["error"] == "ConfigError"
        assert "--processes 2 x --networks.packing 1. Use 14 or 16" in each["message"]


@pytest.mark.slow
def test_running_statistics_are_means_over_the_shares(together: dict[str, list[dict[str, Any]]]) -> None:
    """Shares (0, 2) and (10, 14) have means 1 and 12 and unbiased variances 2 and 8; momentum 0.1 from 0 and 1.

    Each share is normalised to (-1, 1), whose deviation within a group of both is 1.
    """
    first, second = together["layers"]
    assert first == second
    assert first["0.running_mean"] == pytest.approx([0.1 * 6.5])
    assert first["0.running_var"] == pytest.approx([0.9 + 0.1 * 5.0])
    assert first["1.running_mean"] == pytest.approx(1.0, abs=1e-4)
    assert first["0.num_batches_tracked"] == first["1.batches"] == 1


def test_only_buffers_that_follow_the_batches_are_running_statistics() -> None:
    network = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 3))
    network.register_buffer("filter", torch.ones(3))
    assert [tuple(item.shape) for item in running_statistics(network)] == [(3,), (3,)]


def test_a_broken_connection_is_reported_without_gloos_details() -> None:
    """Shorten gloo's message for a killed process at the other end."""
    with pytest.raises(LostProcessError) as lost, notice_lost_processes():
        raise RuntimeError(
            "[/__w/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]:12496: Connection "
            "reset by peer. This is typically caused by a remote worker hanging or bugs in the application."
        )
    assert "can't be reached (Read error [127.0.0.1]:12496: Connection reset by peer). The same" in str(lost.value)


@pytest.mark.slow
def test_processes_hold_the_same_networks_bit_for_bit(together: dict[str, list[dict[str, Any]]]) -> None:
    first, second = together["players"]
    assert first["statistics"] > 2
    assert first == second


@pytest.mark.slow
def test_a_checkpoint_holds_the_augmentation_counts_of_all_processes(
    together: dict[str, list[dict[str, Any]]], runs: Path
) -> None:
    assert [each["error"] for each in together["ada-stopped"]] == ["StoppedError"] * 2
    train_alone(ADA, runs / "one-ada", stop_after=6)
    two, one = (newest(runs / name)["ada"] for name in ("two-ada", "one-ada"))
    assert two["samples"] == one["samples"] == 6 * 16
    assert len(two["signs"]) == 6
    torch.testing.assert_close(torch.stack(two["signs"]), torch.stack(one["signs"]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--processes", "3"], "--processes 3 x --networks.packing 1. Use 15 or 18"),
        (["--processes", "0"], "--processes 0: must be at least 1."),
    ],
)
def test_batches_that_cannot_be_divided_are_refused_before_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    command = ["digits", "--out", str(tmp_path / "run"), *TINY_FLAGS, "--device", "cpu", *arguments]
    assert train_command.main(command) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
    assert not (tmp_path / "run").exists()


@contextmanager
def supervised(out: Path) -> Iterator[tuple["subprocess.Popen[str]", dict[int, int]]]:
    """Run an endless `ganserve train --processes 2` until its first checkpoint; yield it and its pids by rank."""
    often = ("--output.checkpoint-every-steps", "7", "--output.log-every-steps", "5", "--steps", "1000000")
    command = [sys.executable, "-m", "ganserve_training.commands.train", "digits", "--out", str(out), *often]
    command += [*TINY_FLAGS, "--device", "cpu", "--processes", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    ranks: dict[int, int] = {}
    begun = newest_step(out)
    try:
        wait_for(lambda: newest_step(out) > begun or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        for pid in children_of(process.pid):
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            ranks[next(int(item[5:]) for item in environment if item.startswith(b"RANK="))] = pid
        assert sorted(ranks) == [0, 1]
        yield process, ranks
    finally:
        process.kill()
        process.communicate()
        for pid in filter(is_running, ranks.values()):
            os.kill(pid, signal.SIGKILL)


def children_of(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # The process has ended.
            continue
        if int(fields[1]) == parent:
            found.append(int(path.parent.name))
    return found


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_a_killed_process_ends_the_command_and_the_run_resumes(tmp_path: Path) -> None:
    """Kill one of two processes by SIGKILL."""
    with supervised(tmp_path) as (process, ranks):
        os.kill(ranks[1], signal.SIGKILL)
        _, errors = process.communicate(timeout=DEADLINE_S)
        killed_at = newest_step(tmp_path)
        assert process.returncode == 1
        (line,) = [line for line in errors.splitlines() if "error" in line]
        assert line == (
            f"ganserve train: error: process 2 of 2 (pid {ranks[1]}) was killed by SIGKILL, as the system does when "
            f"memory runs out; the others were stopped. The same command resumes from the checkpoint of step "
            f"{killed_at}, with 2 processes or any other number"
        )
        assert "Traceback" not in errors
        assert not any(map(is_running, ranks.values()))
        for path in checkpoint_paths(tmp_path / "checkpoints"):
            load_checkpoint(path)  # Each checkpoint is complete.
    config = newest(tmp_path)["config"]
    said = train_alone(config_from_dict(config | {"steps": killed_at + 3}), tmp_path)
    assert f"resuming from step {killed_at}" in said


@pytest.mark.slow
def test_signals_to_the_command_end_its_processes(tmp_path: Path) -> None:
    """Send a signal to the command, then SIGKILL; then resume with one process."""
    with supervised(tmp_path) as (process, ranks):
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=DEADLINE_S)
        stopped_at = newest_step(tmp_path)
        assert process.returncode == 128 + signal.SIGTERM
        assert errors.endswith(f"ganserve train: stopped at step {stopped_at}: the same command resumes from there\n")
        assert stopped_at > 0
        assert not any(map(is_running, ranks.values()))

    with supervised(tmp_path) as (process, ranks):
        process.kill()
        wait_for(lambda: not any(map(is_running, ranks.values())))
        orphaned_at = newest_step(tmp_path)
        assert orphaned_at > stopped_at

    config = newest(tmp_path)["config"]
    longer = config_from_dict(config | {"steps": orphaned_at + 3})
    said = train_alone(longer, tmp_path)
    assert f"resuming from step {orphaned_at}" in said
    assert newest_step(tmp_path) == orphaned_at + 3
