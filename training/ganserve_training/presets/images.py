"""The literature's recipes for images, on 5,000 of MNIST's digits, 32 x 32 gray.

Each takes at most five minutes of one core; docs/results.md says how good each is. DCGAN, WGAN, WGAN-GP and
progressive growing learn without labels, as in their papers.
"""

from dataclasses import replace

from ganserve_training.config import (
    AdamConfig,
    Anneal,
    CodesConfig,
    DcganConfig,
    EmaConfig,
    FashionConfig,
    GradientPenalty,
    HingeLoss,
    MnistConfig,
    ModifiedMinimaxLoss,
    OptimisersConfig,
    OutputConfig,
    ProgressiveConfig,
    R3ganConfig,
    RegularisersConfig,
    RelativisticPairingLoss,
    RmspropConfig,
    ScheduleConfig,
    TrainConfig,
    WassersteinLoss,
)

_OFF = RegularisersConfig.none()
_UNLABELLED = MnistConfig(labels="ignore")


def _adam(start: float, end: float, beta1: float = 0.0, beta2: float = 0.99) -> AdamConfig:
    return AdamConfig(learning_rate=Anneal(start=start, end=end), beta1=beta1, beta2=Anneal.constant(beta2))


def _gamma(weight: float) -> RegularisersConfig:
    return RegularisersConfig(r1_gamma=Anneal.constant(weight), r2_gamma=Anneal.constant(weight))


MNIST = TrainConfig(
    steps=4000,
    data=MnistConfig(),
    networks=DcganConfig(
        latent_dim=64,
        generator_width=8,
        critic_width=8,
        critic_norm="none",
        generator_conditioning="concatenation",
        critic_conditioning="projection",
    ),
    regularisers=_gamma(3.0),
    optimisers=OptimisersConfig.both(_adam(1e-3, 1e-4)),
    ema=EmaConfig(half_life_kimg=10.0),
    schedule=ScheduleConfig(burn_in_steps=3800),
    output=OutputConfig(samples_every_steps=500),
)
"""DCGAN's networks with relativistic pairing, R1 and R2, and no normalisation in the critic: conditional.

At a rate of 3e-3 it collapses on most seeds, whatever the penalties.
"""

FASHION = replace(MNIST, data=FashionConfig())
"""The same on Fashion-MNIST, labelled by garment."""

ACGAN = replace(
    MNIST,
    networks=replace(MNIST.networks, critic_conditioning="classifier"),
    loss=RelativisticPairingLoss(classification_weight=0.05),
    on_trouble="continue",
)
"""`MNIST` with an auxiliary classifier in place of projection (Odena et al. 2017).

The classifier wins first: for a third of the run, samples of a label are alike, and then they part. A cure at that time
would do harm, so there is none.
"""

INFOGAN = replace(
    MNIST,
    data=_UNLABELLED,
    networks=replace(
        MNIST.networks,
        generator_conditioning="auto",
        critic_conditioning="auto",
        codes=CodesConfig(categories=10, continuous=2),
    ),
)
"""InfoGAN without labels: one discrete and two continuous codes get their meaning in training (Chen et al. 2016)."""

_DCGAN = DcganConfig(latent_dim=100, generator_width=8, critic_width=8)

DCGAN = replace(
    MNIST,
    steps=5000,
    data=_UNLABELLED,
    networks=_DCGAN,
    loss=ModifiedMinimaxLoss(),
    regularisers=_OFF,
    optimisers=OptimisersConfig.both(_adam(4e-4, 4e-5, 0.5, 0.999)),
    schedule=ScheduleConfig(burn_in_steps=4800),
)
"""Batch normalisation in both networks, Adam with beta1 0.5 (Radford et al. 2016, whose rate is 2e-4).

With labels it makes one image a label: without penalties its critic knows each label's images after a few epochs.
"""

_RMSPROP = RmspropConfig(learning_rate=Anneal(start=5e-4, end=5e-5))

WGAN = replace(
    DCGAN,
    steps=3000,
    batch_size=32,
    loss=WassersteinLoss(),
    regularisers=replace(_OFF, weight_clip=0.01),
    optimisers=OptimisersConfig.both(_RMSPROP),
    schedule=ScheduleConfig(critic_steps=5, burn_in_steps=2900),
)
"""Weights clipped to 0.01, RMSprop, five critic updates, batch normalisation in both networks (Arjovsky et al. 2017).

The paper's learning rate is 5e-5. Without batch normalisation in the critic the scores swing.
"""

WGAN_GP = replace(
    WGAN,
    steps=800,
    data=MNIST.data,
    networks=replace(_DCGAN, generator_width=16, critic_width=16, critic_norm="none"),
    regularisers=replace(_OFF, gradient_penalty=GradientPenalty(weight=10.0)),
    optimisers=OptimisersConfig.both(_adam(5e-4, 1e-4, 0.0, 0.9)),
    ema=EmaConfig(half_life_kimg=5.0),
    schedule=ScheduleConfig(critic_steps=5, burn_in_steps=700),
)
"""Gradient penalty of weight 10 in place of clipping (Gulrajani et al. 2017, whose rate is 1e-4), with labels."""

SNGAN = replace(
    WGAN_GP,
    steps=3800,
    networks=replace(_DCGAN, generator_width=16, critic_width=16, critic_norm="none", spectral_norm="critic"),
    loss=HingeLoss(margin=0.25),
    regularisers=_OFF,
    optimisers=OptimisersConfig(generator=_adam(5e-4, 1e-4, 0.0, 0.9), critic=_adam(1e-3, 1e-4, 0.0, 0.9)),
    ema=EmaConfig(half_life_kimg=10.0),
    schedule=ScheduleConfig(critic_steps=2, burn_in_steps=3650),
)
"""Spectral norm, hinge loss, projection (Miyato et al. 2018, the standard CNN; Miyato & Koyama 2018).

Spectral norm bounds the slope of the critic by 1, and narrow layers stay below 0.6. With the papers' margin of 1 its
scores then never leave the linear part of the loss, and samples of a label are alike. One critic update a step makes
one image a label.
"""

PROGRESSIVE = replace(
    DCGAN,
    steps=1900,
    networks=ProgressiveConfig(
        latent_dim=64,
        generator_width=8,
        critic_width=8,
        max_width=64,
        minibatch_stddev_group=4,
        fade_kimg=12.0,
        stable_kimg=12.0,
        batch_sizes=(32, 32, 32, 32),
        output_activation="tanh",
    ),
    batch_size=32,
    loss=WassersteinLoss(),
    regularisers=replace(_OFF, gradient_penalty=GradientPenalty(weight=10.0), drift=0.001),
    optimisers=OptimisersConfig.both(_adam(5e-3, 5e-4)),
    schedule=ScheduleConfig(critic_steps=2, burn_in_steps=1800),
)
"""Grown from 4 x 4 to 32 x 32 with fades, equalised learning rate, pixel norm, WGAN-GP with drift (Karras et al. 2017).

The paper has 600 thousand samples in each phase, one critic update a step, a constant rate of 1e-3, and no tanh:
`R3GAN` says why there is one. With equalised learning rate weights start at 1, so that a rate of 1e-3 hardly moves them
in so few steps. With one update, the critic of so short a phase is behind, and samples are alike.
"""

R3GAN = replace(
    MNIST,
    steps=3600,
    batch_size=16,
    networks=R3ganConfig(
        latent_dim=64, generator_width=8, critic_width=8, max_width=64, group_size=8, output_activation="tanh"
    ),
    regularisers=replace(_gamma(10.0), interval=4),
    optimisers=OptimisersConfig(
        generator=replace(_adam(1e-3, 5e-5), beta2=Anneal(start=0.9, end=0.99)),
        critic=replace(_adam(2e-3, 1e-4), beta2=Anneal(start=0.9, end=0.99)),
    ),
    schedule=ScheduleConfig(burn_in_steps=3440),
)
"""R3GAN's blocks, loss and penalties (Huang et al. 2024), with tanh.

Without it the black of the digits is never quite black, and the critic tells all samples from real ones by that alone.
Penalties in every fourth step only allow twice as many steps in the same time, and batches of 16 twice as many again.
The critic learns at twice the generator's rate: at equal rates, samples have two thirds of the variety.
"""
