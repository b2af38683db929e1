"""Test the trainer's remedies: counts, parts, precision, noise, averages, resuming, constraints."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

from ganserve_training.config import (
    AdaConfig,
    AdamConfig,
    Anneal,
    AugmentationConfig,
    CodesConfig,
    ConvolutionalConfig,
    DcganConfig,
    DigitsConfig,
    EmaConfig,
    GradientPenalty,
    HingeLoss,
    LeastSquaresLoss,
    MinimaxLoss,
    ModifiedMinimaxLoss,
    OptimiserConfig,
    OptimisersConfig,
    RegularisersConfig,
    RelativisticPairingLoss,
    RmspropConfig,
    ScheduleConfig,
    SgdConfig,
    WassersteinLoss,
)
from ganserve_training.data import load_split
from ganserve_training.networks.ema import ema_decay
from ganserve_training.objectives.losses import LOSSES
from ganserve_training.run.training_step import Trainer
from tiny_runs import assert_same, tiny_config

OFF = Anneal.constant(0.0)
NO_PENALTY = RegularisersConfig(r1_gamma=OFF, r2_gamma=OFF)
UNLABELLED = DigitsConfig(labels="ignore")
SMALL = ConvolutionalConfig(latent_dim=8, generator_width=4, critic_width=4)
PLAIN: dict[str, Any] = {
    "augmentation": AugmentationConfig(),
    "loss": ModifiedMinimaxLoss(),
    "regularisers": NO_PENALTY,
}


def trainer_of(**changes: Any) -> Trainer:
    config = tiny_config(**(PLAIN | changes))
    return Trainer(config, load_split(config.data, "train"))


def weights(network: torch.nn.Module) -> Tensor:
    return parameters_to_vector(network.parameters()).detach().clone()


def updates_taken(trainer: Trainer) -> tuple[int, int]:
    """Return the numbers of updates that the critic's and the generator's optimisers counted."""
    counts = []
    for updater in (trainer._critic_updater, trainer._generator_updater):
        (count,) = {int(state["step"]) for state in updater.optimiser.state.values()}
        counts.append(count)
    return counts[0], counts[1]


@pytest.mark.parametrize(("critic_steps", "generator_steps"), [(1, 1), (5, 1), (1, 2), (2, 3)])
def test_each_player_takes_its_number_of_updates_on_new_batches(critic_steps: int, generator_steps: int) -> None:
    trainer = trainer_of(schedule=ScheduleConfig(critic_steps=critic_steps, generator_steps=generator_steps))
    seen: list[tuple[int, int]] = []
    read = trainer._batches.batch
    trainer._batches.batch = lambda position, count: (seen.append((position, count)), read(position, count))[1]  # type: ignore[method-assign]
    for _ in range(2):
        trainer.run_step()
    assert updates_taken(trainer) == (2 * critic_steps, 2 * generator_steps)
    assert seen == [(16 * index, 16) for index in range(2 * critic_steps)]
    assert trainer.samples_seen == 2 * 16 * critic_steps


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"loss": MinimaxLoss()}, id="minimax"),
        pytest.param({"loss": HingeLoss()}, id="hinge"),
        pytest.param({"loss": LeastSquaresLoss()}, id="least-squares"),
        pytest.param({"loss": RelativisticPairingLoss(), "regularisers": RegularisersConfig()}, id="pairing-r1-r2"),
        pytest.param({"loss": WassersteinLoss(), "regularisers": RegularisersConfig(drift=0.1)}, id="drift"),
        pytest.param(
            {"networks": ConvolutionalConfig(latent_dim=8, generator_width=4, critic_conditioning="classifier")},
            id="acgan",
        ),
    ],
)
def test_a_batch_in_parts_gives_the_update_of_the_whole_batch(changes: dict[str, Any]) -> None:
    """This holds if samples are independent. SGD, because Adam turns rounding errors into steps."""
    sgd = SgdConfig(learning_rate=Anneal.constant(0.01))
    both = {"optimisers": OptimisersConfig(generator=sgd, critic=sgd), "batch_size": 32, **changes}
    whole, parts = trainer_of(**both), trainer_of(**both, accumulate_batches=2)
    start = weights(whole.generator)
    for _ in range(2):
        torch.testing.assert_close(whole.run_step(), parts.run_step(), rtol=1e-4, atol=1e-5)
    for network in ("generator", "critic", "ema.module"):
        ours, theirs = (weights(each.get_submodule(network)) for each in (_Players(whole), _Players(parts)))
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert (weights(whole.generator) - start).norm() > 1e-4
    assert parts.samples_seen == whole.samples_seen == 64


class _Players(torch.nn.Module):
    """Both networks of a trainer by name."""

    def __init__(self, trainer: Trainer) -> None:
        super().__init__()
        self.generator, self.critic = trainer.generator, trainer.critic
        self.ema = torch.nn.ModuleDict({"module": trainer.ema.module})


@pytest.mark.parametrize("loss", ["modified-minimax", "relativistic-pairing"])
def test_only_the_networks_products_are_in_bfloat16(loss: str) -> None:
    """Weights, moments, scores and penalties stay in float32."""
    changes: dict[str, Any] = {"loss": LOSSES[loss](), "regularisers": RegularisersConfig()}
    exact, mixed = trainer_of(**changes), trainer_of(**changes, precision="bfloat16")
    seen: list[torch.dtype] = []
    for network in (mixed.generator.get_submodule("to_image"), mixed.critic.get_submodule("score")):
        network.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    rows = [trainer.run_step() for trainer in (exact, mixed)]
    assert set(seen) == {torch.bfloat16}
    assert rows[1].dtype == torch.float32
    assert not torch.equal(*rows)
    torch.testing.assert_close(*rows, rtol=0.1, atol=0.05)
    for player in (mixed.generator, mixed.critic, mixed.ema.module):
        assert all(tensor.dtype == torch.float32 for tensor in player.parameters())
    for updater in (mixed._generator_updater, mixed._critic_updater):
        assert all(state["exp_avg_sq"].dtype == torch.float32 for state in updater.optimiser.state.values())
        assert all(item.grad is None or item.grad.dtype == torch.float32 for item in updater.parameters)
    for _ in range(3):
        assert mixed.run_step().isfinite().all()


def shown_to_critic(trainer: Trainer, progress: float) -> Tensor:
    seen: list[Tensor] = []
    trainer._scorer(lambda samples, _: seen.append(samples), progress)(torch.zeros(500, 1, 8, 8), None)  # type: ignore[arg-type, return-value, func-returns-value]
    return seen[0]


def test_instance_noise_is_annealed_to_zero() -> None:
    trainer = trainer_of(augmentation=AugmentationConfig(instance_noise=Anneal(start=0.4, end=0.0)))
    assert shown_to_critic(trainer, 0.0).std().item() == pytest.approx(0.4, rel=0.03)
    assert shown_to_critic(trainer, 0.5).std().item() == pytest.approx(0.2, rel=0.03)
    before = trainer._noise.generator.get_state()
    assert torch.equal(shown_to_critic(trainer, 1.0), torch.zeros(500, 1, 8, 8))
    assert torch.equal(trainer._noise.generator.get_state(), before)


def test_the_probability_of_augmentation_is_annealed() -> None:
    config = AugmentationConfig(brightness=0.5, probability=Anneal(start=0.0, end=1.0))
    trainer = trainer_of(augmentation=config)
    shares = [
        (shown_to_critic(trainer, progress) != 0.0).flatten(1).any(dim=1).float().mean().item()
        for progress in (0.0, 0.5, 1.0)
    ]
    assert shares == [0.0, pytest.approx(0.5, abs=0.08), 1.0]


def test_each_player_has_its_learning_rate() -> None:
    def rate(value: float) -> OptimiserConfig:
        return AdamConfig(learning_rate=Anneal.constant(value))

    trainer = trainer_of(optimisers=OptimisersConfig(generator=rate(1e-4), critic=rate(1e-2)))
    before = [weights(network) for network in (trainer.generator, trainer.critic)]
    trainer.run_step()
    moved = [
        (weights(network) - start).abs().max().item()
        for network, start in zip((trainer.generator, trainer.critic), before, strict=True)
    ]
    # Adam's first step is as long as the learning rate.
    assert moved == pytest.approx([1e-4, 1e-2], rel=1e-2)


@pytest.mark.parametrize("critic_steps", [1, 3])
def test_the_average_counts_the_real_samples_of_all_updates(critic_steps: int) -> None:
    ema = EmaConfig(half_life_kimg=0.1, warm_up_fraction=0.0)
    trainer = trainer_of(ema=ema, schedule=ScheduleConfig(critic_steps=critic_steps))
    average = weights(trainer.generator)
    for step in range(1, 4):
        trainer.run_step()
        decay = ema_decay(ema, 16 * critic_steps, 16 * critic_steps * step)
        average = average * decay + weights(trainer.generator) * (1 - decay)
    assert decay == pytest.approx(0.5 ** (16 * critic_steps / 100))
    torch.testing.assert_close(weights(trainer.ema.module), average)


def test_weights_of_the_critic_stay_within_the_clip() -> None:
    trainer = trainer_of(loss=WassersteinLoss(), regularisers=replace(NO_PENALTY, weight_clip=0.01))
    for _ in range(2):
        trainer.run_step()
    assert weights(trainer.critic).abs().max().item() == pytest.approx(0.01)
    assert weights(trainer.generator).abs().max().item() > 0.05


def test_spectral_norms_stay_at_one() -> None:
    networks = ConvolutionalConfig(latent_dim=8, generator_width=4, critic_width=4, spectral_norm="critic")
    trainer = trainer_of(networks=networks)
    for _ in range(30):
        trainer.run_step()
    for module in trainer.critic.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            largest = torch.linalg.matrix_norm(module.weight.detach().flatten(1), ord=2).item()
            assert largest == pytest.approx(1.0, abs=0.1)


def test_a_packed_critic_judges_neighbouring_samples_together() -> None:
    networks = ConvolutionalConfig(latent_dim=8, generator_width=4, critic_width=4, packing=2)
    trainer = trainer_of(
        networks=networks, data=UNLABELLED, regularisers=RegularisersConfig(), loss=RelativisticPairingLoss()
    )
    sizes: list[tuple[int, ...]] = []
    trainer.critic.get_submodule("critic").register_forward_hook(
        lambda module, inputs, output: sizes.append((*inputs[0].shape, *output.shape))
    )
    assert trainer.run_step().isfinite().all()
    # First the critic's update, real and generated samples apart; then the generator's.
    assert sizes == [(8, 2, 8, 8, 8)] * 4


def test_the_logged_gradient_norm_is_the_generators() -> None:
    trainer = trainer_of()
    row = dict(zip(trainer.measures, trainer.run_step().tolist(), strict=True))
    gradients = [item.grad for item in trainer.generator.parameters() if item.grad is not None]
    assert row["generator_gradient_norm"] == pytest.approx(torch.cat([g.flatten() for g in gradients]).norm().item())


def test_measures_are_means_over_the_updates_of_a_step() -> None:
    one = trainer_of(schedule=ScheduleConfig(critic_steps=3))
    rows: list[list[Tensor]] = []
    update = one._update_critic
    one._update_critic = lambda *arguments: (rows.append(update(*arguments)), rows[-1])[1]  # type: ignore[method-assign]
    row = one.run_step()
    assert len(rows) == 3
    torch.testing.assert_close(row[:4], torch.stack([torch.stack(each[:4]) for each in rows]).mean(dim=0))


REMEDIES: dict[str, dict[str, Any]] = {
    "ada": {"augmentation": AugmentationConfig(translation_px=1, brightness=0.5, ada=AdaConfig(target=0.3, kimg=0.2))},
    "codes": {
        "networks": ConvolutionalConfig(
            latent_dim=8, generator_width=4, critic_width=4, codes=CodesConfig(categories=4, continuous=2)
        ),
        "data": UNLABELLED,
    },
    "unrolled": {
        "schedule": ScheduleConfig(unrolled_steps=2, burn_in_steps=10),
        "networks": SMALL,
        "data": UNLABELLED,
    },
    "accumulation": {"accumulate_batches": 2, "schedule": ScheduleConfig(critic_steps=2)},
    "gradient-penalty": {
        "loss": WassersteinLoss(),
        "regularisers": replace(NO_PENALTY, gradient_penalty=GradientPenalty(weight=10.0)),
    },
    "noise": {"augmentation": AugmentationConfig(instance_noise=Anneal(start=0.3, end=0.0))},
    "classifier": {
        "networks": ConvolutionalConfig(
            latent_dim=8, generator_width=4, critic_width=4, critic_conditioning="classifier"
        )
    },
    "batch-norm": {"networks": DcganConfig(latent_dim=8, generator_width=4, critic_width=4)},
    "spectral-norm": {
        "networks": ConvolutionalConfig(latent_dim=8, generator_width=4, critic_width=4, spectral_norm="both")
    },
    "minibatch-stddev": {
        "networks": ConvolutionalConfig(latent_dim=8, generator_width=4, critic_width=4, minibatch_stddev_group=4)
    },
    "bfloat16": {"precision": "bfloat16"},
    "rmsprop": {"optimisers": OptimisersConfig(generator=RmspropConfig(beta1=0.5), critic=SgdConfig(beta1=0.5))},
}


@pytest.mark.parametrize("remedy", REMEDIES)
def test_every_remedy_continues_from_a_checkpoint_bit_for_bit(remedy: str) -> None:
    straight = trainer_of(**REMEDIES[remedy])
    for _ in range(3):  # Stop within an interval of the controller.
        straight.run_step()
    saved = copy.deepcopy(straight.state_dict())
    restored = trainer_of(**REMEDIES[remedy])
    restored.run_step()
    restored.load_state_dict(saved)
    for _ in range(3):
        assert torch.equal(straight.run_step(), restored.run_step())
    ours, theirs = restored.state_dict(), straight.state_dict()
    for part in ("generator", "critic", "ema", "generator_optimiser", "critic_optimiser", "ada"):
        assert_same(ours[part], theirs[part], part)


def test_a_wasserstein_step_with_gradient_penalty_agrees_with_plain_torch() -> None:
    """Write WGAN-GP out: two critic updates on new batches, then one generator update."""
    adam = AdamConfig(learning_rate=Anneal.constant(1e-3), beta1=0.5, beta2=Anneal.constant(0.9))
    trainer = trainer_of(
        loss=WassersteinLoss(),
        regularisers=replace(NO_PENALTY, gradient_penalty=GradientPenalty(weight=10.0)),
        optimisers=OptimisersConfig(generator=adam, critic=adam),
        schedule=ScheduleConfig(critic_steps=2),
        networks=SMALL,
        data=UNLABELLED,
    )
    generator, critic = copy.deepcopy(trainer.generator), copy.deepcopy(trainer.critic)
    d_adam = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.9))
    random = torch.Generator()
    random.set_state(trainer._noise.generator.get_state())
    penalties, losses = [], []
    for update in range(2):
        real, _ = trainer._batches.batch(16 * update, 16)
        fake = generator(torch.randn(16, 8, generator=random)).detach()
        between = real + torch.rand(16, generator=random).view(16, 1, 1, 1) * (fake - real)
        between.requires_grad_()
        (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
        penalties.append(10.0 * ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean())
        losses.append(critic(fake).mean() - critic(real).mean())
        d_adam.zero_grad()
        (losses[-1] + penalties[-1]).backward()
        d_adam.step()
    g_loss = -critic(generator(torch.randn(16, 8, generator=random))).mean()
    measures = dict(zip(trainer.measures, trainer.run_step().tolist(), strict=True))
    assert measures["critic_loss"] == pytest.approx(np.mean([item.item() for item in losses]), abs=1e-5)
    assert measures["gradient_penalty"] == pytest.approx(np.mean([item.item() for item in penalties]), rel=1e-4)
    assert measures["generator_loss"] == pytest.approx(g_loss.item(), abs=1e-4)


def test_an_auxiliary_classifiers_step_agrees_with_plain_torch() -> None:
    networks = ConvolutionalConfig(latent_dim=8, generator_width=4, critic_width=4, critic_conditioning="classifier")
    trainer = trainer_of(networks=networks, loss=HingeLoss(classification_weight=0.5))
    generator, critic = copy.deepcopy(trainer.generator), copy.deepcopy(trainer.critic)
    random = torch.Generator()
    random.set_state(trainer._noise.generator.get_state())
    real, labels = trainer._batches.batch(0, 16)
    of_fake, of_real = critic(generator(torch.randn(16, 8, generator=random), labels)), critic(real)
    measures = dict(zip(trainer.measures, trainer.run_step().tolist(), strict=True))
    hinge = F.relu(1 - of_real.scores).mean() + F.relu(1 + of_fake.scores).mean()
    classes = F.cross_entropy(of_real.class_logits, labels) + F.cross_entropy(of_fake.class_logits, labels)
    assert measures["critic_loss"] == pytest.approx(hinge.item(), abs=1e-5)
    assert measures["critic_classification"] == pytest.approx(0.5 * classes.item(), abs=1e-5)
    assert 0.0 < measures["generator_classification"] < measures["critic_classification"]


def test_an_interval_computes_penalties_in_every_so_many_th_step_with_more_weight() -> None:
    gammas = {"r1_gamma": Anneal.constant(0.5), "r2_gamma": Anneal.constant(0.25)}
    always = trainer_of(regularisers=RegularisersConfig(**gammas))
    lazy = trainer_of(regularisers=RegularisersConfig(interval=3, **gammas))
    first, first_lazy = row(always), row(lazy)
    for name in ("r1", "r2"):
        assert first_lazy[name] == pytest.approx(3 * first[name], rel=1e-5)
    later = [row(lazy) for _ in range(4)]
    assert [values["r1"] > 0 and values["r2"] > 0 for values in later] == [False, False, True, False]


def row(trainer: Trainer) -> dict[str, float]:
    return dict(zip(trainer.measures, trainer.run_step().tolist(), strict=True))
