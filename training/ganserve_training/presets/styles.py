"""StyleGAN2's recipes (Karras et al. 2020): a small one for a CPU, and one for 256 pixels on a GPU."""

from dataclasses import replace

from ganserve_training.config import (
    AdaConfig,
    AdamConfig,
    Anneal,
    AugmentationConfig,
    EmaConfig,
    FolderConfig,
    ModifiedMinimaxLoss,
    OptimisersConfig,
    OutputConfig,
    PathLengthConfig,
    RegularisersConfig,
    ScheduleConfig,
    Stylegan2Config,
    TrainConfig,
)
from ganserve_training.presets.images import MNIST

_OFF = RegularisersConfig.none()


def _adam(start: float, end: float) -> AdamConfig:
    return AdamConfig(learning_rate=Anneal(start=start, end=end))


STYLEGAN2_32 = replace(
    MNIST,
    steps=2000,
    batch_size=32,
    networks=Stylegan2Config(
        latent_dim=64,
        generator_width=8,
        critic_width=8,
        max_width=64,
        critic_mapping_layers=2,
        style_mixing=0.0,
        output_activation="tanh",
    ),
    loss=ModifiedMinimaxLoss(),
    regularisers=replace(_OFF, r1_gamma=Anneal.constant(3.0), interval=4, own_updates=True),
    optimisers=OptimisersConfig(generator=_adam(5e-3, 5e-4), critic=_adam(1e-2, 1e-3)),
    ema=EmaConfig(half_life_kimg=10.0),
    schedule=ScheduleConfig(burn_in_steps=1900),
    output=OutputConfig(samples_every_steps=500),
)
"""Small networks, two mapping layers, no mixing and no path length, as the paper's configuration for CIFAR-10.

They have tanh besides, and the critic learns at twice the generator's rate. At equal rates, and without tanh, samples
have a third of the variety.

The paper's rate of 2.5e-3 is for a hundred times as many steps: with it, and R1 of 0.1 or 3, all samples were still
alike after 20 thousand images.
"""

STYLEGAN2_256 = TrainConfig(
    steps=80_000,
    batch_size=64,
    on_trouble="continue",
    data=FolderConfig(path="images", size=256),
    networks=Stylegan2Config(
        latent_dim=512,
        generator_width=64,
        critic_width=64,
        max_width=512,
        w_dim=512,
        mapping_layers=8,
    ),
    loss=ModifiedMinimaxLoss(),
    regularisers=replace(
        _OFF,
        r1_gamma=Anneal.constant(0.2),
        interval=16,
        own_updates=True,
        path_length=PathLengthConfig(weight=2.0),
    ),
    optimisers=OptimisersConfig.both(_adam(2.5e-3, 2.5e-3)),
    ema=EmaConfig(half_life_kimg=20.0),
    augmentation=AugmentationConfig(translation_px=32, brightness=0.5, contrast=0.5, ada=AdaConfig(target=0.6)),
    schedule=ScheduleConfig(),
    output=OutputConfig(samples_every_steps=1000, checkpoint_every_steps=1000),
)
"""The paper's networks and regularisation for 256 pixels, with ADA, for your pictures: `--data PATH`.

The paper shows 25 million images, five times as many.
"""
