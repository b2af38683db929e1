"""Presets for scikit-learn's handwritten digits, 8 x 8 gray, which need no download. benchmarks/presets has results."""

from dataclasses import replace

from ganserve_training.config import (
    AdamConfig,
    Anneal,
    CodesConfig,
    ConvolutionalConfig,
    DigitsConfig,
    EmaConfig,
    OptimisersConfig,
    OutputConfig,
    RegularisersConfig,
    ScheduleConfig,
    TrainConfig,
)

_ADAM = AdamConfig(learning_rate=Anneal(start=3e-3, end=3e-4))

DIGITS = TrainConfig(
    steps=4000,
    networks=ConvolutionalConfig(
        latent_dim=64,
        generator_width=16,
        critic_width=16,
        generator_conditioning="concatenation",
        critic_conditioning="projection",
    ),
    regularisers=RegularisersConfig(r1_gamma=Anneal.constant(0.3), r2_gamma=Anneal.constant(0.3)),
    optimisers=OptimisersConfig.both(_ADAM),
    ema=EmaConfig(half_life_kimg=10.0),
    schedule=ScheduleConfig(burn_in_steps=3500),
    output=OutputConfig(samples_every_steps=500),
)
"""Conditional, in about a minute on one core.

Tried at equal processor time: twice the width is not better; learning rate 3e-3 beats 1e-3; gamma 0.3 gives cleaner
labels than 1 and more variety than 0.1; shifts by a pixel cost 3 % of GAN-train; more steps bring nothing.
"""

DIGITS_ACGAN = replace(DIGITS, networks=replace(DIGITS.networks, critic_conditioning="classifier"))
"""`DIGITS` with an auxiliary classifier in place of projection (Odena et al. 2017)."""

DIGITS_INFOGAN = replace(
    DIGITS,
    data=DigitsConfig(labels="ignore"),
    networks=replace(
        DIGITS.networks,
        generator_conditioning="auto",
        critic_conditioning="auto",
        codes=CodesConfig(categories=10, continuous=2),
    ),
)
"""InfoGAN without labels: one discrete and two continuous codes get their meaning in training (Chen et al. 2016)."""
