"""Data whose modes are known: the ring of 8, the grid of 25, three digits stacked into 1,000.

benchmarks/mode_coverage measures them.
"""

from dataclasses import replace

from ganserve_training.config import (
    AdamConfig,
    Anneal,
    EmaConfig,
    GridConfig,
    MlpConfig,
    OptimisersConfig,
    OutputConfig,
    RegularisersConfig,
    RingConfig,
    ScheduleConfig,
    StackedDigitsConfig,
    TrainConfig,
)

_GAMMA = Anneal(start=10.0, end=0.01)
_ADAM = AdamConfig(learning_rate=Anneal(start=1e-3, end=1e-5), beta2=Anneal(start=0.9, end=0.99))

GRID = TrainConfig(
    steps=60_000,
    batch_size=128,
    data=GridConfig(),
    networks=MlpConfig(
        latent_dim=2,
        generator_width=64,
        critic_width=64,
        generator_layers=8,
        generator_activation="relu",
    ),
    regularisers=RegularisersConfig(r1_gamma=_GAMMA, r2_gamma=_GAMMA),
    optimisers=OptimisersConfig.both(_ADAM),
    ema=EmaConfig(half_life_kimg=50.0),
    schedule=ScheduleConfig(burn_in_steps=54_000),
    output=OutputConfig(log_every_steps=200, checkpoint_every_steps=2000, samples_every_steps=4000),
)
"""The grid of 25, in about 150 seconds of one core.

Chosen by measurement: a deep generator of ReLUs bends a plane into 25 spots better than a wide one (8 x 64: 97 % high
quality; 3 x 64: 87 %, 5 x 128: 90 %), two latent values beat 16, and the penalties must end a thousand times weaker
than they began, as the spots are a hundred times narrower than the plane.
"""

_RING_GAMMA = Anneal(start=10.0, end=0.1)

RING = replace(
    GRID,
    steps=27_000,
    data=RingConfig(),
    regularisers=RegularisersConfig(r1_gamma=_RING_GAMMA, r2_gamma=_RING_GAMMA),
    ema=EmaConfig(half_life_kimg=150.0),
    schedule=ScheduleConfig(burn_in_steps=24_300),
)
"""The ring of 8, in about 80 seconds. With the grid's last gamma of 0.01 its generator falls apart at the end."""

_STACKED_GAMMA = Anneal(start=1.0, end=0.1)
_STACKED_ADAM = AdamConfig(learning_rate=Anneal(start=1e-3, end=1e-5))

STACKED_DIGITS = TrainConfig(
    steps=16_000,
    batch_size=128,
    data=StackedDigitsConfig(),
    networks=MlpConfig(latent_dim=64, generator_width=256, critic_width=256),
    regularisers=RegularisersConfig(r1_gamma=_STACKED_GAMMA, r2_gamma=_STACKED_GAMMA),
    optimisers=OptimisersConfig.both(_STACKED_ADAM),
    ema=EmaConfig(half_life_kimg=50.0),
    schedule=ScheduleConfig(burn_in_steps=14_400),
    output=OutputConfig(log_every_steps=200, checkpoint_every_steps=1000, samples_every_steps=2000),
)
"""Three digits stacked, 1,000 modes, without labels.

A plain MLP covers them evenly where small convolutional networks lose some: the channels have nothing in common that a
shared filter could use. A learning rate of 3e-3 lost modes with one seed of four.
"""
