"""Test the training of style-based generators: mixing, noise, path length, and penalties with updates of their own."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

from ganserve_training.config import (
    AdaConfig,
    AdamConfig,
    Anneal,
    AugmentationConfig,
    ModifiedMinimaxLoss,
    OptimisersConfig,
    PathLengthConfig,
    RegularisersConfig,
    ScheduleConfig,
    Stylegan2Config,
    TrainConfig,
)
from ganserve_training.data import load_split, to_network
from ganserve_training.errors import ConfigError
from ganserve_training.networks.stylegan2 import Stylegan2Generator
from ganserve_training.networks.stylegan2_mapping import mix_styles
from ganserve_training.objectives.style_training import PathLength, StyledGenerator
from ganserve_training.run.random_state import Noise, noise_seed
from ganserve_training.run.training_step import Trainer
from tiny_runs import assert_same, tiny_config

BATCH, RATE = 8, 3e-3


def style_config(**changes) -> TrainConfig:
    fields = {
        "batch_size": BATCH,
        "networks": Stylegan2Config(latent_dim=5, w_dim=6, generator_width=4, critic_width=4, max_width=8),
        "loss": ModifiedMinimaxLoss(),
        "regularisers": RegularisersConfig(
            r1_gamma=Anneal.constant(0.5),
            r2_gamma=Anneal.constant(0.0),
            interval=2,
            own_updates=True,
            path_length=PathLengthConfig(weight=2.0, interval=2),
        ),
        "optimisers": OptimisersConfig.both(AdamConfig(learning_rate=Anneal.constant(RATE))),
        "augmentation": AugmentationConfig(),
        "schedule": ScheduleConfig(),
    }
    return tiny_config(**(fields | changes))


def trainer_of(config: TrainConfig) -> Trainer:
    return Trainer(config, load_split(config.data, "train"))


def test_steps_agree_with_the_algorithm_written_out() -> None:
    config = style_config()
    trainer = trainer_of(config)
    generator, critic = copy.deepcopy(trainer.generator), copy.deepcopy(trainer.critic)
    assert isinstance(generator, Stylegan2Generator)
    c = 2 / 3  # Two steps have three updates.
    adams = [
        torch.optim.Adam(network.parameters(), lr=RATE * c, betas=(0.0, 0.99**c)) for network in (generator, critic)
    ]
    starts = [parameters_to_vector(network.parameters()).detach() for network in (generator, critic)]
    random = torch.Generator().manual_seed(noise_seed(config.seed))
    images = load_split(config.data, "train")
    order = np.random.Generator(np.random.Philox(key=np.array([config.seed, 0], np.uint64))).permutation(len(images))
    mean_length = torch.zeros(())

    def styles(count: int) -> torch.Tensor:
        first, given = torch.randn(count, 5, generator=random), labels[:count]
        w = generator.map(first, given)
        second = generator.map(torch.randn(count, 5, generator=random), given, track=False)
        starts_at = torch.randint(1, 4, (count,), generator=random)
        mixed = torch.rand(count, generator=random) < 0.9
        rows = [
            torch.stack([second[n] if mixed[n] and layer >= starts_at[n] else w[n] for layer in range(4)])
            for n in range(count)
        ]
        return torch.stack(rows)

    def make(w: torch.Tensor) -> torch.Tensor:
        return generator.synthesis(w, [torch.randn(len(w), 1, side, side, generator=random) for side in (4, 8, 8)])

    def update(adam: torch.optim.Adam, objective: torch.Tensor) -> None:
        for other in adams:
            other.zero_grad()
        objective.backward()
        adam.step()

    for step in range(3):
        batch = order[BATCH * step : BATCH * (step + 1)]
        real = to_network(torch.from_numpy(images.pixels[batch]), images.info)
        labels = torch.from_numpy(images.labels[batch])
        with torch.no_grad():
            fake = make(styles(BATCH))
        loss = F.softplus(-critic(real, labels)).mean() + F.softplus(critic(fake, labels)).mean()
        update(adams[1], loss)
        if step % 2 == 0:
            with torch.no_grad():
                fake = make(styles(BATCH))  # Drawn, and not used by R1.
            seen = real.clone().requires_grad_()
            scores = critic(seen, labels)
            (gradient,) = torch.autograd.grad(scores.sum(), seen, create_graph=True)
            critic(fake, labels)
            penalty = 0.5 / 2 * gradient.square().sum(dim=(1, 2, 3)).mean()
            update(adams[1], 2 * penalty + 0.0 * scores.sum())
        loss = F.softplus(-critic(make(styles(BATCH)), labels)).mean()
        update(adams[0], loss)
        if step % 2 == 0:
            w = styles(BATCH // 2)
            made = make(w)
            direction = torch.randn(BATCH // 2, 1, 8, 8, generator=random) / 8
            (gradient,) = torch.autograd.grad((made * direction).sum(), w, create_graph=True)
            lengths = gradient.square().sum(dim=2).mean(dim=1).sqrt()
            target = 0.99 * mean_length + 0.01 * lengths.mean()
            mean_length = target.detach()
            update(adams[0], 2 * 2.0 * (lengths - target).square().mean() + 0.0 * made.sum())
        measures = dict(zip(trainer.measures, trainer.run_step().tolist(), strict=True))
        assert measures["generator_loss"] == pytest.approx(loss.item(), rel=1e-4)
        assert measures["path_length"] == pytest.approx(mean_length.item(), rel=1e-4)
        assert (measures["r1"] > 0.0) == (measures["path_length_penalty"] > 0.0) == (step % 2 == 0)

    torch.testing.assert_close(trainer.generator.mapping.w_avg, generator.mapping.w_avg, rtol=1e-3, atol=1e-5)
    for ours, theirs, start in zip((trainer.generator, trainer.critic), (generator, critic), starts, strict=True):
        ours_flat, theirs_flat = (parameters_to_vector(network.parameters()) for network in (ours, theirs))
        # Adam turns rounding of a vanishing gradient into a step, so single weights may differ a little.
        assert (ours_flat - theirs_flat).norm() < 0.02 * (theirs_flat - start).norm()


def test_a_restored_trainer_continues_bit_for_bit() -> None:
    ada = AugmentationConfig(brightness=0.2, translation_px=1, ada=AdaConfig(target=0.6, kimg=0.1, every_steps=2))
    config = style_config(augmentation=ada, accumulate_batches=2)
    straight = trainer_of(config)
    for _ in range(3):
        straight.run_step()
    saved = copy.deepcopy(straight.state_dict())
    assert saved["path_length"] > 0.0
    assert saved["generator"]["mapping.w_avg"].abs().sum() > 0.0
    restored = trainer_of(config)
    restored.load_state_dict(saved)
    for _ in range(3):
        assert torch.equal(restored.run_step(), straight.run_step())
    assert_same(restored.state_dict(), straight.state_dict())


def test_the_penalty_on_path_length_equals_numpy() -> None:
    random = torch.Generator().manual_seed(0)
    jacobian = torch.randn(2 * 4 * 4, 3 * 5, generator=random, dtype=torch.float64)  # Images [2, 4, 4] of w's [3, 5].
    styles = torch.randn(6, 3, 5, dtype=torch.float64).requires_grad_()
    images = (styles.flatten(1) @ jacobian.T).view(6, 2, 4, 4)
    length = PathLength(PathLengthConfig(weight=2.0, decay=0.1), torch.device("cpu"))
    length.mean = torch.tensor(0.5, dtype=torch.float64)
    found = length.penalty(styles, images, Noise(torch.Generator().manual_seed(1)))
    y = torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(1)).double().numpy().reshape(6, -1) / 4.0
    per_layer = np.linalg.norm((y @ jacobian.numpy()).reshape(6, 3, 5), axis=2)
    lengths = np.sqrt((per_layer**2).mean(axis=1))
    target = 0.9 * 0.5 + 0.1 * lengths.mean()
    assert found.item() == pytest.approx(2.0 * ((lengths - target) ** 2).mean(), rel=1e-5)
    assert length.mean.item() == pytest.approx(target, rel=1e-5)


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_mixing_takes_the_last_layers_of_a_second_latent(probability: float, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Stylegan2Config(
        latent_dim=5, w_dim=6, generator_width=2, max_width=4, style_mixing=probability, critic_width=2
    )
    trainer = trainer_of(style_config(networks=config, data=style_config().data))
    generator = trainer.generator
    assert isinstance(generator, Stylegan2Generator)
    styled = StyledGenerator(generator, config, Noise(torch.Generator().manual_seed(0)))
    latents, labels = torch.randn(200, 5), torch.zeros(200, dtype=torch.int64)
    with torch.no_grad():
        w, styles = generator.map(latents, labels, track=False), styled.styles(latents, labels)
    own = (styles == w[:, None]).all(dim=2)
    assert own[:, 0].all()
    assert (own[:, 1:].int().diff(dim=1) <= 0).all()  # Once it is another's, it stays so.
    mixed = (~own[:, -1]).float().mean().item()
    assert mixed == pytest.approx(probability, abs=4 * math.sqrt(probability * (1 - probability) / 200))
    if probability:
        assert {int(count) for count in own.sum(dim=1)} >= {1, 2, 3}
    assert torch.equal(mix_styles(w, w, torch.ones(200, 4))[:, 0], w)


def test_what_can_not_be_trained_is_refused() -> None:
    regularisers = style_config().regularisers
    with pytest.raises(ConfigError, match=r"own-updates True: is for losses that judge each sample alone"):
        tiny_config(networks=style_config().networks, regularisers=regularisers)
    with pytest.raises(ConfigError, match=r"path-length.weight 2.0: needs style vectors.*convolutional lacks"):
        tiny_config(regularisers=RegularisersConfig(path_length=PathLengthConfig(weight=2.0)))
    with pytest.raises(ConfigError, match=r"path-length.interval 8: has no effect"):
        PathLengthConfig(interval=8)
    with pytest.raises(ConfigError, match=r"no penalty that could have updates"):
        RegularisersConfig(r1_gamma=Anneal.constant(0.0), r2_gamma=Anneal.constant(0.0), own_updates=True)
    with pytest.raises(ConfigError, match=r"style-mixing 1.5: must be from 0"):
        Stylegan2Config(style_mixing=1.5)
