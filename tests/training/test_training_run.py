"""Test whole runs in this process: resuming, refusals, and every kind of end."""

import fcntl
import io
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from ganserve_training import config_to_dict, draw_samples, load_trained, train
from ganserve_training.config import (
    Anneal,
    AugmentationConfig,
    DigitsConfig,
    EmaConfig,
    MlpConfig,
    OutputConfig,
    RegularisersConfig,
    RingConfig,
    ScheduleConfig,
    TrainConfig,
)
from ganserve_training.config.serialisation import config_from_dict
from ganserve_training.errors import (
    CheckpointError,
    ConfigChangedError,
    ConfigError,
    DataError,
    DivergedError,
    RunLockedError,
    StoppedError,
)
from ganserve_training.run.checkpoint import checkpoint_paths, load_checkpoint
from ganserve_training.run.logs import read_log
from ganserve_training.run.run_folder import RunFolder
from tiny_runs import assert_same, tiny_config


def run(config: TrainConfig, out: Path, *, stop_after: int | None = None, said: io.StringIO | None = None) -> Any:
    """Train on the CPU; send a signal after `stop_after` steps of this call, if given."""
    countdown = iter(range(stop_after or 10**9, -1, -1))
    return train(
        config,
        out,
        device="cpu",
        console=Console(file=said or io.StringIO()),
        stop_signal=lambda: signal.SIGTERM if next(countdown) == 1 else None,
    )


def newest(out: Path) -> dict[str, Any]:
    return load_checkpoint(checkpoint_paths(out / "checkpoints")[-1]).state


def test_a_run_folder_holds_all_files(tmp_path: Path) -> None:
    out = tmp_path / "runs" / "digits"
    config = tiny_config()
    result = run(config, out)
    assert (result.step, result.resumed_step) == (12, 0)
    assert config_from_dict(json.loads((out / "config.json").read_text())) == config
    assert [path.name for path in checkpoint_paths(out / "checkpoints")] == ["step-00000008.pt", "step-00000012.pt"]
    assert sorted(path.name for path in (out / "samples").iterdir()) == ["step-00000006.png", "step-00000012.png"]
    with Image.open(out / "samples" / "step-00000012.png") as picture:
        assert picture.height == 10 * 50 + 2  # One row a label,
        assert 10 * 50 + 2 < picture.width < 10 * 50 + 60  # with its name and ten samples.
    records = read_log(out / "log.jsonl")
    assert [record["step"] for record in records] == [3, 6, 9, 12]
    assert set(records[0]) == {
        *("step", "samples_seen", "critic_loss", "generator_loss", "critic_accuracy", "real_score", "fake_score"),
        *("generator_gradient_norm", "r1", "r2", "samples_per_second"),
    }
    assert records[-1]["samples_seen"] == 12 * 16
    assert not list(out.rglob("*.tmp"))


def test_a_checkpoint_contains_everything(tmp_path: Path) -> None:
    run(tiny_config(), tmp_path)
    state = newest(tmp_path)
    assert set(state) == {
        *("format", "step", "samples_seen", "generator", "critic", "ema", "generator_optimiser", "critic_optimiser"),
        *(
            "level",
            "ada",
            "path_length",
            "rng",
            "pending_measures",
            "config",
            "data",
            "data_sha256",
            "environment",
            "diagnosis",
        ),
    }
    assert set(state["rng"]) == {"training", "torch", "cuda", "python", "numpy"}
    assert state["config"] == config_to_dict(tiny_config())


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted")
    run(tiny_config(), out)
    return out


@pytest.mark.parametrize("stops", [[1], [4], [5, 1, 3], [2] * 5, [11]])
def test_an_interrupted_run_ends_bit_for_bit_like_an_uninterrupted_one(
    tmp_path: Path, uninterrupted: Path, stops: list[int]
) -> None:
    for stop_after in stops:
        with pytest.raises(StoppedError) as stopped:
            run(tiny_config(), tmp_path, stop_after=stop_after)
        assert stopped.value.signal_number == signal.SIGTERM
        assert newest(tmp_path)["step"] == stopped.value.step
    said = io.StringIO()
    result = run(tiny_config(), tmp_path, said=said)
    assert result.resumed_step == sum(stops)
    assert f"resuming from step {sum(stops)}" in said.getvalue().replace("\n", "")
    assert_same(newest(tmp_path), newest(uninterrupted))
    for name in ("step-00000006.png", "step-00000012.png"):
        assert (tmp_path / "samples" / name).read_bytes() == (uninterrupted / "samples" / name).read_bytes()
    for ours, theirs in zip(read_log(tmp_path / "log.jsonl"), read_log(uninterrupted / "log.jsonl"), strict=True):
        del ours["samples_per_second"], theirs["samples_per_second"]
        assert ours == theirs


def test_a_run_without_its_newest_checkpoint_continues_from_the_one_before(tmp_path: Path, uninterrupted: Path) -> None:
    run(tiny_config(), tmp_path)
    newest_path = checkpoint_paths(tmp_path / "checkpoints")[-1]
    newest_path.write_bytes(newest_path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"step-00000012.pt: is damaged.*ganserve train"):
        load_trained(tmp_path)
    said = io.StringIO()
    assert run(tiny_config(), tmp_path, said=said).resumed_step == 8
    assert "step-00000012.pt: is damaged" in said.getvalue().replace("\n", "")
    assert_same(newest(tmp_path), newest(uninterrupted))
    assert [record["step"] for record in read_log(tmp_path / "log.jsonl")] == [3, 6, 9, 12]


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path, uninterrupted: Path) -> None:
    with pytest.raises(StoppedError):
        run(tiny_config(), tmp_path, stop_after=5)
    (tmp_path / "checkpoints" / "step-00000008.pt.tmp").write_bytes(b"half a checkpoint")
    (tmp_path / "checkpoints" / "step-00000008.pt.sha256").write_text("digest of what never came")
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "step-00000006.png.tmp").write_bytes(b"half a picture")
    (tmp_path / "config.json.tmp").write_text("{")
    run(tiny_config(), tmp_path)
    assert not list(tmp_path.rglob("*.tmp"))
    assert_same(newest(tmp_path), newest(uninterrupted))


def test_a_finished_run_does_nothing_but_can_be_extended(tmp_path: Path) -> None:
    run(tiny_config(), tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "checkpoints").iterdir()}
    result = run(tiny_config(), tmp_path)
    assert (result.step, result.resumed_step) == (12, 12)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "checkpoints").iterdir()} == before
    longer = tiny_config(steps=15)
    assert run(longer, tmp_path).resumed_step == 12
    straight = tmp_path / "straight"
    run(longer, straight)
    for part in ("generator", "critic", "ema", "generator_optimiser", "critic_optimiser", "rng"):
        assert_same(newest(tmp_path)[part], newest(straight)[part])


def test_the_frequency_of_output_does_not_change_the_weights(tmp_path: Path, uninterrupted: Path) -> None:
    output = OutputConfig(log_every_steps=5, checkpoint_every_steps=1, samples_every_steps=1, keep_checkpoints=1)
    run(tiny_config(output=output), tmp_path)
    for part in ("generator", "critic", "ema", "rng"):
        assert_same(newest(tmp_path)[part], newest(uninterrupted)[part])
    assert len(checkpoint_paths(tmp_path / "checkpoints")) == 1


def test_another_configuration_is_refused_with_the_difference(tmp_path: Path) -> None:
    run(tiny_config(steps=4), tmp_path)
    changed = tiny_config(steps=8, seed=5, ema=EmaConfig(half_life_kimg=0.2))
    with pytest.raises(ConfigChangedError, match=r"\n  --seed: 0 -> 5\n  --ema.half-life-kimg: 0.1 -> 0.2\n"):
        run(changed, tmp_path)
    (tmp_path / "config.json").unlink()  # The checkpoint also holds the configuration.
    with pytest.raises(ConfigChangedError, match="seed: 0 -> 5"):
        run(changed, tmp_path)
    with pytest.raises(
        ConfigChangedError, match=r"^--steps 3: .* is at step 4 already, and a run can't be made shorter"
    ):
        run(tiny_config(steps=3), tmp_path)
    assert newest(tmp_path)["step"] == 4


def test_a_broken_config_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"config.json: is not a ganserve configuration"):
        run(tiny_config(), tmp_path)


def test_other_data_are_refused(tmp_path: Path) -> None:
    run(tiny_config(steps=4), tmp_path)
    path = checkpoint_paths(tmp_path / "checkpoints")[-1]
    state = load_checkpoint(path).state
    from ganserve_training.run.checkpoint import save_checkpoint

    save_checkpoint(path.parent, {**state, "data_sha256": "0" * 64}, keep=3)
    with pytest.raises(DataError, match="the training data changed"):
        run(tiny_config(steps=8), tmp_path)


def test_a_changed_environment_is_reported(tmp_path: Path) -> None:
    run(tiny_config(steps=4), tmp_path)
    said = io.StringIO()
    train(tiny_config(steps=5), tmp_path, device="cpu", threads=2, console=Console(file=said))
    assert "note: threads was 1, now it is 2" in said.getvalue().replace("\n", " ")
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("every", [1, 4])
def test_divergence_stops_training_and_leaves_the_last_good_checkpoint(tmp_path: Path, every: int) -> None:
    """The weight of R1 grows along half a cosine until the penalty exceeds float32."""
    config = tiny_config(
        steps=200,
        regularisers=RegularisersConfig(r1_gamma=Anneal(start=1.0, end=1e41), r2_gamma=Anneal.constant(0.0)),
        schedule=ScheduleConfig(burn_in_steps=200),
        output=OutputConfig(log_every_steps=7, checkpoint_every_steps=every),
    )
    with pytest.raises(DivergedError) as diverged:
        run(config, tmp_path)
    message = str(diverged.value)
    path = checkpoint_paths(tmp_path / "checkpoints")[-1]
    step = int(message.split(" at step ")[1].split(";")[0])
    last = load_checkpoint(path).state
    assert message.startswith(f"r1 became inf at step {step}; training stopped, the last good checkpoint is ")
    assert step > 5
    assert str(path) in message
    assert "half the learning rates (--optimisers.generator.learning-rate.start 0.0" in message
    assert "ten times the penalties (--regularisers.r1-gamma.start 10 " in message
    assert "r2-gamma" not in message  # The average is off.
    assert step - every <= last["step"] < step
    for part in ("generator", "critic", "ema"):
        assert all(bool(tensor.isfinite().all()) for tensor in last[part].values())
    with pytest.raises(DivergedError) as again:
        run(config, tmp_path)
    assert f"at step {step};" in str(again.value)


def test_divergence_before_any_checkpoint_says_so(tmp_path: Path) -> None:
    config = tiny_config(regularisers=RegularisersConfig(r1_gamma=Anneal.constant(1e45)))
    with pytest.raises(DivergedError, match=r"^r1 became inf at step 1; training stopped, there was no checkpoint yet"):
        run(config, tmp_path)
    assert checkpoint_paths(tmp_path / "checkpoints") == []


def test_a_second_trainer_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with RunFolder(tmp_path).locked(), pytest.raises(RunLockedError, match=r"another process \(pid \d+\).*--out"):
        run(tiny_config(), tmp_path)
    assert run(tiny_config(), tmp_path).step == 12


def test_a_refused_run_writes_nothing(tmp_path: Path) -> None:
    refused = tiny_config(networks=replace(tiny_config().networks, packing=2))  # Packing needs unlabelled data.
    with pytest.raises(ConfigError):
        run(refused, tmp_path / "runs" / "new")
    assert list(tmp_path.iterdir()) == []
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    with pytest.raises(ConfigError):
        run(refused, theirs)
    assert list(tmp_path.rglob("*")) == [theirs]
    run(tiny_config(), theirs)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError):
        run(refused, theirs)
    assert sorted(tmp_path.rglob("*")) == before
    assert not (theirs / ".lock").exists()


def test_a_lock_file_removed_during_the_wait_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, lock = fcntl.flock, tmp_path / ".lock"
    stale = iter([True])

    def flock(file: Any, operation: int) -> None:
        if next(stale, False):
            lock.unlink()  # Like the ending process that held the lock.
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with RunFolder(tmp_path).locked():
        assert lock.read_text() == f"{os.getpid()}\n"


def test_unavailable_cuda_is_refused_with_a_message(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(ConfigError, match=r"--device cuda: torch .*\. Use --device cpu or auto\."):
        train(tiny_config(), tmp_path, device="cuda")
    with pytest.raises(ConfigError, match="--threads 0: must be at least 1"):
        train(tiny_config(), tmp_path, device="cpu", threads=0)


def test_a_trained_model_is_the_averaged_generator_and_the_critic(uninterrupted: Path) -> None:
    state = torch.get_rng_state()
    model = load_trained(uninterrupted)
    assert torch.equal(torch.get_rng_state(), state)
    saved = newest(uninterrupted)
    assert (model.step, model.samples_seen, model.prior.dim) == (12, 192, 8)
    assert model.config == tiny_config()
    assert model.data.label_names == tuple("0123456789")
    assert model.checkpoint == uninterrupted / "checkpoints" / "step-00000012.pt"
    assert model.checkpoint_sha256 == load_checkpoint(model.checkpoint).sha256
    assert model.metrics == {}
    assert not model.generator.training
    assert not model.critic.training
    assert_same(dict(model.generator.state_dict()), dict(saved["ema"]))
    assert_same(dict(model.critic.state_dict()), dict(saved["critic"]))
    images = model.generator(torch.randn(3, 8), torch.tensor([0, 5, 9]))
    assert images.shape == (3, 1, 8, 8)
    assert model.critic(images, torch.tensor([0, 5, 9])).shape == (3,)


def test_a_folder_without_a_run_says_how_to_train(tmp_path: Path) -> None:
    for name, preset in (("faces", "PRESET"), ("digits", "digits")):
        prefix = rf"/{name}: does not exist. Name a run's, or train first: `ganserve "
        with pytest.raises(CheckpointError, match=rf"{prefix}train {preset} --out \S+/{name}`.$"):
            load_trained(tmp_path / name)
    with pytest.raises(CheckpointError, match=r"holds no checkpoint\. Name a run's, or train first"):
        load_trained(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"has no checkpoint yet\. Wait for the first one, or repeat its"):
        load_trained(tmp_path)


def test_samples_depend_on_the_seed_not_on_the_count(uninterrupted: Path) -> None:
    model = load_trained(uninterrupted)
    labels = np.arange(300, dtype=np.int64) % 10
    many = draw_samples(model.generator, model.prior, model.data, labels, 300, seed=4)
    assert many.shape == (300, 8, 8, 1)
    assert many.dtype == np.uint8
    np.testing.assert_array_equal(many, draw_samples(model.generator, model.prior, model.data, labels, 300, seed=4))
    assert not np.array_equal(many, draw_samples(model.generator, model.prior, model.data, labels, 300, seed=5))


def test_a_run_on_vectors_draws_points(tmp_path: Path) -> None:
    config = tiny_config(
        steps=4,
        data=RingConfig(count=500),
        networks=MlpConfig(latent_dim=4, generator_width=8, critic_width=8),
        augmentation=AugmentationConfig(),
    )
    run(config, tmp_path)
    with Image.open(tmp_path / "samples" / "step-00000004.png") as picture:
        assert picture.size == (480, 480)
    model = load_trained(tmp_path)
    assert draw_samples(model.generator, model.prior, model.data, None, 5, seed=0).dtype == np.float32


def test_data_options_reach_the_run(tmp_path: Path) -> None:
    run(replace(tiny_config(steps=1), data=DigitsConfig(held_out_fraction=0.5, split_seed=3)), tmp_path)
    assert load_trained(tmp_path).config.data == DigitsConfig(held_out_fraction=0.5, split_seed=3)
