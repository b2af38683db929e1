"""Test the commands as real processes with real signals."""

import json
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from commands import ganserve
from ganserve_training.commands import evaluate as evaluate_command
from ganserve_training.commands import train as train_command
from ganserve_training.run.checkpoint import checkpoint_paths, load_checkpoint
from ganserve_training.run.run_folder import RunFolder
from ganserve_training.run.start_or_resume import train
from tiny_runs import TINY_FLAGS, assert_same

DEADLINE_S = 120.0


def command(name: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", f"ganserve_training.commands.{name}", *map(str, arguments)]


def train_arguments(out: Path, steps: int) -> list[object]:
    often = ["--output.checkpoint-every-steps", 7, "--output.log-every-steps", 5, "--output.samples-every-steps", 50]
    return ["digits", "--out", out, "--steps", steps, "--device", "cpu", *TINY_FLAGS, *often]


@contextmanager
def training(out: Path, steps: int) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command("train", *train_arguments(out, steps)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def newest_step(out: Path) -> int:
    paths = checkpoint_paths(out / "checkpoints")
    return int(paths[-1].stem.removeprefix("step-")) if paths else 0


@pytest.mark.slow
def test_a_repeatedly_killed_run_ends_bit_for_bit_like_an_uninterrupted_one(tmp_path: Path) -> None:
    """Send SIGKILL at random moments: while starting, between checkpoints, while writing one."""
    steps, out = 250, tmp_path / "killed"
    moments = random.Random(20)
    for more_steps in (None, 7, 21):
        with training(out, steps) as process:
            begun = newest_step(out)
            if more_steps is None:
                wait_for((out / "config.json").exists, process)
            else:
                wait_for(lambda: newest_step(out) >= begun + more_steps, process)  # noqa: B023 - called in this turn
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(moments.uniform(0.0, 0.04))
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
    assert 0 < newest_step(out) < steps
    killed_at = newest_step(out)
    final = ganserve("train", *train_arguments(out, steps))
    assert final.returncode == 0, final.stderr
    assert f"resuming from step {killed_at}\n" in final.stderr
    assert newest_step(out) == steps

    config = RunFolder(out).read_config()
    assert config is not None
    train(config, tmp_path / "straight", device="cpu")
    ends = [load_checkpoint(checkpoint_paths(run / "checkpoints")[-1]) for run in (out, tmp_path / "straight")]
    assert_same(ends[0].state, ends[1].state)


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
    ids=["SIGTERM", "SIGINT"],
)
def test_a_signal_leaves_a_checkpoint_and_a_run_is_locked(number: signal.Signals, status: int, tmp_path: Path) -> None:
    steps = 1_000_000
    with training(tmp_path, steps) as process:
        wait_for(lambda: newest_step(tmp_path) > 0, process)
        second = ganserve("train", *train_arguments(tmp_path, steps))
        assert second.returncode == 1
        assert f"is being trained by another process (pid {process.pid})" in second.stderr
        assert process.poll() is None
        process.send_signal(number)
        _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == status
    step = newest_step(tmp_path)
    assert f"ganserve train: stopped at step {step}: the same command resumes from there" in errors
    assert load_checkpoint(checkpoint_paths(tmp_path / "checkpoints")[-1]).state["step"] == step > 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "digits"
    result = ganserve("train", *train_arguments(out, 20))
    assert result.returncode == 0, result.stderr
    assert "finished: step 20" in result.stdout
    assert "step 5/20  critic loss" in result.stderr
    return out


def test_a_finished_run_says_so(finished: Path) -> None:
    result = ganserve("train", *train_arguments(finished, 20))
    assert (result.returncode, result.stdout) == (0, f"{finished} is finished: step 20 of 20\n")


def test_a_changed_configuration_is_a_usage_error_with_the_difference(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_command.main([*map(str, train_arguments(finished, 20)), "--seed", "1"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("ganserve train: error: ")
    assert "\n  --seed: 0 -> 1\n" in errors


def test_evaluate_explains_its_numbers(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only = ("--samples", "50", "--metrics", "gan-train-test", "precision-recall", "--features", "pixels")
    result = ganserve("evaluate", finished, *only)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == f"{finished}, step 20: 50 samples, 1,437 real ones"
    table = {line.split("  ")[0].strip(): line for line in lines}
    assert lines[1].startswith("  Poor: ")
    assert " / 0.994   " in table["GAN-test"]
    assert "poor" in table["GAN-train"]
    assert "poor" in table["recall"]
    assert "0.994" in table["judge's accuracy"]
    assert "FID" not in table
    assert {str(digit) for digit in range(10)} <= table.keys()
    assert lines[-1] == "features: pixels; resizing: none"
    assert evaluate_command.main([str(finished), *only, "--json"]) == 0
    as_json = json.loads(capsys.readouterr().out)
    assert as_json.pop("run") == str(finished)
    assert as_json == json.loads((finished / "metrics.json").read_text())
    assert f"{as_json['metrics']['gan_test']:.3f}" in table["GAN-test"]
    assert f"{as_json['metrics']['precision']:.3f}" in table["precision"]
    assert lines[1].strip() == as_json["summary"]
    assert as_json["beside_real"]["recall"]["verdict"] == as_json["verdict"] == "poor"


def test_evaluate_compares_models_side_by_side(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = finished.parent / "other"
    assert ganserve("train", *train_arguments(other, 20), "--seed", "5").returncode == 0
    monkeypatch.chdir(finished.parent)
    only = ("--samples", "50", "--metrics", "gan-train-test", "sliced-wasserstein")
    assert evaluate_command.main(["digits", "other", *only]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if " step 20: 50 samples" in line] == lines[0:3:2]
    (head,) = (line.split() for line in lines if line.strip().startswith("metric"))
    assert head == ["metric", "digits", "other"]
    table = {line.split("  ")[0].strip(): line for line in lines}
    assert table["GAN-train"].count("poor") == 2
    assert evaluate_command.main(["digits", "other", *only, "--json"]) == 0
    models = json.loads(capsys.readouterr().out)["models"]
    assert [model["run"] for model in models] == ["digits", "other"]
    for model in models:
        assert f"{model['metrics']['gan_test']:.3f}" in table["GAN-test"]
    assert evaluate_command.main(["digits", "nothing"]) == 2
    assert "MODEL nothing: no such folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "ganserve train: error: PRESET: missing. Give one of mnist"),
        (["nothing"], 2, "ganserve train: error: PRESET nothing: no such preset. Give one of mnist"),
        (["digits", "--steps", "0"], 2, "--steps 0: must be at least 1."),
        (["digits", "--ema.half-life-kimg", "-1"], 2, "--ema.half-life-kimg -1.0: must be 0 or more."),
        (["digits", "--no-such-flag"], 2, "--no-such-flag"),
    ],
)
def test_wrong_usage_is_explained(tmp_path: Path, arguments: list[str], status: int, message: str) -> None:
    result = ganserve("train", *arguments, folder=tmp_path)
    assert (result.returncode, "Traceback" in result.stderr) == (status, False)
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_lists_presets_and_options() -> None:
    assert "digits" in ganserve("train", "--help").stdout
    options = ganserve("train", "digits", "--help").stdout
    for flag in ("--out", "--steps", "--seed", "--device", "--help ema"):
        assert flag in options
    options = ganserve("train", "digits", "--help-all").stdout
    for flag in ("--out", "--steps", "--seed", "--device", "--regularisers.r1-gamma.start", "--ema.half-life-kimg"):
        assert flag in options


def test_evaluating_a_missing_run_is_a_one_line_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate_command.main([str(tmp_path)]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith(f"ganserve evaluate: error: {tmp_path}: holds no checkpoint. Name a run's, or train first")
    assert errors.count("\n") == 1
    assert evaluate_command.main([str(tmp_path / "missing")]) == 2


@pytest.fixture
def _small_files() -> Iterator[None]:
    """Limit files to 24 KiB, less than a checkpoint needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (24 * 1024, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_stops_training_and_leaves_the_earlier_checkpoints(
    finished: Path, request: pytest.FixtureRequest
) -> None:
    before = {path: path.read_bytes() for path in (finished / "checkpoints").iterdir()}
    request.getfixturevalue("_small_files")
    result = ganserve("train", *train_arguments(finished, 30))
    assert result.returncode == 1
    assert "step-00000021.pt: can't be written" in result.stderr
    assert "Free some space" in result.stderr
    assert "Traceback" not in result.stderr
    assert {path: path.read_bytes() for path in checkpoint_paths(finished / "checkpoints")} == {
        path: content for path, content in before.items() if path.suffix == ".pt"
    }


def test_an_output_that_is_a_file_is_a_one_line_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert train_command.main(["digits", "--out", str(tmp_path / "file")]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("ganserve train: error: ")
    assert errors.count("\n") == 1


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, ganserve_training; assert 'torch' not in sys.modules and 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=DEADLINE_S)
