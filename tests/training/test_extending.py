"""Add a loss, a penalty, an architecture, a data source, an optimiser and a metric from outside.

Each test is a recipe; CONTRIBUTING.md quotes them.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ganserve_training import evaluate_run, load_trained, train
from ganserve_training.commands.train_arguments import read_arguments
from ganserve_training.config import (
    DcganConfig,
    HingeLoss,
    MinimaxLoss,
    RegularisersConfig,
    TrainConfig,
    register_architecture,
    register_loss,
    register_optimiser,
    register_penalty,
    register_source,
)
from ganserve_training.config.choices import CHOICES
from ganserve_training.data import DataInfo, Vectors
from ganserve_training.data.config import DrawnDataConfig
from ganserve_training.errors import ConfigError
from ganserve_training.evaluation import metric as metric_module
from ganserve_training.evaluation.metric import Figure, Metric, register_metric
from ganserve_training.evaluation.options import EvaluationOptions
from ganserve_training.networks import build_networks
from ganserve_training.networks.base import Critic, Generator
from ganserve_training.networks.config import BuiltInConfig
from ganserve_training.objectives.losses import Loss
from ganserve_training.objectives.penalties import PENALTIES, Penalty
from ganserve_training.run.compatibility import check_pair
from ganserve_training.run.optimisers import OptimiserConfig
from tiny_runs import tiny_config


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the classes that a test registers."""
    for registry in {*CHOICES.values(), PENALTIES}:
        monkeypatch.setattr(registry, "_kinds", dict(registry._kinds))
    metric_module.all_metrics()  # Otherwise classes imported later would be removed, too.
    monkeypatch.setattr(metric_module, "_METRICS", dict(metric_module._METRICS))


def trained(config: TrainConfig, run: Path) -> TrainConfig:
    """Train, and return the configuration as the run's folder has it."""
    train(config, run, device="cpu")
    return load_trained(run).config


def test_a_loss(tmp_path: Path) -> None:
    @register_loss
    @dataclass(frozen=True, kw_only=True)
    class ExponentialLoss(Loss):
        """Critic: E exp(-r D(x)) + E exp(r D(G(z))); generator: E exp(-r D(G(z)))."""

        name = "exponential"
        has_zero = True

        rate: float = 1.0
        """Rate r at which the cost of a wrong score grows."""

        def critic(self, real_scores: torch.Tensor, fake_scores: torch.Tensor) -> torch.Tensor:
            return torch.exp(-self.rate * real_scores).mean() + torch.exp(self.rate * fake_scores).mean()

        def generator(self, fake_scores: torch.Tensor, real_scores: torch.Tensor | None) -> torch.Tensor:
            return torch.exp(-self.rate * fake_scores).mean()

    config = tiny_config(loss=ExponentialLoss(rate=0.5))
    assert trained(config, tmp_path) == config
    asked = read_arguments(["digits", "--loss.name", "exponential", "--loss.rate", "0.5"])
    assert asked.config.loss == ExponentialLoss(rate=0.5)


def test_a_penalty(tmp_path: Path) -> None:
    @register_penalty
    @dataclass(frozen=True, kw_only=True)
    class Centre(Penalty):
        """Keep scores around zero: w * (E D(x) + E D(G(z)))^2."""

        name = "centre"

        weight: float = 0.1
        """Weight w."""

        def penalty(self, critic_pass, progress, noise):
            return (critic_pass.real_scores.mean() + critic_pass.fake_scores.mean()).square() * self.weight

    config = tiny_config(regularisers=RegularisersConfig(more=(Centre(weight=0.2),)))
    assert trained(config, tmp_path) == config
    assert '"centre": ' in (tmp_path / "log.jsonl").read_text()


def test_an_architecture(tmp_path: Path) -> None:
    class LinearGenerator(Generator):
        def __init__(self, config, shape, conditioning):
            super().__init__(config, conditioning)
            self.shape, self.scale = shape, config.scale
            self.layer = nn.Linear(self.input_dim, math.prod(shape))

        def generate(self, inputs, labels):
            return torch.tanh(self.layer(inputs)).view(len(inputs), *self.shape) * self.scale

    class LinearCritic(Critic):
        def __init__(self, config, shape, conditioning):
            super().__init__(config, (math.prod(shape),), conditioning)
            self.layer = nn.Linear(self.input_channels, config.critic_width)
            self.add_heads(config.critic_width, lambda critic: None)

        def prepare(self, samples):
            return samples.flatten(1)

        def extract(self, samples):
            return torch.relu(self.layer(samples))

    @register_architecture
    @dataclass(frozen=True, kw_only=True)
    class LinearConfig(BuiltInConfig):
        """One layer each, for samples of any shape."""

        architecture = "linear"
        players = (LinearGenerator, LinearCritic)

        scale: float = 1.0
        """Factor of the samples."""

    config = tiny_config(networks=LinearConfig(latent_dim=4, scale=0.5))
    assert trained(config, tmp_path) == config
    asked = read_arguments(["digits", "--networks.architecture", "linear", "--networks.scale", "0.5"])
    assert asked.config.networks.architecture == "linear"


def test_a_data_source(tmp_path: Path) -> None:
    @register_source
    @dataclass(frozen=True, kw_only=True)
    class SpiralConfig(DrawnDataConfig):
        """Points on a spiral in the plane."""

        source = "spiral"
        default_count = 1000

        turns: float = 2.0
        """Number of turns of the spiral."""

        def load(self, report):
            way = np.random.default_rng(self.split_seed).random(self.total)
            angles = 2 * np.pi * self.turns * way
            points = way[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
            return Vectors.standardised(points.astype(np.float32))

    words = ["ring", "--data.source", "spiral", "--data.turns", "3", "--steps", "4", "--networks.generator-width", "4"]
    config = read_arguments(words).config
    assert config.data == SpiralConfig(turns=3.0)
    assert trained(config, tmp_path) == config


def test_an_optimiser(tmp_path: Path) -> None:
    @register_optimiser
    @dataclass(frozen=True, kw_only=True)
    class AdagradConfig(OptimiserConfig):
        """Adagrad (Duchi et al. 2011)."""

        name = "adagrad"

        def build(self, parameters):
            return torch.optim.Adagrad(parameters, lr=self.learning_rate.start)

    words = ["digits", "--optimisers.critic.name", "adagrad", "--networks.generator-width", "2", "--steps", "2"]
    config = read_arguments(words).config
    assert isinstance(config.optimisers.critic, AdagradConfig)
    with pytest.raises(
        ConfigError, match=r"^--schedule.unrolled-steps 2: can't look ahead through .*adagrad. Use --opt"
    ):
        read_arguments([*words, "--schedule.unrolled-steps", "2"])
    assert trained(config, tmp_path) == config


def test_a_metric(tmp_path: Path) -> None:
    register_metric(
        Metric(
            name="brightness",
            measure=lambda material: {"brightness": float(material.values.mean())},
            figures={"brightness": Figure("brightness", "mean of all pixels, 0 to 1")},
        )
    )
    train(tiny_config(), tmp_path, device="cpu")
    evaluation = evaluate_run(tmp_path, EvaluationOptions(samples=40, metrics=("brightness",)))
    assert 0.0 < evaluation.metrics["brightness"] < 1.0


@dataclass(frozen=True, kw_only=True)
class Unbounded(Loss):
    """A loss whose scores need a bound."""

    name = "unbounded"
    needs_bounded_critic = True


@dataclass(frozen=True, kw_only=True)
class Sure(Penalty):
    """A penalty that reads scores as logits of single samples."""

    name = "sure"
    needs_logits = True
    needs_unmixed_samples = True


@dataclass(frozen=True, kw_only=True)
class Loose(Penalty):
    """A penalty that leaves scores unbounded."""

    name = "loose"
    bounds_critic = False


@dataclass(frozen=True, kw_only=True)
class Growing(DcganConfig):
    """Networks that grow, with a bounded critic."""

    architecture = "growing"
    grows = True
    bounds_critic = True


def test_a_loss_says_what_it_needs_of_the_critic() -> None:
    register_loss(Unbounded)
    off = [f"--regularisers.{name}-gamma.{end}=0" for name in ("r1", "r2") for end in ("start", "end")]
    words = ["digits", "--loss.name", "unbounded", *off]
    with pytest.raises(ConfigError, match=r"^--loss.name unbounded: needs a bounded critic"):
        read_arguments(words)
    config = read_arguments([*words, "--regularisers.weight-clip", "0.01"]).config
    assert config.loss == Unbounded()
    with pytest.raises(ConfigError, match=r"^--loss.name unbounded: needs a bounded critic"):
        replace(config, regularisers=replace(RegularisersConfig.none(), more=(Loose(),)))
    replace(config, regularisers=RegularisersConfig.none(), networks=Growing())


def test_a_penalty_says_what_it_needs_of_the_loss_and_the_critic() -> None:
    penalties = replace(RegularisersConfig.none(), more=(Sure(),))
    with pytest.raises(ConfigError, match=r"^--regularisers.more .*Sure.*: needs scores that are logits"):
        TrainConfig(loss=HingeLoss(), regularisers=penalties)
    config = TrainConfig(loss=MinimaxLoss(), regularisers=penalties, networks=DcganConfig())
    with pytest.raises(ConfigError, match=r"^--regularisers.more .*: needs a critic without batch normalisation"):
        check_pair(config, build_networks(config.networks, DataInfo(sample_shape=(16, 16, 1))), 1)
    config = replace(config, networks=DcganConfig(critic_norm="none"))
    check_pair(config, build_networks(config.networks, DataInfo(sample_shape=(16, 16, 1))), 1)


def test_an_architecture_says_that_it_grows() -> None:
    register_architecture(Growing)
    with pytest.raises(ConfigError, match=r"^--schedule.unrolled-steps 2: needs a critic that does not grow"):
        read_arguments(["digits", "--networks.architecture", "growing", "--schedule.unrolled-steps", "2"])


def test_a_name_is_registered_once() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Hinge(Loss):
        """A loss with a name that is taken."""

        name = "hinge"

    with pytest.raises(ConfigError, match=r"^name hinge: is registered twice\. Give your class another name"):
        register_loss(Hinge)
