"""Compare unrolling with torch's optimisers, and the generator's gradient with finite differences."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganserve_training.config import (
    AdamConfig,
    Anneal,
    AugmentationConfig,
    DigitsConfig,
    GradientPenalty,
    MlpConfig,
    ModifiedMinimaxLoss,
    OptimiserConfig,
    OptimisersConfig,
    RegularisersConfig,
    RelativisticPairingLoss,
    ScheduleConfig,
    TrainConfig,
    WassersteinLoss,
)
from ganserve_training.data import load_split
from ganserve_training.networks.critic_output import CriticOutput, as_output
from ganserve_training.objectives.critic_pass import CriticPass
from ganserve_training.objectives.losses import LOSSES, Loss
from ganserve_training.objectives.penalties import R1, R2, Penalty, Roth
from ganserve_training.objectives.unrolling import DifferentiableRule, ImaginedCritic
from ganserve_training.run.distributed import Processes
from ganserve_training.run.optimisers import OPTIMISERS, Updater
from ganserve_training.run.random_state import Noise
from ganserve_training.run.training_step import Trainer
from tiny_runs import assert_same, tiny_config

NOISE = Noise(torch.Generator())
NO_PENALTY = RegularisersConfig(r1_gamma=Anneal.constant(0.0), r2_gamma=Anneal.constant(0.0))


class Critic(nn.Sequential):
    """A critic of two layers in double precision."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1))
        self.double()

    def forward(self, samples: Tensor, labels: Tensor | None = None) -> Tensor:
        scores: Tensor = super().forward(samples)
        return scores.squeeze(1)


def settings(name: str, **changes: object) -> OptimiserConfig:
    beta2 = {} if name == "sgd" else {"beta2": Anneal(start=0.9, end=0.99)}
    return OPTIMISERS[name](learning_rate=Anneal(start=0.05, end=0.01), beta1=0.5, **beta2, **changes)


def started(config: OptimiserConfig, steps: int = 3) -> tuple[Critic, Updater]:
    """Return a critic with an optimiser that has taken some steps."""
    torch.manual_seed(0)
    critic = Critic()
    updater = Updater(critic.parameters(), config, Processes())
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        updater.optimiser.zero_grad()
        critic(torch.randn(8, 2, generator=generator, dtype=torch.float64)).square().mean().backward()
        updater.step(0.25)
    return critic, updater


def rule_of(critic: nn.Module, updater: Updater, progress: float = 0.25, clip: float = 0.0) -> DifferentiableRule:
    names = {id(parameter): name for name, parameter in critic.named_parameters()}
    return DifferentiableRule(names, updater, progress, clip)


@pytest.mark.parametrize("name", OPTIMISERS.names)
@pytest.mark.parametrize(("decay", "clip"), [(0.0, 0.0), (0.2, 0.0), (0.0, 0.3)])
@pytest.mark.parametrize("before", [0, 3])
def test_imagined_updates_equal_those_of_torchs_optimiser(name: str, decay: float, clip: float, before: int) -> None:
    """Start from an empty state and from one with a history, and take several steps."""
    critic, updater = started(settings(name, weight_decay=decay), before)
    samples = torch.randn(8, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    imagined, rule = ImaginedCritic(critic), rule_of(critic, updater, clip=clip)
    original = copy.deepcopy(critic.state_dict())
    state = copy.deepcopy(updater.optimiser.state_dict())
    for _ in range(4):
        imagined.advance(lambda: (imagined(samples, None) - 1.0).square().mean(), rule)  # type: ignore[operator]
    assert_same(dict(critic.state_dict()), dict(original))
    assert_same(updater.optimiser.state_dict()["state"], state["state"])

    for _ in range(4):
        updater.optimiser.zero_grad()
        (critic(samples) - 1.0).square().mean().backward()
        updater.step(0.25)
        if clip:
            with torch.no_grad():
                for parameter in critic.parameters():
                    parameter.clamp_(-clip, clip)
    for key, parameter in critic.named_parameters():
        torch.testing.assert_close(imagined.parameters[key], parameter, rtol=1e-9, atol=1e-9)
        assert not torch.equal(parameter, original[key])


def look_ahead(
    shift: Tensor,
    critic: Critic,
    updater: Updater,
    loss: Loss,
    steps: int,
    penalties: Sequence[Penalty] = (),
    *,
    noise: Noise = NOISE,
    together: bool = True,
) -> Tensor:
    """Return the generator's loss after k imagined updates; the generator adds `shift` to fixed points."""
    generator = torch.Generator().manual_seed(3)
    real, latents = (torch.randn(6, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    fake = latents + shift
    imagined, rule = ImaginedCritic(critic), rule_of(critic, updater)

    def score(samples: Tensor, labels: Tensor | None) -> CriticOutput:
        return as_output(imagined(samples, labels))  # type: ignore[arg-type]

    def objective() -> Tensor:
        critic_pass = CriticPass(score, real, fake, None, with_gradients=bool(penalties), together=together)
        value = loss.critic(critic_pass.real_scores, critic_pass.fake_scores)
        return torch.stack([value, *(piece.penalty(critic_pass, 0.0, noise) for piece in penalties)]).sum()

    for _ in range(steps):
        imagined.advance(objective, rule)
    real_scores = score(real, None).scores if loss.generator_needs_real_scores else None
    return loss.generator(score(fake, None).scores, real_scores)


def differences(value: Callable[[Tensor], Tensor], at: Tensor) -> list[float]:
    partials = []
    for index in range(len(at)):
        nudge = torch.zeros_like(at)
        nudge[index] = 1e-5
        partials.append((value(at + nudge) - value(at - nudge)).item() / 2e-5)
    return partials


@pytest.mark.parametrize("name", OPTIMISERS.names)
@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("loss_name", ["modified-minimax", "relativistic-pairing"])
def test_the_generators_gradient_flows_through_the_imagined_updates(name: str, steps: int, loss_name: str) -> None:
    critic, updater = started(settings(name))
    loss = LOSSES[loss_name]()
    shift = torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(look_ahead(shift, critic, updater, loss, steps), shift)
    expected = differences(lambda at: look_ahead(at, critic, updater, loss, steps), shift.detach())
    assert gradient.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-8)
    (ordinary,) = torch.autograd.grad(look_ahead(shift, critic, updater, loss, 0), shift)
    assert not torch.allclose(gradient, ordinary, rtol=1e-2)


@pytest.mark.parametrize("together", [True, False])
def test_the_gradient_flows_through_penalties(together: bool) -> None:
    """A penalty differentiates by the samples as the critic's input only, not through its imagined weights."""
    critic, updater = started(settings("adam"))
    loss = RelativisticPairingLoss()

    def value(at: Tensor) -> Tensor:
        half, noise = Anneal.constant(0.5), Noise(torch.Generator().manual_seed(1))
        penalties = (R1(gamma=half), R2(gamma=half), Roth(gamma=half), GradientPenalty(weight=1.0))
        return look_ahead(at, critic, updater, loss, 2, penalties, together=together, noise=noise)

    shift = torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(value(shift), shift)
    assert gradient.tolist() == pytest.approx(differences(value, shift.detach()), rel=1e-5, abs=1e-8)


def test_a_gradient_of_zero_has_a_finite_derivative() -> None:
    """If a weight never had a gradient, its second moment is zero, and the derivative of its root must be zero, too."""
    for name in ("adam", "rmsprop"):
        critic = Critic()
        with torch.no_grad():
            critic[2].weight.zero_()  # The gradient of the first layer is zero.
        updater = Updater(critic.parameters(), settings(name), Processes())
        shift = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        value = look_ahead(shift, critic, updater, RelativisticPairingLoss(), 2)
        (gradient,) = torch.autograd.grad(value, shift)
        assert gradient.isfinite().all()


def test_frozen_and_unused_weights_do_not_change() -> None:
    critic = Critic()
    critic[0].requires_grad_(False)
    critic.register_parameter("unused", nn.Parameter(torch.ones(2, dtype=torch.float64)))
    updater = Updater(critic.parameters(), settings("adam"), Processes())
    for _ in range(2):  # The unused weight has no state, in whichever position.
        updater.optimiser.zero_grad()
        critic(torch.ones(3, 2, dtype=torch.float64)).mean().backward()
        updater.step(0.0)
    imagined, rule = ImaginedCritic(critic), rule_of(critic, updater, 0.0)
    samples = torch.ones(3, 2, dtype=torch.float64)
    imagined.advance(lambda: imagined(samples, None).mean(), rule)  # type: ignore[attr-defined]
    assert torch.equal(imagined.parameters["unused"], critic.get_parameter("unused"))
    updater.optimiser.zero_grad()
    critic(samples).mean().backward()
    updater.step(0.0)
    torch.testing.assert_close(imagined.parameters["2.weight"], critic[2].weight)
    assert "0.weight" not in imagined.parameters


def trainer_of(config: TrainConfig) -> Trainer:
    return Trainer(config, load_split(config.data, "train"))


def unrolled_config(steps: int, **changes: object) -> TrainConfig:
    defaults: dict[str, object] = {
        "schedule": ScheduleConfig(unrolled_steps=steps, burn_in_steps=10),
        "networks": MlpConfig(latent_dim=4, generator_width=8, critic_width=8),
        "data": DigitsConfig(labels="ignore"),
        "augmentation": AugmentationConfig(),
        "loss": ModifiedMinimaxLoss(),
        "regularisers": NO_PENALTY,
    }
    return tiny_config(**(defaults | changes))


MLP = {"latent_dim": 4, "generator_width": 8, "critic_width": 8}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="plain"),
        pytest.param({"loss": RelativisticPairingLoss(), "regularisers": RegularisersConfig()}, id="relativistic"),
        pytest.param({"networks": MlpConfig(**MLP, critic_norm="batch")}, id="batch-norm"),
        pytest.param({"networks": MlpConfig(**MLP, packing=2)}, id="packing"),
        pytest.param({"networks": MlpConfig(**MLP, packing=2), "regularisers": RegularisersConfig()}, id="pack-r1"),
        pytest.param({"networks": MlpConfig(**MLP, spectral_norm="critic")}, id="spectral-norm"),
        pytest.param({"networks": MlpConfig(**MLP, minibatch_stddev_group=4)}, id="minibatch-stddev"),
        pytest.param(
            {
                "loss": WassersteinLoss(),
                "regularisers": replace(NO_PENALTY, weight_clip=0.05),
            },
            id="weight-clip",
        ),
        pytest.param({"augmentation": AugmentationConfig(translation_px=1, brightness=0.5)}, id="augmentation"),
        pytest.param({"accumulate_batches": 2}, id="accumulation"),
        pytest.param({"precision": "bfloat16"}, id="bfloat16"),
    ],
)
def test_the_generators_update_does_not_change_the_critic(changes: dict[str, object]) -> None:
    """Weights, buffers and the optimiser's state stay the same; the generator changes."""
    trainer = trainer_of(unrolled_config(2, **changes))
    trainer.run_step()
    critic, state = (
        copy.deepcopy(trainer.critic.state_dict()),
        copy.deepcopy(trainer._critic_updater.optimiser.state_dict()),
    )
    generator = copy.deepcopy(dict(trainer.generator.named_parameters()))
    parts = trainer._read_parts(16, None)
    row = trainer._update_generator(parts, 0.1)
    assert torch.stack(row).isfinite().all()
    assert_same(dict(trainer.critic.state_dict()), dict(critic))
    assert_same(trainer._critic_updater.optimiser.state_dict()["state"], state["state"])
    assert any(not torch.equal(weight, generator[name]) for name, weight in trainer.generator.named_parameters())
    assert all(weight.requires_grad for weight in trainer.critic.parameters())


def generator_gradients(trainer: Trainer, unrolled: bool, k: int) -> list[Tensor]:
    trainer.config = replace(trainer.config, schedule=replace(trainer.config.schedule, unrolled_steps=k))
    real = torch.linspace(-1.0, 1.0, 16 * 64).view(16, 1, 8, 8)
    trainer._noise.generator.manual_seed(5)
    objective, _ = trainer._generator_objective(real, None, 0.0, unrolled=unrolled)
    return list(torch.autograd.grad(objective, list(trainer.generator.parameters())))


@pytest.mark.parametrize(
    "loss", ["minimax", "wasserstein", "modified-minimax", "relativistic-pairing", "relativistic-average"]
)
def test_no_imagined_update_gives_the_ordinary_gradient(loss: str) -> None:
    clipped = replace(NO_PENALTY, weight_clip=0.05) if loss == "wasserstein" else NO_PENALTY
    trainer = trainer_of(unrolled_config(0, loss=LOSSES[loss](), regularisers=clipped))
    trainer.run_step()
    for ours, ordinary in zip(
        generator_gradients(trainer, True, 0), generator_gradients(trainer, False, 0), strict=True
    ):
        torch.testing.assert_close(ours, ordinary)


@pytest.mark.parametrize("loss", ["minimax", "modified-minimax", "relativistic-pairing"])
def test_the_trainer_looks_ahead_like_a_trained_copy_of_the_critic(loss: str) -> None:
    """Compare with the value after k real training steps of a copy on the same samples."""
    config = unrolled_config(
        3,
        loss=LOSSES[loss](),
        regularisers=RegularisersConfig(),
        optimisers=OptimisersConfig(
            generator=AdamConfig(), critic=AdamConfig(learning_rate=Anneal.constant(0.01), beta1=0.5)
        ),
    )
    trainer = trainer_of(config)
    for _ in range(2):
        trainer.run_step()
    real = torch.linspace(-1.0, 1.0, 16 * 64).view(16, 1, 8, 8)
    random = trainer._noise.generator.get_state()
    objective, row = trainer._generator_objective(real, None, 0.0, unrolled=True)
    trainer._noise.generator.set_state(random)
    fake = trainer.generator(trainer._noise.latents(trainer.prior, 16), None).detach()

    copied = copy.deepcopy(trainer)
    critic, adam = copied.critic, copied._critic_updater
    for _ in range(3):
        points = torch.cat([real, fake]).requires_grad_()
        scores = critic(points)
        (gradient,) = torch.autograd.grad(scores.sum(), points, create_graph=True)
        norms = gradient.square().sum(dim=(1, 2, 3))
        if loss == "relativistic-pairing":
            value = F.softplus(scores[16:] - scores[:16]).mean()
        else:
            value = F.softplus(-scores[:16]).mean() + F.softplus(scores[16:]).mean()
        adam.optimiser.zero_grad()
        (value + norms[:16].mean() / 2 + norms[16:].mean() / 2).backward()
        adam.step(0.0)
    minimised: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        # Metz et al. 2017, equation 9: all of f, with the imagined critic's scores of real samples.
        "minimax": lambda real, fake: -(F.softplus(-real) + F.softplus(fake)).mean(),
        "modified-minimax": lambda real, fake: F.softplus(-fake).mean(),
        "relativistic-pairing": lambda real, fake: F.softplus(real - fake).mean(),
    }
    expected = minimised[loss](critic(real), critic(fake))
    assert objective.item() == row[0].item() == pytest.approx(expected.item(), abs=1e-5)
    ordinary = minimised[loss](trainer.critic(real), trainer.critic(fake))
    assert abs(ordinary.item() - expected.item()) > 1e-3
