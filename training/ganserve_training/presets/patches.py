"""Earlier recipes for images, on 32 x 32 patches of scikit-learn's two photographs, so that runs of them can go on.

The data are too few and too odd to judge a generator by: `images` has the recipes to start from.
"""

from dataclasses import replace

from ganserve_training.config import (
    AdamConfig,
    Anneal,
    DcganConfig,
    DiagnosisConfig,
    EmaConfig,
    GradientPenalty,
    HingeLoss,
    ModifiedMinimaxLoss,
    OptimisersConfig,
    OutputConfig,
    PatchesConfig,
    ProgressiveConfig,
    R3ganConfig,
    RegularisersConfig,
    RelativisticPairingLoss,
    ResidualConfig,
    RmspropConfig,
    ScheduleConfig,
    TrainConfig,
    WassersteinLoss,
)

_OFF = RegularisersConfig.none()
_OUTPUT = OutputConfig(samples_every_steps=250, checkpoint_every_steps=250)


def _adam(learning_rate: float, beta1: float, beta2: float) -> AdamConfig:
    return AdamConfig(learning_rate=Anneal.constant(learning_rate), beta1=beta1, beta2=Anneal.constant(beta2))


_DCGAN = DcganConfig(latent_dim=100, generator_width=16, critic_width=16)

DCGAN_32 = TrainConfig(
    steps=3000,
    batch_size=32,
    data=PatchesConfig(size=32),
    networks=_DCGAN,
    loss=ModifiedMinimaxLoss(),
    regularisers=_OFF,
    optimisers=OptimisersConfig.both(_adam(2e-4, 0.5, 0.999)),
    ema=EmaConfig(half_life_kimg=5.0),
    diagnosis=DiagnosisConfig(every_steps=300),
    output=_OUTPUT,
)
"""Batch normalisation in both networks, Adam 2e-4 with beta1 0.5 (Radford et al. 2016).

It makes one image a label until about step 1,000; with R1 of 0.5 in place of batch normalisation no sooner.
"""

_RMSPROP = RmspropConfig(learning_rate=Anneal.constant(2e-4))

WGAN_32 = replace(
    DCGAN_32,
    steps=1200,
    diagnosis=DiagnosisConfig(),
    loss=WassersteinLoss(),
    regularisers=replace(_OFF, weight_clip=0.01),
    optimisers=OptimisersConfig.both(_RMSPROP),
    schedule=ScheduleConfig(critic_steps=5),
)
"""Weights clipped to 0.01, RMSprop, five critic updates, batch normalisation in both networks (Arjovsky et al. 2017).

The paper's learning rate is 5e-5. Without batch normalisation in the critic the scores swing.
"""

WGAN_GP_32 = replace(
    WGAN_32,
    steps=800,
    networks=replace(_DCGAN, critic_norm="none"),
    regularisers=replace(_OFF, gradient_penalty=GradientPenalty(weight=10.0)),
    optimisers=OptimisersConfig.both(_adam(1e-4, 0.0, 0.9)),
)
"""Gradient penalty of weight 10 in place of clipping, Adam 1e-4 (Gulrajani et al. 2017)."""

SNGAN_32 = replace(
    DCGAN_32,
    steps=1000,
    diagnosis=DiagnosisConfig(),
    networks=ResidualConfig(
        latent_dim=128,
        generator_width=16,
        critic_width=16,
        max_width=64,
        generator_conditioning="batch-norm",
        critic_conditioning="projection",
        spectral_norm="critic",
    ),
    loss=HingeLoss(),
    optimisers=OptimisersConfig.both(_adam(2e-4, 0.0, 0.9)),
)
"""Residual blocks, spectral norm, hinge loss, conditional batch norm, projection (Miyato et al. 2018)."""

PROGRESSIVE_32 = replace(
    DCGAN_32,
    steps=2000,
    diagnosis=DiagnosisConfig(),
    networks=ProgressiveConfig(
        latent_dim=64,
        generator_width=8,
        critic_width=8,
        max_width=64,
        minibatch_stddev_group=4,
        fade_kimg=12.0,
        stable_kimg=12.0,
        batch_sizes=(64, 64, 32, 32),
    ),
    loss=WassersteinLoss(),
    regularisers=replace(_OFF, gradient_penalty=GradientPenalty(weight=10.0), drift=0.001),
    optimisers=OptimisersConfig.both(_adam(1e-3, 0.0, 0.99)),
)
"""Grown from 4 x 4 to 32 x 32 with fades, equalised learning rate, pixel norm, WGAN-GP with drift (Karras et al. 2017).

The paper has 600 thousand samples in each phase. Here the last 312 of 2,000 steps have 32 x 32 fully in.
"""

_GAMMA = Anneal(start=1.0, end=0.1)
_R3GAN_ADAM = AdamConfig(learning_rate=Anneal(start=5e-4, end=5e-5), beta2=Anneal(start=0.9, end=0.99))

R3GAN_32 = replace(
    DCGAN_32,
    steps=600,
    diagnosis=DiagnosisConfig(),
    networks=R3ganConfig(latent_dim=64, generator_width=16, critic_width=16, max_width=64, group_size=8),
    loss=RelativisticPairingLoss(),
    regularisers=RegularisersConfig(r1_gamma=_GAMMA, r2_gamma=_GAMMA),
    optimisers=OptimisersConfig.both(_R3GAN_ADAM),
    schedule=ScheduleConfig(burn_in_steps=540),
)
"""R3GAN's blocks, loss and annealed penalties (Huang et al. 2024; their learning rate for CIFAR-10 is 2e-4 to 5e-5).

With gamma 0.1 to 0.01 and twice the learning rate the generator fell behind (diversity 0.66).
"""
