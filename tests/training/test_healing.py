"""Test runs that fail and heal: what they change, that they are reproducible, and the other answers to a trouble."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ganserve_training import load_trained
from ganserve_training.config import AdamConfig, Anneal, DiagnosisConfig, OptimisersConfig, OutputConfig, TrainConfig
from ganserve_training.errors import ConfigChangedError, DivergedError, StoppedError
from ganserve_training.run.checkpoint import checkpoint_paths
from ganserve_training.run.healing import TroubleError
from ganserve_training.run.logs import read_log
from ganserve_training.run.run_folder import RunFolder
from ganserve_training.run.start_or_resume import RunResult
from tiny_runs import assert_same, tiny_config
from tiny_runs import newest_state as newest
from tiny_runs import run_tiny as run

STEPS = 130


def failing(**changes: Any) -> TrainConfig:
    """Return a run that makes no progress: its learning rate is far too low, which fails alike on every machine."""
    fields = {
        "steps": STEPS,
        "on_trouble": "heal",
        "diagnosis": DiagnosisConfig(every_steps=5, samples=64),
        "optimisers": OptimisersConfig.both(AdamConfig(learning_rate=Anneal.constant(1e-9))),
        "output": OutputConfig(log_every_steps=5, checkpoint_every_steps=10, samples_every_steps=20),
    }
    return tiny_config(**(fields | changes))


@pytest.fixture(scope="module")
def healed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult, str]:
    out, said = tmp_path_factory.mktemp("healed"), io.StringIO()
    return out, run(failing(), out, said=said), said.getvalue()


def test_a_run_that_fails_changes_its_configuration_and_goes_on(healed: tuple[Path, RunResult, str]) -> None:
    out, result, said = healed
    assert result.step == STEPS
    (cure,) = result.cures
    assert cure.kind == "no-progress"
    assert cure.changes["optimisers.critic.learning_rate.start"] == 0.003
    assert load_trained(out).config.optimisers.critic.learning_rate == Anneal.constant(0.003)
    lines = [line for line in said.splitlines() if line.startswith("healing: ")]
    assert len(lines) == 1
    assert lines[0].startswith(f"healing: no progress at step {cure.step}. Going on from ")
    assert "--optimisers.critic.learning-rate.start 0.003" in lines[0]
    assert f"; healed of no progress at step {cure.step}." in (out / "last_word.json").read_text()
    (record,) = map(json.loads, (out / "cures.jsonl").read_text().splitlines())
    assert record["changes"] == cure.changes


def test_the_logs_of_the_failed_try_are_kept(healed: tuple[Path, RunResult, str]) -> None:
    out, result, _ = healed
    failed = out / "attempts" / "1"
    assert read_log(failed / "observations.jsonl")[-1]["step"] == result.cures[0].step
    assert "no-progress" in [record["kind"] for record in read_log(failed / "diagnosis.jsonl")]
    steps = [record["step"] for record in read_log(out / "log.jsonl")]
    assert steps == sorted(set(steps))
    assert steps[-1] == STEPS
    pictures = [int(path.stem.removeprefix("step-")) for path in (failed / "samples").glob("*.png")]
    wanted = [step for step in range(20, result.cures[0].step, 20) if step > result.cures[0].back_to]
    assert sorted(pictures) == wanted
    assert [step for step, _ in RunFolder(out).pictures()] == [20, 40, 60, 80, 100, 120, STEPS]


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [60, 91, 140])
def test_an_interrupted_run_heals_bit_for_bit_alike(
    tmp_path: Path, healed: tuple[Path, RunResult, str], stop_at: int
) -> None:
    with pytest.raises(StoppedError):
        run(failing(), tmp_path, stop_after=stop_at)
    result = run(failing(), tmp_path)
    assert result.cures == healed[1].cures
    ours, theirs = newest(tmp_path), newest(healed[0])
    for part in ("generator", "critic", "ema", "generator_optimiser", "critic_optimiser", "rng", "cures"):
        assert_same(ours[part], theirs[part], part)


def test_the_same_command_continues_a_healed_run(tmp_path: Path, healed: tuple[Path, RunResult, str]) -> None:
    shutil.copytree(healed[0], tmp_path, dirs_exist_ok=True)
    longer = run(failing(steps=STEPS + 5), tmp_path)
    assert (longer.resumed_step, longer.step, len(longer.cures)) == (STEPS, STEPS + 5, 1)
    with pytest.raises(ConfigChangedError):
        run(failing(batch_size=32, steps=STEPS + 10), tmp_path)


def test_stop_ends_the_run_with_its_trouble(tmp_path: Path) -> None:
    with pytest.raises(TroubleError, match=r"no progress at step \d+"):
        run(failing(on_trouble="stop"), tmp_path)
    assert "Ends without progress since step" in (tmp_path / "last_word.json").read_text()
    assert checkpoint_paths(tmp_path / "checkpoints")


@pytest.mark.slow
def test_continue_only_reports_the_trouble(tmp_path: Path) -> None:
    result = run(failing(on_trouble="continue"), tmp_path)
    assert result.cures == ()
    assert not (tmp_path / "cures.jsonl").exists()
    assert "no-progress" in [record["kind"] for record in read_log(tmp_path / "diagnosis.jsonl")]


def test_a_run_whose_numbers_become_infinite_heals(tmp_path: Path) -> None:
    wild = OptimisersConfig.both(AdamConfig(learning_rate=Anneal.constant(1e9)))
    result = run(failing(steps=40, optimisers=wild), tmp_path)
    assert [cure.kind for cure in result.cures] == ["divergence"]
    with pytest.raises(DivergedError):
        run(failing(steps=40, optimisers=wild, on_trouble="continue"), tmp_path / "other")


@pytest.mark.slow
def test_a_healthy_run_is_as_without_healing(tmp_path: Path) -> None:
    calm = {"optimisers": OptimisersConfig.both(AdamConfig()), "steps": 60}
    for name in ("heal", "continue"):
        assert run(failing(**calm, on_trouble=name), tmp_path / name).cures == ()
    ours, theirs = newest(tmp_path / "heal"), newest(tmp_path / "continue")
    assert_same(ours["generator"], theirs["generator"])
