"""Test that a preset's values follow other data, that given ones stay, and that a resumed run keeps its own."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ganserve_training import Fit, fit_to_data, train
from ganserve_training.commands.train import main
from ganserve_training.config import (
    Anneal,
    ArrayConfig,
    HingeLoss,
    MnistConfig,
    OptimisersConfig,
    SgdConfig,
    TrainConfig,
    data_rules,
)
from ganserve_training.config.serialisation import config_to_dict, flat_config
from ganserve_training.data import DataInfo
from ganserve_training.data.extremes import extreme_share
from ganserve_training.networks import build_networks
from ganserve_training.presets import PRESETS
from preset_data import fewer, training_samples

DIGITS = PRESETS["digits"]
LABELS = tuple("0123456789")
MANY = 4000


def images(side: int, channels: int = 1, labels: tuple[str, ...] = LABELS) -> DataInfo:
    return DataInfo(sample_shape=(side, side, channels), label_names=labels)


def vectors(values: int) -> DataInfo:
    return DataInfo(sample_shape=(values,), mean=(0.0,) * values, std=(1.0,) * values)


def changed(name: str, data: DataInfo, samples: int = MANY, **options: Any) -> dict[str, Any]:
    """Return what changes in a preset with these options, on these data."""
    return fit_to_data(replace(PRESETS[name], **options), data, samples, preset=PRESETS[name]).values


@pytest.mark.parametrize("name", PRESETS)
def test_a_presets_own_numbers_are_those_of_the_rules(name: str) -> None:
    samples = training_samples(fewer(PRESETS[name].data, MANY))
    count = max(len(samples), data_rules.FEW_SAMPLES)
    fitted = fit_to_data(PRESETS[name], samples.info, count, extremes=extreme_share(samples))
    assert (fitted.values, fitted.lines) == ({}, ())
    assert fitted.config == PRESETS[name]


@pytest.mark.parametrize(
    ("side", "batch", "gamma", "rate"),
    [(8, 64, 0.3, 3e-3), (16, 64, 0.8, 1e-3), (32, 64, 3.0, 1e-3), (32, 32, 6, 1e-3)],
)
def test_penalties_and_rates_follow_the_pixels(side: int, batch: int, gamma: float, rate: float) -> None:
    fitted = fit_to_data(replace(DIGITS, batch_size=batch), images(side), MANY, preset=DIGITS).config
    assert fitted.regularisers.r1_gamma == fitted.regularisers.r2_gamma == Anneal.constant(gamma)
    for player in (fitted.optimisers.generator, fitted.optimisers.critic):
        assert (player.learning_rate.start, player.learning_rate.end) == pytest.approx((rate, rate / 10))


def test_a_line_says_what_followed_and_why() -> None:
    fitted = fit_to_data(DIGITS, images(32), MANY)
    assert fitted.lines == (
        "regularisers: R1 and R2 gamma 3 instead of 0.3, for 32 x 32 pixels and batches of 64",
        "optimisers: learning rates 0.001 to 0.0001 instead of 0.003 to 0.0003, for 32 x 32 pixels",
    )


def test_annealed_penalties_keep_their_fall() -> None:
    values = changed("r3gan-32", images(64, 3))
    assert (values["regularisers.r1_gamma.start"], values["regularisers.r1_gamma.end"]) == (4.0, 0.4)
    assert not any("learning_rate" in path for path in values)  # Measured for plain convolutions only.
    # A quarter of the pixels of the preset's 32 x 32, and four times its batch of 16: 10 / 4 / 4.
    assert changed("r3gan", images(16), batch_size=64)["regularisers.r1_gamma.start"] == 0.6
    assert changed("mnist", images(64, 3)) == {
        f"regularisers.{name}.{end}": 40.0 for name in ("r1_gamma", "r2_gamma") for end in ("start", "end")
    }


def test_recipes_for_which_a_rule_was_not_measured_keep_their_numbers() -> None:
    sgd = OptimisersConfig.both(SgdConfig())
    for config in (replace(DIGITS, loss=HingeLoss()), PRESETS["wgan-gp-32"], PRESETS["wgan-32"], PRESETS["sngan-32"]):
        assert fit_to_data(config, images(16), MANY).values == {}
    assert not any("optimisers" in path for path in changed("digits", images(16), optimisers=sgd))


def test_a_given_value_stays() -> None:
    given = {"regularisers.r1_gamma.start", "optimisers.critic.learning_rate.end"}
    fitted = fit_to_data(DIGITS, images(32), MANY, given=given).config
    assert fitted.regularisers.r1_gamma == Anneal(start=0.3, end=3.0)
    assert fitted.optimisers.critic.learning_rate == Anneal(start=1e-3, end=3e-4)
    own = replace(DIGITS, steps=100, batch_size=32)
    values = fit_to_data(own, images(8), MANY, preset=DIGITS).values
    assert not {"steps", "schedule.burn_in_steps", "ema.half_life_kimg"} & set(values)


def test_smaller_batches_take_more_steps_and_larger_ones_average_more_samples() -> None:
    values = changed("digits", images(8), batch_size=32)
    assert (values["steps"], values["schedule.burn_in_steps"]) == (8000, 7000)
    assert "ema.half_life_kimg" not in values  # As many samples are shown.
    assert changed("digits", images(8), batch_size=128) == {"ema.half_life_kimg": 20.0}


def test_networks_that_grow_get_levels_and_time() -> None:
    values = changed("progressive-32", images(64, 3))
    assert values["networks.batch_sizes"] == (64, 64, 32, 32, 32)
    assert values["networks.max_width"] == 128
    assert values["steps"] > PRESETS["progressive-32"].steps
    assert changed("progressive-32", images(16, 3)) == {"networks.batch_sizes": (64, 64, 32)}
    networks = replace(PRESETS["progressive-32"].networks, batch_sizes=())  # As the command does with --batch-size.
    assert changed("progressive-32", images(32, 3), batch_size=18, networks=networks)["steps"] == 4602


def test_groups_divide_the_batch() -> None:
    networks = replace(DIGITS.networks, minibatch_stddev_group=4)
    for batch, group in ((30, 3), (32, None), (31, 0)):
        config = replace(DIGITS, networks=networks, batch_size=batch)
        values = fit_to_data(config, images(8), MANY).values
        assert values.get("networks.minibatch_stddev_group") == group


def test_few_images_are_shifted() -> None:
    assert changed("digits", images(8), 300) == {"augmentation.translation_px": 1}
    assert changed("wgan-gp-32", images(32), 999) == {"augmentation.translation_px": 4}
    assert changed("ring", vectors(2), 300) == {}
    shifted = replace(DIGITS.augmentation, brightness=0.5)
    assert changed("digits", images(8), 300, augmentation=shifted) == {}


@pytest.mark.parametrize("name", ["progressive-32", "r3gan-32"])
def test_pictures_of_black_and_white_get_bounds(name: str) -> None:
    digits = training_samples(MnistConfig())
    share = extreme_share(digits)
    assert extreme_share(training_samples(PRESETS[name].data)) < 0.1 < 0.8 < share
    fitted = fit_to_data(PRESETS[name], digits.info, MANY, extremes=share)
    assert fitted.config.networks.output_activation == "tanh"
    why = "tanh instead of none, for pictures of which 86% is exactly black or white"
    assert f"networks: output activation {why}" in fitted.lines
    kept = fit_to_data(PRESETS[name], digits.info, MANY, given={"networks.output_activation"}, extremes=1.0)
    assert kept.config.networks.output_activation == "none"
    styles = fit_to_data(PRESETS["stylegan2-256"], digits.info, MANY, extremes=share)
    assert styles.config.networks.output_activation == "tanh"


def test_latents_have_as_many_values_as_vectors() -> None:
    assert changed("ring", vectors(10)) == {"networks.latent_dim": 10}
    assert changed("ring", vectors(500)) == {"networks.latent_dim": 64}


@pytest.mark.parametrize("name", ["digits", "digits-acgan", "sngan-32", "digits-infogan"])
def test_data_without_labels_make_a_model_without_labels(name: str) -> None:
    fitted = fit_to_data(PRESETS[name], images(16, labels=()), MANY).config
    pair = build_networks(fitted.networks, images(16, labels=()))
    assert not pair.critic_uses_labels


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "pictures.npz"
    np.savez(path, images=rng.integers(0, 256, (80, 16, 16, 1), np.uint8), labels=np.arange(80) % 2)
    return path


SMALL = ("--networks.generator-width", "4", "--networks.critic-width", "4", "--batch-size", "8", "--threads", "1")


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    state: dict[str, Any] = torch.load(run / "checkpoints" / f"step-{step:08}.pt", weights_only=True)
    return {**state["generator"], **state["critic"]}


def test_a_run_on_other_data_writes_its_numbers_and_resumes_with_them(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    command = ("digits", "--data", str(pictures), *SMALL, "--optimisers.critic.learning-rate.start", "3e-3")
    assert main([*command, "--out", str(whole), "--steps", "4"]) == 0
    lines = " ".join(capsys.readouterr().err.split())
    assert "regularisers: R1 and R2 gamma 6 instead of 0.3, for 16 x 16 pixels and batches of 8" in lines
    assert "augmentation: shifts of up to 2 pixels instead of none, for 64 samples" in lines
    config = json.loads((whole / "config.json").read_text(encoding="utf-8"))
    assert config["regularisers"]["r1_gamma"] == {"start": 6.0, "end": 6.0}
    assert config["optimisers"]["generator"]["learning_rate"] == {"start": 1e-3, "end": 1e-4}
    assert config["optimisers"]["critic"]["learning_rate"]["start"] == 3e-3  # It was given.

    assert main([*command, "--out", str(parts), "--steps", "2"]) == 0
    monkeypatch.setattr(data_rules, "penalty_gamma", lambda *_: 77.0)  # The rules of a later version.
    capsys.readouterr()
    assert main([*command, "--out", str(parts), "--steps", "4"]) == 0
    assert "instead of" not in capsys.readouterr().err
    for name, value in weights(whole, 4).items():
        assert torch.equal(value, weights(parts, 4)[name]), name
    assert main([*command, "--out", str(parts), "--steps", "5", "--regularisers.r1-gamma.start", "9"]) == 2
    assert "--regularisers.r1-gamma.start: 6.0 -> 9.0" in capsys.readouterr().err


def test_a_run_from_before_the_rules_goes_on_as_it_was(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    networks = replace(DIGITS.networks, generator_width=4, critic_width=4)
    data = ArrayConfig(path=str(pictures))
    old = replace(DIGITS, data=data, networks=networks, batch_size=8, steps=2)
    train(old, out)
    assert main(["digits", "--data", str(pictures), *SMALL, "--out", str(out), "--steps", "3"]) == 0
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert config == json.loads(json.dumps(config_to_dict(replace(old, steps=3))))


def test_steps_that_follow_the_data_are_the_runs(pictures: Path, tmp_path: Path) -> None:
    preset = TrainConfig(
        steps=2,
        networks=replace(DIGITS.networks, generator_width=4, critic_width=4),
        data=ArrayConfig(path=str(pictures)),
        batch_size=16,
    )
    fit = Fit(preset=preset, given=frozenset({"batch_size"}))
    result = train(replace(preset, batch_size=8), tmp_path / "run", fit=fit)
    assert (result.step, result.steps) == (4, 4)
    again = train(replace(preset, batch_size=8), tmp_path / "run", fit=fit)
    assert (again.step, again.resumed_step, again.steps) == (4, 4, 4)


def test_other_options_leave_a_preset_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(["digits", "--out", str(out), "--steps", "1", "--threads", "1"]) == 0
    assert "instead of" not in capsys.readouterr().err
    assert not (out / "fitted.json").exists()
    config = flat_config(replace(DIGITS, steps=1))
    assert config["regularisers.r1_gamma.start"] == 0.3
    assert json.loads((out / "config.json").read_text(encoding="utf-8"))["regularisers"]["r1_gamma"]["start"] == 0.3
