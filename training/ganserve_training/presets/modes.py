"""Presets for data with known modes; benchmarks/mode_coverage has the results."""

from dataclasses import replace

from ganserve_training.config import (
    AdamConfig,
    Anneal,
    DcganConfig,
    EmaConfig,
    GridConfig,
    MlpConfig,
    OptimisersConfig,
    OutputConfig,
    RegularisersConfig,
    RingConfig,
    ScheduleConfig,
    StackedDigitsConfig,
    StackedMnistConfig,
    TrainConfig,
)

_GAMMA = Anneal(start=10.0, end=0.01)
_ADAM = AdamConfig(learning_rate=Anneal(start=1e-3, end=1e-5), beta2=Anneal(start=0.9, end=0.99))

_MLP = MlpConfig(latent_dim=2, generator_width=64, critic_width=64, generator_layers=8, generator_activation="relu")

GRID = TrainConfig(
    steps=60_000,
    batch_size=128,
    data=GridConfig(),
    networks=_MLP,
    regularisers=RegularisersConfig(r1_gamma=_GAMMA, r2_gamma=_GAMMA),
    optimisers=OptimisersConfig.both(_ADAM),
    ema=EmaConfig(half_life_kimg=50.0),
    schedule=ScheduleConfig(burn_in_steps=54_000),
    output=OutputConfig(log_every_steps=200, checkpoint_every_steps=2000, samples_every_steps=4000),
)
"""The grid of 25, in about 150 seconds of one core.

A deep generator of ReLUs bends a plane into 25 spots better than a wide one (high quality: 97 % with 8 x 64, 87 % with
3 x 64, 90 % with 5 x 128), and two latent values beat 16. The penalties must end weak, as the spots are narrow.
"""

_RING_GAMMA = Anneal(start=10.0, end=0.1)

RING = replace(
    GRID,
    steps=18_000,
    data=RingConfig(),
    networks=replace(_MLP, generator_width=128),
    regularisers=RegularisersConfig(r1_gamma=_RING_GAMMA, r2_gamma=_RING_GAMMA),
    ema=EmaConfig(half_life_kimg=150.0),
    schedule=ScheduleConfig(burn_in_steps=16_200),
)
"""The ring of 8, in about 80 seconds. With the grid's last gamma, 0.01, its generator gets worse at the end.

A generator twice as wide as the grid's needs fewer steps. On the grid, 40,000 steps of it reach 91 % high quality.
"""

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

An MLP covers them evenly; small convolutional networks lose some, as the three channels are independent. So did a
learning rate of 3e-3, with one seed of four.
"""

_MNIST_GAMMA = Anneal.constant(7.0)
_MNIST_ADAM = AdamConfig(learning_rate=Anneal(start=1e-3, end=1e-4))

STACKED_MNIST = TrainConfig(
    steps=6000,
    batch_size=64,
    data=StackedMnistConfig(),
    networks=DcganConfig(latent_dim=64, generator_width=24, generator_groups=3, critic_width=16, critic_norm="none"),
    regularisers=RegularisersConfig(r1_gamma=_MNIST_GAMMA, r2_gamma=_MNIST_GAMMA),
    optimisers=OptimisersConfig.both(_MNIST_ADAM),
    ema=EmaConfig(half_life_kimg=10.0),
    schedule=ScheduleConfig(burn_in_steps=5700),
    output=OutputConfig(samples_every_steps=500),
)
"""Three of MNIST's digits stacked, 28 x 28, 1,000 modes, without labels.

An MLP as for 8 x 8 makes noisy strokes, of which a judge recognises few: 327 modes and a KL of 3.9 after 4,000 steps of
128 samples. The digits are independent, so each group of the generator's channels makes one of them: 1,000 modes, 0.09.
With gamma 2 and 3,500 steps the digits of one channel stay poor: 986 modes, 0.29.
"""
