"""Test the diagnosis of whole runs: no effect on weights, interruptions, the best step, early stops."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ganserve_training import load_trained
from ganserve_training.commands.train import main
from ganserve_training.config import (
    Anneal,
    ConvolutionalConfig,
    DiagnosisConfig,
    DigitsConfig,
    OutputConfig,
    ProgressiveConfig,
    RegularisersConfig,
)
from ganserve_training.data import load_split
from ganserve_training.diagnosis import Finding, Observation
from ganserve_training.diagnosis import monitor as monitor_module
from ganserve_training.errors import CheckpointError, ConfigError, DivergedError, StoppedError
from ganserve_training.evaluation.quality import Quality
from ganserve_training.run.checkpoint import best_checkpoint_path, load_checkpoint
from ganserve_training.run.logs import read_log
from ganserve_training.run.run_folder import RunFolder
from ganserve_training.run.training_step import Trainer
from tiny_runs import TINY_FLAGS, assert_same, tiny_config
from tiny_runs import newest_state as newest
from tiny_runs import run_tiny as run

WATCHED = DiagnosisConfig(every_steps=2, samples=32)


def observations(out: Path) -> list[Observation]:
    return [Observation.from_dict(record) for record in read_log(RunFolder(out).observations)]


def findings(out: Path) -> list[Finding]:
    return [Finding(**record) for record in read_log(RunFolder(out).diagnosis)]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("watched")
    run(tiny_config(diagnosis=WATCHED), out)
    return out


def test_a_monitored_run_ends_bit_for_bit_like_one_without_a_monitor(tmp_path: Path, watched: Path) -> None:
    run(tiny_config(diagnosis=DiagnosisConfig(enabled=False)), tmp_path)
    ours, theirs = newest(watched), newest(tmp_path)
    for part in ("generator", "critic", "ema", "generator_optimiser", "critic_optimiser", "rng", "pending_measures"):
        assert_same(ours[part], theirs[part], part)
    assert [item.step for item in observations(watched)] == [2, 4, 6, 8, 10, 12]
    assert observations(tmp_path) == []
    assert best_checkpoint_path(tmp_path / "checkpoints") is None


@pytest.mark.parametrize("stops", [[1], [5, 1, 3], [8]])
def test_an_interrupted_run_has_the_same_observations(tmp_path: Path, watched: Path, stops: list[int]) -> None:
    for stop_after in stops:
        with pytest.raises(StoppedError):
            run(tiny_config(diagnosis=WATCHED), tmp_path, stop_after=stop_after)
    run(tiny_config(diagnosis=WATCHED), tmp_path)
    assert observations(tmp_path) == observations(watched)
    assert findings(tmp_path) == findings(watched)
    assert_same(newest(tmp_path), newest(watched))
    ours, theirs = best(tmp_path), best(watched)
    assert ours.name == theirs.name
    assert_same(load_checkpoint(ours).state, load_checkpoint(theirs).state)


def test_looks_after_the_last_checkpoint_are_repeated(tmp_path: Path, watched: Path) -> None:
    with pytest.raises(StoppedError):
        run(tiny_config(diagnosis=WATCHED), tmp_path, stop_after=5)
    folder = RunFolder(tmp_path)
    with folder.observations.open("a") as file:
        file.write(json.dumps({**observations(watched)[2].to_dict(), "real_score": 99.0}) + "\n")
    run(tiny_config(diagnosis=WATCHED), tmp_path)
    assert observations(tmp_path) == observations(watched)


def best(out: Path) -> Path:
    path = best_checkpoint_path(out / "checkpoints")
    assert path is not None
    return path


def test_the_best_checkpoint_is_kept_beside_the_others(watched: Path) -> None:
    seen = observations(watched)
    expected = min(seen, key=lambda item: item.quality or 0.0)
    checkpoint = load_checkpoint(best(watched))
    assert checkpoint.path.name == f"best-{expected.step:08d}.pt"
    assert checkpoint.state["quality"] == {
        "name": "sliced_wasserstein",
        "value": expected.quality,
        "higher_is_better": False,
    }
    assert not {"rng", "generator", "generator_optimiser", "critic_optimiser"} & set(checkpoint.state)
    assert sorted(path.name for path in best(watched).parent.glob("best-*")) == [
        checkpoint.path.name,
        f"{checkpoint.path.name}.sha256",
    ]
    model = load_trained(watched, "best")
    assert (model.step, model.checkpoint) == (expected.step, checkpoint.path)
    assert_same(dict(model.generator.state_dict()), dict(checkpoint.state["ema"]))
    assert load_trained(watched).step == load_trained(watched, "latest").step == 12


def test_missing_and_damaged_best_checkpoints_are_reported(tmp_path: Path) -> None:
    run(tiny_config(steps=4, diagnosis=replace(WATCHED, keep_best=False)), tmp_path)
    with pytest.raises(CheckpointError, match=r"keeps no best checkpoint, .*--diagnosis.keep-best"):
        load_trained(tmp_path, "best")
    run(tiny_config(steps=6, diagnosis=WATCHED), tmp_path)
    if (path := best_checkpoint_path(tmp_path / "checkpoints")) is not None:
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(CheckpointError, match=r"best-\d+.pt: is damaged"):
            load_trained(tmp_path, "best")
        assert load_trained(tmp_path).step == 6


def test_the_quality_before_training_is_known_at_any_step() -> None:
    config = tiny_config(seed=7, diagnosis=WATCHED)
    samples = load_split(config.data, "train")
    trainer = Trainer(config, samples)
    first = monitor_module._Observer(trainer, samples, print)
    before = first._measure_quality(*first._draw(trainer.ema.module))
    assert before is not None
    for _ in range(5):
        trainer.run_step()
    state = torch.get_rng_state()
    observer = monitor_module._Observer(trainer, samples, print)
    assert torch.equal(torch.get_rng_state(), state)
    assert observer.observe().untrained_quality == before.value
    assert observer.observe().quality != before.value


@pytest.fixture
def declining(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the real loop with scripted qualities, which improve until step 10 and then decline."""

    def measure(observer: Any, *_: Any) -> Quality:
        step = observer._trainer.step
        return Quality("sliced_wasserstein", 0.1 + abs(step - 10) * 0.05, higher_is_better=False)

    monkeypatch.setattr(monitor_module._Observer, "_measure_quality", measure)


@pytest.mark.usefixtures("declining")
def test_a_declining_run_stops_and_its_best_checkpoint_is_used(tmp_path: Path) -> None:
    config = tiny_config(
        steps=60,
        diagnosis=DiagnosisConfig(every_steps=1, samples=16, patience=4),
        output=OutputConfig(log_every_steps=10, checkpoint_every_steps=7, samples_every_steps=50),
    )
    said = io.StringIO()
    result = run(config, tmp_path, said=said)
    assert result.stopped
    assert best(tmp_path).name == "best-00000010.pt"
    (finding,) = (item for item in findings(tmp_path) if item.kind == "decline")
    # The median of three looks is best at step 11, 0.15; it exceeds 1.3 times that at step 13. The report comes at
    # the third look in a row, and patience ends at the fourth.
    assert (finding.step, result.step) == (15, 16)
    assert said.getvalue().count("decline at step") == 1
    assert "was 0.1 then" in said.getvalue()
    assert newest(tmp_path)["step"] == result.step
    assert (tmp_path / "samples" / f"step-{result.step:08d}.png").exists()
    assert load_trained(tmp_path).step == 10
    assert load_trained(tmp_path, "latest").step == result.step

    again = run(config, tmp_path)
    assert (again.step, again.resumed_step, again.stopped) == (result.step, result.step, True)
    on = replace(config, diagnosis=replace(config.diagnosis, patience=0), steps=result.step + 5)
    assert run(on, tmp_path).step == result.step + 5
    assert [item.kind for item in findings(tmp_path)].count("decline") == 1


@pytest.mark.usefixtures("declining")
def test_the_command_succeeds_when_a_run_stops_early(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["digits", "--out", str(tmp_path), *TINY_FLAGS, "--device", "cpu", "--steps", "60"]
    flags += ["--diagnosis.every-steps", "1", "--diagnosis.samples", "16", "--diagnosis.patience", "3"]
    for _ in range(2):
        assert main(flags) == 0
        assert "is finished: it stopped by itself at step 1" in capsys.readouterr().out


def test_a_growing_network_is_never_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quality gets worse from the first look on, but only fully grown networks can be the best."""
    monkeypatch.setattr(
        monitor_module._Observer,
        "_measure_quality",
        lambda observer, *_: Quality("sliced_wasserstein", 0.1 + observer._trainer.step / 10, higher_is_better=False),
    )
    config = tiny_config(
        networks=ProgressiveConfig(
            latent_dim=8,
            label_embedding_dim=4,
            generator_width=4,
            critic_width=4,
            fade_kimg=0.048,
            stable_kimg=0.032,
        ),
        diagnosis=DiagnosisConfig(every_steps=1, samples=16),
    )
    with pytest.raises(StoppedError):
        run(config, tmp_path, stop_after=5)  # Level 1 of 1 fades in.
    with pytest.raises(CheckpointError, match=r"every-steps after its networks were fully grown\. Use the latest"):
        load_trained(tmp_path, "best")
    run(config, tmp_path)
    # Two steps at level 0, fading from the third step, complete at the sixth.
    assert [item.growing for item in observations(tmp_path)] == [True] * 5 + [False] * 7
    assert best(tmp_path).name == "best-00000006.pt"
    load_trained(tmp_path, "best").generator.phase.check_grown()  # type: ignore[union-attr, operator]
    assert "decline" not in [item.kind for item in findings(tmp_path) if item.step <= 6 + 6]


def test_a_divergence_that_ends_a_run_is_recorded(tmp_path: Path) -> None:
    config = tiny_config(regularisers=RegularisersConfig(r1_gamma=Anneal.constant(1e45)), diagnosis=WATCHED)
    with pytest.raises(DivergedError):
        run(config, tmp_path)
    (finding,) = findings(tmp_path)
    assert (finding.kind, finding.message) == ("divergence", "r1 became inf at step 1.")


def test_options_of_the_diagnosis_may_change_on_resume(tmp_path: Path) -> None:
    run(tiny_config(steps=4, diagnosis=WATCHED), tmp_path)
    run(tiny_config(steps=9, diagnosis=DiagnosisConfig(every_steps=3, samples=16, quality="gan-test")), tmp_path)
    assert [(item.step, item.quality_name) for item in observations(tmp_path)] == [
        (2, "sliced_wasserstein"),
        (4, "sliced_wasserstein"),
        (6, "gan_test"),
        (9, "gan_test"),
    ]
    run(tiny_config(steps=10, diagnosis=DiagnosisConfig(enabled=False)), tmp_path)
    assert load_trained(tmp_path).step == 10


def test_the_best_step_is_chosen_by_the_newest_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([0.5, 0.03, 0.02, 0.5, 0.07, 0.09, 0.06])  # at the start of each part, the untrained generator's
    names = {"sliced-wasserstein": False, "gan-test": True}

    def measure(observer: Any, *_: Any) -> Quality:
        choice = observer._trainer.config.diagnosis.quality
        return Quality(choice, next(values), higher_is_better=names[choice])

    monkeypatch.setattr(monitor_module._Observer, "_measure_quality", measure)
    for steps, quality in ((2, "sliced-wasserstein"), (5, "gan-test")):
        run(tiny_config(steps=steps, diagnosis=DiagnosisConfig(every_steps=1, samples=16, quality=quality)), tmp_path)
    assert [item.quality for item in observations(tmp_path)] == [0.03, 0.02, 0.07, 0.09, 0.06]
    assert best(tmp_path).name == "best-00000004.pt"


@pytest.mark.parametrize(("quality", "why"), [("mode-coverage", "modes are known"), ("gan-test", "labelled data")])
def test_an_unsuitable_quality_metric_is_refused_before_writing(tmp_path: Path, quality: str, why: str) -> None:
    data = DigitsConfig(labels="ignore")
    networks = ConvolutionalConfig(latent_dim=8, generator_width=4, critic_width=4)
    watched = DiagnosisConfig(samples=16, quality=quality)
    config = tiny_config(steps=4, data=data, networks=networks, diagnosis=watched)
    with pytest.raises(ConfigError, match=why):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_tensorboard_gets_the_same_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = tiny_config(diagnosis=WATCHED, output=replace(tiny_config().output, tensorboard=True))
    with pytest.raises(StoppedError):
        run(config, tmp_path, stop_after=7)
    run(config, tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    records = {record["step"]: record for record in read_log(tmp_path / "log.jsonl")}
    losses = {event.step: event.value for event in events.Scalars("training/critic_loss")}
    assert losses == {step: pytest.approx(record["critic_loss"]) for step, record in records.items()}
    diversity = {event.step: event.value for event in events.Scalars("diagnosis/diversity")}
    assert diversity == {item.step: pytest.approx(item.diversity) for item in observations(tmp_path)}
    assert [event.step for event in events.Images("samples")] == [6, 12]
