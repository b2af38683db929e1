import copy
import random
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

from ganserve_training.config import Anneal, AugmentationConfig, ConvolutionalConfig, RegularisersConfig, TrainConfig
from ganserve_training.data import Images, load_split, to_network
from ganserve_training.objectives.augmentation import random_translation
from ganserve_training.run.random_state import Noise, noise_seed
from ganserve_training.run.training_step import Trainer
from tiny_runs import assert_same, tiny_config


def make_trainer(config: TrainConfig, images: Images | None = None) -> Trainer:
    return Trainer(config, images or load_split(config.data, "train"))


def test_steps_agree_with_the_algorithm_written_out_in_plain_torch() -> None:
    config = tiny_config(steps=3)
    trainer = make_trainer(config)
    generator, critic = copy.deepcopy(trainer.generator), copy.deepcopy(trainer.critic)
    average = copy.deepcopy(generator)
    starts = [parameters_to_vector(network.parameters()).detach() for network in (generator, critic, average)]
    g_adam = torch.optim.Adam(generator.parameters(), lr=3e-3, betas=(0.0, 0.99))
    d_adam = torch.optim.Adam(critic.parameters(), lr=3e-3, betas=(0.0, 0.99))
    images = load_split(config.data, "train")
    generator_of_noise = torch.Generator().manual_seed(noise_seed(config.seed))
    noise = Noise(generator_of_noise)
    order = np.random.Generator(np.random.Philox(key=np.array([config.seed, 0], np.uint64))).permutation(len(images))

    for step in range(3):
        cosine = 0.5 - 0.5 * np.cos(np.pi * step / 10)
        learning_rate, r1_gamma, r2_gamma = 3e-3 - 2e-3 * cosine, 1.0 - 0.9 * cosine, 0.3
        batch = order[16 * step : 16 * (step + 1)]
        real, labels = (
            to_network(torch.from_numpy(images.pixels[batch]), images.info),
            torch.from_numpy(images.labels[batch]),
        )

        fake = generator(torch.randn(16, 8, generator=generator_of_noise), labels).detach().requires_grad_()
        real.requires_grad_()
        both = random_translation(torch.cat([real, fake]), 1, noise)
        real_scores, fake_scores = critic(both[:16], labels), critic(both[16:], labels)
        loss = F.softplus(fake_scores - real_scores).mean()
        for samples, scores, gamma in ((real, real_scores, r1_gamma), (fake, fake_scores, r2_gamma)):
            (gradient,) = torch.autograd.grad(scores.sum(), samples, create_graph=True)
            loss = loss + gamma / 2 * (gradient**2).sum(dim=(1, 2, 3)).mean()
        d_adam.param_groups[0]["lr"] = learning_rate
        d_adam.zero_grad()
        loss.backward()
        d_adam.step()

        real_scores = critic(random_translation(real.detach(), 1, noise), labels).detach()
        # The trainer draws the shifts of real samples, then latents, then the shifts of generated samples.
        fake = generator(torch.randn(16, 8, generator=generator_of_noise), labels)
        loss = F.softplus(real_scores - critic(random_translation(fake, 1, noise), labels)).mean()
        g_adam.param_groups[0]["lr"] = learning_rate
        g_adam.zero_grad()
        loss.backward()
        g_adam.step()
        decay = 0.5 ** (16 / min(100.0, 0.05 * 16 * (step + 1)))
        with torch.no_grad():
            for ours, theirs in zip(average.parameters(), generator.parameters(), strict=True):
                ours.copy_(ours * decay + theirs * (1 - decay))

        measures = dict(zip(trainer.measures, trainer.run_step().tolist(), strict=True))
        np.testing.assert_allclose(measures["generator_loss"], loss.item(), rtol=1e-4)

    pairs = ((trainer.generator, generator), (trainer.critic, critic), (trainer.ema.module, average))
    for (ours, theirs), start in zip(pairs, starts, strict=True):
        ours_flat, theirs_flat = (parameters_to_vector(network.parameters()) for network in (ours, theirs))
        # Adam turns rounding of a vanishing gradient into a step, so single weights may differ a little.
        assert (ours_flat - theirs_flat).norm() < 0.02 * (theirs_flat - start).norm()


def test_a_restored_trainer_continues_bit_for_bit() -> None:
    config = tiny_config()
    straight = make_trainer(config)
    for _ in range(4):
        straight.run_step()
    saved = copy.deepcopy(straight.state_dict())
    random.random(), np.random.rand(), torch.rand(1)
    expected = [straight.run_step() for _ in range(4)]

    restored = make_trainer(config)
    restored.run_step()
    restored.load_state_dict(saved)
    assert_same(restored.state_dict(), saved)
    for row in expected:
        assert torch.equal(restored.run_step(), row)
    state = restored.state_dict()
    final = straight.state_dict()
    for part in ("generator", "critic", "ema", "generator_optimiser", "critic_optimiser"):
        assert_same(state[part], final[part], part)
    assert_same(state["rng"]["training"], final["rng"]["training"])


def test_global_generators_are_part_of_the_state() -> None:
    """A custom network may use any of them."""
    trainer = make_trainer(tiny_config())
    saved = copy.deepcopy(trainer.state_dict())
    drawn = random.random(), float(np.random.rand()), torch.rand(1).item()
    trainer.load_state_dict(saved)
    assert (random.random(), float(np.random.rand()), torch.rand(1).item()) == drawn


def test_equal_seeds_give_equal_runs_and_others_different_ones() -> None:
    first, same, other = (make_trainer(tiny_config(seed=seed)) for seed in (1, 1, 2))
    rows = [trainer.run_step() for trainer in (first, same, other)]
    assert torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[0], rows[2])


def test_the_generator_step_gives_the_critic_no_gradients() -> None:
    trainer = make_trainer(tiny_config())
    trainer.run_step()
    after_critic_step = [parameter.grad.clone() for parameter in trainer.critic.parameters()]
    trainer._update_generator([(torch.zeros(16, 1, 8, 8), torch.zeros(16, dtype=torch.int64))], 0.0)
    for parameter, gradient in zip(trainer.critic.parameters(), after_critic_step, strict=True):
        assert parameter.requires_grad
        assert torch.equal(parameter.grad, gradient)


def test_penalties_can_be_switched_off_and_data_can_be_unlabelled() -> None:
    off = Anneal.constant(0.0)
    config = tiny_config(
        networks=ConvolutionalConfig(latent_dim=8, generator_width=4, critic_width=4),
        regularisers=RegularisersConfig(r1_gamma=off, r2_gamma=off),
        augmentation=AugmentationConfig(),
    )
    images = replace(load_split(config.data, "train"), labels=None, label_names=())
    trainer = make_trainer(config, images)
    measures = trainer.run_step()
    critic_measures = ("critic_loss", "critic_accuracy", "real_score", "fake_score")
    assert trainer.measures == (*critic_measures, "generator_loss", "generator_gradient_norm")
    assert measures.shape == (6,)
    assert trainer.samples_seen == 16


def test_nan_weights_are_detected() -> None:
    trainer = make_trainer(tiny_config())
    assert trainer.weights_are_finite()
    with torch.no_grad():
        next(trainer.ema.module.parameters()).view(-1)[0] = float("nan")
    assert not trainer.weights_are_finite()


def test_latents_and_weights_use_different_random_numbers() -> None:
    seeds = [noise_seed(seed) for seed in range(100)]
    assert len(set(seeds)) == 100
    assert not set(seeds) & set(range(100))
    assert noise_seed(2**63 - 1) < 2**63
