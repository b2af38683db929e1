"""Define the rows of the tables: each method is a configuration that `ganserve train` can run too."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ganserve_training import PRESETS
from ganserve_training.config import (
    AdamConfig,
    Anneal,
    AugmentationConfig,
    DcganConfig,
    EmaConfig,
    GradientPenalty,
    MlpConfig,
    ModifiedMinimaxLoss,
    OptimisersConfig,
    OutputConfig,
    RegularisersConfig,
    RmspropConfig,
    ScheduleConfig,
    TrainConfig,
    WassersteinLoss,
)
from ganserve_training.config.choices import converted
from ganserve_training.data.config import SOURCES
from ganserve_training.data.sources.gaussians import GRID_SIGMA, RING_SIGMA, grid_centres, ring_centres
from ganserve_training.objectives.losses import LOSSES

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


OFF = RegularisersConfig.none()
RARELY = 1_000_000
QUIET = OutputConfig(log_every_steps=500, checkpoint_every_steps=RARELY, samples_every_steps=RARELY, keep_checkpoints=1)
TOYS = ("ring", "grid")
POINTS = 2500
FALLING = Anneal(start=1e-3, end=2e-5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """One row: a name, and a configuration for each data set."""

    name: str
    configs: dict[str, TrainConfig]
    draw: Callable[[str, np.random.Generator], NDArray[np.float32]] | None = None
    """Draw samples [2500, 2] of a data set in place of training, for comparison with the other rows."""


def best() -> list[Method]:
    """Return the presets `ring`, `grid`, `stacked-digits` and `stacked-mnist`."""
    names = (*TOYS, "stacked-digits", "stacked-mnist")
    return [Method(name="preset", configs={name: _measured(PRESETS[name]) for name in names})]


def literature() -> list[Method]:
    """Return methods with the same networks and number of steps, in two settings where a plain GAN loses modes.

    Most rows have PacGAN's two latent values, and both players learn at equal rates, which fall to 1/50 of their start.
    Unrolling is a remedy for another failure, so its rows and their plain GAN have 256 latent values as in
    the paper (Metz et al. 2017), and constant rates; the generator's is ten times the critic's. Their loss is not the
    paper's: `unrolled` has that.
    """
    modified = _small("modified-minimax")
    slow_critic = replace(modified, networks=replace(modified.networks, latent_dim=256), optimisers=_metz())
    return [
        _yardstick("real data", _real),
        _yardstick("uniform noise", _noise),
        _row("minimax", _small("minimax")),
        _row("modified minimax", modified),
        _row("Wasserstein, clipped", _wasserstein_clip()),
        _row("WGAN-GP", _wasserstein_penalty()),
        *(
            _row(f"PacGAN{packing}", replace(modified, networks=replace(modified.networks, packing=packing)))
            for packing in (2, 3)
        ),
        _row(
            "instance noise",
            replace(modified, augmentation=AugmentationConfig(instance_noise=Anneal(start=0.3, end=0.0))),
        ),
        _row("Roth", replace(modified, regularisers=replace(OFF, roth_gamma=Anneal(start=1.0, end=0.01)))),
        _row("R1", replace(modified, regularisers=replace(OFF, r1_gamma=Anneal(start=1.0, end=0.01)))),
        _row("RpGAN + R1 + R2", _relativistic()),
        _row("slow critic, not unrolled", slow_critic),
        *(
            _row(
                f"slow critic, unrolled {steps}",
                replace(slow_critic, schedule=replace(modified.schedule, unrolled_steps=steps)),
            )
            for steps in (1, 5, 10)
        ),
    ]


def unrolled() -> list[Method]:
    """Return a GAN with 0, 1, 5 and 10 unrolled steps, in the setting of the published demonstration.

    Metz et al. 2017, and github.com/poolio/unrolled_gan: the minimax game, two hidden layers of 128 tanh units in both
    players, 256 latent values, batches of 512, 25,000 steps. Weights start from Glorot's values in place of orthogonal
    ones.
    """
    base = _small("minimax")
    networks = replace(base.networks, latent_dim=256, generator_activation="tanh", critic_activation="tanh")
    plain = replace(base, steps=25_000, batch_size=512, networks=networks, optimisers=_metz())
    ring = replace(plain, data=SOURCES.kind("ring")())
    return [
        Method(
            name=f"unrolled {steps}",
            configs={"ring": replace(ring, schedule=replace(ring.schedule, unrolled_steps=steps))},
        )
        for steps in (0, 1, 5, 10)
    ]


def stacked() -> list[Method]:
    """Return R3GAN's ablation and WGAN-GP with the preset's networks, DCGAN and PacGAN with DCGAN's."""
    preset = _of_stacks("stacked-digits")
    dcgan = _dcgan(preset, replace(converted(preset.networks, DcganConfig), generator_width=32, critic_width=32))
    rows = {
        "DCGAN": dcgan,
        "PacDCGAN2": _packed(dcgan),
        "WGAN-GP": replace(_critic_penalty(preset), steps=preset.steps // 3),
        **_ablation(preset),
    }
    return [Method(name=name, configs={"stacked-digits": config}) for name, config in rows.items()]


def stacked_mnist() -> list[Method]:
    """Return the methods of the papers in their order, with the preset's networks.

    Their steps take about as long as the preset's. DCGAN, unrolled or packed, has batch normalisation in the critic,
    too.
    """
    preset = _of_stacks("stacked-mnist")
    dcgan = _dcgan(preset, replace(preset.networks, critic_norm="batch"))
    rows = {
        "DCGAN": (dcgan, 6000),
        "DCGAN, unrolled 5": (replace(dcgan, schedule=replace(dcgan.schedule, unrolled_steps=5)), 700),
        "PacDCGAN2": (_packed(dcgan), 6000),
        "WGAN-GP": (_critic_penalty(preset), 1000),
        **{name: (config, config.steps) for name, config in _ablation(preset).items()},
    }
    return [
        Method(name=name, configs={"stacked-mnist": replace(config, steps=steps)})
        for name, (config, steps) in rows.items()
    ]


def _of_stacks(preset: str) -> TrainConfig:
    return replace(_measured(PRESETS[preset]), on_trouble="continue")


def _dcgan(preset: TrainConfig, networks: DcganConfig) -> TrainConfig:
    adam = AdamConfig(learning_rate=Anneal.constant(2e-4), beta1=0.5, beta2=Anneal.constant(0.999))
    return replace(
        preset,
        networks=networks,
        loss=ModifiedMinimaxLoss(),
        regularisers=OFF,
        optimisers=OptimisersConfig.both(adam),
    )


def _packed(config: TrainConfig) -> TrainConfig:
    return replace(config, networks=replace(config.networks, packing=2))


def _critic_penalty(preset: TrainConfig) -> TrainConfig:
    """Return WGAN-GP with the preset's networks."""
    adam = AdamConfig(learning_rate=Anneal.constant(1e-4), beta1=0.0, beta2=Anneal.constant(0.9))
    return replace(
        preset,
        loss=WassersteinLoss(),
        regularisers=replace(OFF, gradient_penalty=GradientPenalty(weight=10.0)),
        schedule=replace(preset.schedule, critic_steps=5),
        optimisers=OptimisersConfig.both(adam),
    )


def _ablation(preset: TrainConfig) -> dict[str, TrainConfig]:
    """Return R3GAN's ablation (Huang et al. 2024)."""
    one_sided = replace(preset.regularisers, r2_gamma=Anneal.constant(0.0))
    return {
        "RpGAN + R1": replace(preset, regularisers=one_sided),
        "GAN + R1 + R2": replace(preset, loss=ModifiedMinimaxLoss()),
        "RpGAN + R1 + R2": preset,
    }


def _yardstick(name: str, draw: Callable[[str, np.random.Generator], NDArray[np.float32]]) -> Method:
    return replace(_row(name, replace(_small("modified-minimax"), steps=1)), draw=draw)


def _real(data: str, random: np.random.Generator) -> NDArray[np.float32]:
    """Draw points of the mixture."""
    centres, sigma = (ring_centres(), RING_SIGMA) if data == "ring" else (grid_centres(), GRID_SIGMA)
    points = centres[random.integers(len(centres), size=POINTS)]
    return (points + sigma * random.standard_normal(points.shape)).astype(np.float32)


def _noise(data: str, random: np.random.Generator) -> NDArray[np.float32]:
    """Draw points uniformly in the square around all centres."""
    half_side = 1.25 if data == "ring" else 5.0
    return random.uniform(-half_side, half_side, (POINTS, 2)).astype(np.float32)


def _row(name: str, config: TrainConfig) -> Method:
    return Method(name=name, configs={data: replace(config, data=SOURCES.kind(data)()) for data in TOYS})


def _small(loss: str, regularisers: RegularisersConfig = OFF, beta1: float = 0.5, beta2: float = 0.999) -> TrainConfig:
    """Return a configuration with two hidden layers of 128 units and two latent values."""
    steps = 5000
    return TrainConfig(
        steps=steps,
        batch_size=240,  # A multiple of 2 and 3, for packing.
        networks=MlpConfig(
            latent_dim=2,
            generator_width=128,
            critic_width=128,
            generator_layers=2,
            critic_layers=2,
            generator_activation="relu",
            critic_activation="relu",
        ),
        loss=LOSSES.kind(loss)(),
        regularisers=regularisers,
        optimisers=OptimisersConfig.both(AdamConfig(learning_rate=FALLING, beta1=beta1, beta2=Anneal.constant(beta2))),
        ema=EmaConfig(half_life_kimg=0.0, warm_up_fraction=0.0),
        schedule=ScheduleConfig(burn_in_steps=steps),
        on_trouble="continue",  # The table is about the methods, which healing would change.
        output=QUIET,
    )


def _metz() -> OptimisersConfig:
    return OptimisersConfig(
        generator=AdamConfig(learning_rate=Anneal.constant(1e-3), beta1=0.5, beta2=Anneal.constant(0.999)),
        critic=AdamConfig(learning_rate=Anneal.constant(1e-4), beta1=0.5, beta2=Anneal.constant(0.999)),
    )


def _wasserstein_clip() -> TrainConfig:
    base = _small("wasserstein", replace(OFF, weight_clip=0.1))
    rmsprop = RmspropConfig(learning_rate=Anneal(start=5e-4, end=1e-5), beta2=Anneal.constant(0.99))
    return replace(base, optimisers=OptimisersConfig.both(rmsprop), schedule=replace(base.schedule, critic_steps=5))


def _wasserstein_penalty() -> TrainConfig:
    """Return WGAN-GP with a weight of 1. At 10, the paper's for images, the critic is too flat for clusters of 0.01."""
    penalty = replace(OFF, gradient_penalty=GradientPenalty(weight=1.0))
    base = _small("wasserstein", penalty, beta1=0.0, beta2=0.9)
    return replace(base, schedule=replace(base.schedule, critic_steps=5))


def _relativistic() -> TrainConfig:
    gamma = Anneal(start=1.0, end=0.01)
    return _small("relativistic-pairing", replace(OFF, r1_gamma=gamma, r2_gamma=gamma), beta1=0.0, beta2=0.99)


def _measured(config: TrainConfig) -> TrainConfig:
    """Turn off the output files that this benchmark does not read."""
    return replace(config, output=QUIET)


SUITES = {
    "best": best,
    "literature": literature,
    "unrolled": unrolled,
    "stacked": stacked,
    "stacked-mnist": stacked_mnist,
}
