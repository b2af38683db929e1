"""Test each diagnosis on a real run that is set up to fail in just that way, and no finding on healthy runs.

benchmarks/diagnosis/README.md shows the result of each run. All are small, seeded, and take a few seconds of one core.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ganserve_training.config import (
    AdamConfig,
    Anneal,
    ConvolutionalConfig,
    DiagnosisConfig,
    DigitsConfig,
    EmaConfig,
    GridConfig,
    MlpConfig,
    OptimisersConfig,
    RegularisersConfig,
    RingConfig,
    ScheduleConfig,
    TrainConfig,
)
from ganserve_training.data import load_split
from ganserve_training.diagnosis import Kind
from ganserve_training.diagnosis.monitor import Monitor
from ganserve_training.objectives.losses import LOSSES
from ganserve_training.run.devices import cpu_threads
from ganserve_training.run.run_folder import RunFolder
from ganserve_training.run.training_step import Trainer

RING = RingConfig(count=4000)
DIGITS = DigitsConfig()
MLP = MlpConfig(latent_dim=8, generator_width=64, critic_width=64)
CONVOLUTIONAL = ConvolutionalConfig(latent_dim=16, generator_width=8, critic_width=8)


def constant(value: float) -> Anneal:
    return Anneal.constant(value)


def setting(
    loss: str, *, steps: int, every: int, rates: tuple[float, float], gamma: Anneal | None = None, **changes: Any
) -> TrainConfig:
    """Configure the MLP on the ring; `rates` are the generator's and the critic's learning rates."""
    gamma = gamma or constant(0.0)
    beta1 = changes.pop("beta1", 0.0)
    generator, critic = (AdamConfig(learning_rate=constant(rate), beta1=beta1) for rate in rates)
    fields = {
        "steps": steps,
        "data": RING,
        "networks": MLP,
        "loss": LOSSES[loss](),
        "regularisers": RegularisersConfig(r1_gamma=gamma, r2_gamma=gamma),
        "optimisers": OptimisersConfig(generator=generator, critic=critic),
        "ema": EmaConfig(half_life_kimg=1.0),
        "diagnosis": DiagnosisConfig(every_steps=every),
    }
    return TrainConfig(**(fields | changes))


FAILING: dict[str, TrainConfig] = {
    # The saturating loss, and a discriminator with three updates per step and 20 times the learning rate.
    "vanishing-gradients": setting(
        "minimax",
        steps=200,
        every=20,
        rates=(1e-4, 2e-3),
        data=DIGITS,
        networks=CONVOLUTIONAL,
        schedule=ScheduleConfig(critic_steps=3),
    ),
    # A generator with a tiny learning rate, and a critic that learns well.
    "no-progress": setting(
        "relativistic-pairing",
        steps=260,
        every=20,
        rates=(1e-7, 3e-3),
        gamma=constant(0.3),
        data=DIGITS,
        networks=CONVOLUTIONAL,
    ),
    # A plain GAN on the grid with five generator updates per discriminator update.
    "mode-collapse": setting(
        "modified-minimax",
        steps=700,
        every=60,
        rates=(1e-3, 1e-3),
        beta1=0.5,
        data=GridConfig(count=4000),
        schedule=ScheduleConfig(generator_steps=5),
    ),
    # The generator learns ten times as fast as the discriminator, so it jumps from mode to mode.
    "oscillation": setting("modified-minimax", steps=1400, every=100, rates=(1e-3, 1e-4), beta1=0.5),
    # 50 training images, and no penalty on the discriminator.
    "critic-overfitting": setting(
        "modified-minimax",
        steps=600,
        every=60,
        rates=(1e-4, 1e-3),
        data=replace(DIGITS, held_out_fraction=0.972),
        networks=replace(CONVOLUTIONAL, critic_width=16),
    ),
    # A Wasserstein critic that is not Lipschitz: the weights never reach their bound.
    "divergence": setting(
        "wasserstein",
        steps=800,
        every=50,
        rates=(1e-3, 1e-3),
        schedule=ScheduleConfig(critic_steps=3),
        regularisers=RegularisersConfig(r1_gamma=constant(0.0), r2_gamma=constant(0.0), weight_clip=1e9),
    ),
    # Penalties that fade to 0 in the first half, with a learning rate too high without them.
    "decline": setting(
        "relativistic-pairing",
        steps=2000,
        every=60,
        rates=(5e-3, 5e-3),
        gamma=Anneal(start=0.1, end=0.0),
        schedule=ScheduleConfig(burn_in_steps=1000),
        diagnosis=DiagnosisConfig(every_steps=60, quality="sliced-wasserstein"),
    ),
}

HEALTHY: dict[str, tuple[TrainConfig, set[Kind]]] = {
    "ring": (setting("relativistic-pairing", steps=1500, every=50, rates=(1e-3, 1e-3), gamma=constant(0.1)), set()),
    "digits": (
        setting(
            "relativistic-pairing",
            steps=600,
            every=50,
            rates=(3e-3, 3e-3),
            gamma=constant(0.3),
            data=DIGITS,
            networks=CONVOLUTIONAL,
        ),
        {"convergence"},
    ),
}


def findings(config: TrainConfig, folder: Path) -> list[Kind]:
    """Return the kinds of findings of a run, in order."""
    with cpu_threads(1):
        samples = load_split(config.data, "train")
        trainer = Trainer(config, samples)
        monitor = Monitor(trainer, samples, RunFolder(folder), lambda _: None)
        kinds: list[Kind] = []
        while trainer.step < config.steps:
            trainer.run_step()
            if trainer.step % config.diagnosis.every_steps == 0:
                look = monitor.look()
                assert look is not None
                kinds += [finding.kind for finding in look.findings if not finding.over]
        monitor.close()
        trainer.close()
    return kinds


BESIDE = {"low-precision", "low-recall", "ignored-labels", "winning-critic"}
"""Findings that are true of other failing runs, too."""


# In quick runs test_diagnosis_rules.py tests all rules.
@pytest.mark.slow
@pytest.mark.parametrize("kind", FAILING)
def test_a_run_set_up_to_fail_gets_its_finding(kind: Kind, tmp_path: Path) -> None:
    kinds = findings(FAILING[kind], tmp_path)
    assert kind in kinds
    if kind not in ("mode-collapse", "oscillation"):  # A generator that jumps between modes gets both findings.
        assert set(kinds) <= {kind, "convergence"} | BESIDE
    assert len(kinds) == len(set(kinds))


@pytest.mark.slow
@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_gets_no_finding(name: str, tmp_path: Path) -> None:
    config, expected = HEALTHY[name]
    assert set(findings(config, tmp_path)) - {"low-precision"} == expected  # The ring's spots are narrow at first.


def test_a_short_healthy_run_gets_no_finding(tmp_path: Path) -> None:
    config, _ = HEALTHY["ring"]
    found = findings(replace(config, steps=400, diagnosis=DiagnosisConfig(every_steps=25)), tmp_path)
    assert set(found) <= {"low-precision"}  # So early, few samples lie on the narrow spots.
