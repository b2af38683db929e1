"""Train two steps with every loss, architecture and remedy that fit together, with finite measures."""

import copy
import functools
import sys
import types
from typing import Any

import pytest
import torch

from ganserve_training.config import TrainConfig
from ganserve_training.config.serialisation import config_from_dict
from ganserve_training.data import Samples, load_split
from ganserve_training.objectives.losses import LOSSES
from ganserve_training.run.training_step import Trainer

CONVOLUTIONAL = ("convolutional", "dcgan", "residual", "progressive", "r3gan", "stylegan2")
UNLABELLED = {"data": {"labels": "ignore"}}


def constant(value: float) -> dict[str, float]:
    return {"start": value, "end": value}


NO_PENALTY = {"r1_gamma": constant(0.0), "r2_gamma": constant(0.0)}
REMEDIES: dict[str, dict[str, Any]] = {
    "r1-r2": {},
    "gradient-penalty": {
        "regularisers": {**NO_PENALTY, "gradient_penalty": {"weight": 10.0}, "drift": 0.001},
        "schedule": {"critic_steps": 2},
    },
    "clip": {
        "regularisers": {**NO_PENALTY, "weight_clip": 0.05},
        "optimisers": {"critic": {"name": "rmsprop"}, "generator": {"name": "rmsprop", "weight_decay": 0.01}},
    },
    "unrolled": {"regularisers": {**NO_PENALTY, "weight_clip": 1.0}, "schedule": {"unrolled_steps": 2}},
    "packing": {"networks": {"packing": 2}, "accumulate_batches": 2, **UNLABELLED},
    "codes": {"networks": {"codes": {"categories": 3, "continuous": 1}, "minibatch_stddev_group": 4}, **UNLABELLED},
    "mixed": {
        "precision": "bfloat16",
        "augmentation": {
            "brightness": 0.5,
            "contrast": 0.5,
            "cutout_fraction": 0.5,
            "translation_px": 1,
            "instance_noise": {"start": 0.2, "end": 0.0},
        },
    },
    "classifier": {"networks": {"critic_conditioning": "classifier"}},
}
# These do not depend on the loss: one case each is enough.
ONE_LOSS: dict[str, tuple[str, dict[str, Any]]] = {
    "roth": ("minimax", {"regularisers": {**NO_PENALTY, "roth_gamma": constant(1.0)}}),
    "smoothing": ("modified-minimax", {"loss": {"label_smoothing": 0.25}, "schedule": {"generator_steps": 3}}),
    "spectral-norm": ("wasserstein", {"networks": {"spectral_norm": "both"}, "regularisers": NO_PENALTY}),
    "ada": (
        "hinge",
        {
            "augmentation": {
                "translation_px": 1,
                "contrast": 0.5,
                "brightness": 0.5,
                "ada": {"target": 0.6, "every_steps": 1, "kimg": 0.1},
            }
        },
    ),
    "unrolled-penalty": (
        "least-squares",
        {"regularisers": {**NO_PENALTY, "gradient_penalty": {"weight": 1.0}}, "schedule": {"unrolled_steps": 2}},
    ),
    "unrolled-roth-and-r2": (
        "modified-minimax",
        {
            "regularisers": {"r1_gamma": constant(0.0), "roth_gamma": constant(0.5)},
            "schedule": {"unrolled_steps": 1, "critic_steps": 2, "generator_steps": 2},
        },
    ),
}
OWN = """
import math
import torch
from torch import nn

class Generator(nn.Module):
    def __init__(self, latent_dim, sample_shape):
        super().__init__()
        self.shape = sample_shape
        self.body = nn.Sequential(nn.Linear(latent_dim, 8), nn.Tanh(), nn.Linear(8, math.prod(sample_shape)))
    def forward(self, latents, labels):
        return self.body(latents).view(-1, *self.shape)

class Critic(nn.Module):
    def __init__(self, sample_shape):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(sample_shape), 8), nn.Tanh(), nn.Linear(8, 1))
    def forward(self, samples, labels):
        return self.body(samples).squeeze(1)
"""
SIZES: dict[str, dict[str, Any]] = {
    "mlp": {"generator_layers": 2, "critic_layers": 2, "generator_width": 8, "critic_width": 8},
    "r3gan": {"group_size": 4, "generator_width": 4, "critic_width": 4},
    "stylegan2": {"w_dim": 4, "max_width": 8},
    "custom": {
        "generator_class": "own_networks:Generator",
        "critic_class": "own_networks:Critic",
        "generator_width": 32,
        "critic_width": 32,
    },
}


def system(architecture: str, loss: str, remedy: str) -> TrainConfig | None:
    """Return the configuration; None: the remedy does not fit the architecture."""
    change = copy.deepcopy(REMEDIES[remedy] if remedy in REMEDIES else ONE_LOSS[remedy][1])
    networks = {
        "architecture": architecture,
        "latent_dim": 4,
        "generator_width": 4,
        "critic_width": 4,
        **SIZES.get(architecture, {}),
        **change.pop("networks", {}),
    }
    if architecture == "dcgan" and remedy in ("gradient-penalty", "unrolled-penalty"):
        networks["critic_norm"] = "layer"
    game = {"name": loss, **change.pop("loss", {})}
    fields: dict[str, Any] = {"batch_size": 16, "steps": 1000, "loss": game, "networks": networks, **change}
    if architecture == "custom":
        fields |= UNLABELLED
    if architecture == "mlp":
        if remedy == "classifier":
            return None  # The ring has no labels.
        fields["data"] = {"source": "ring", "count": 1000}
        if remedy == "ada":
            return None  # Vectors have no augmentation to adapt.
        fields.get("augmentation", {}).update(brightness=0.0, contrast=0.0, cutout_fraction=0.0, translation_px=0)
    if remedy == "spectral-norm" and architecture in ("progressive", "r3gan", "stylegan2"):
        return None  # Refused with a message.
    if remedy in ("codes", "classifier") and architecture == "stylegan2":
        return None  # Its critic has no heads.
    if architecture == "progressive":
        if remedy.startswith("unrolled"):
            return None
        networks |= {"fade_kimg": 0.064, "stable_kimg": 0.016}
    return config_from_dict(fields)


@functools.cache
def samples_of(source: str, labels: str) -> Samples:
    return load_split(config_from_dict({"data": {"source": source, "labels": labels}}).data, "train")


@pytest.mark.parametrize("architecture", ["mlp", *CONVOLUTIONAL])
def test_losses_train_in_turn(architecture: str) -> None:
    """Train with each loss and with each remedy, two losses to a remedy."""
    losses, trained = LOSSES.names, set()
    for index, remedy in enumerate(REMEDIES):
        for loss in (losses[2 * index % len(losses)], losses[(2 * index + 1) % len(losses)]):
            if config := system(architecture, loss, remedy):
                check_steps(config)
                trained.add(loss)
    assert trained == set(losses) or architecture == "stylegan2"  # Two remedies need heads.


@pytest.mark.slow
@pytest.mark.parametrize("remedy", REMEDIES)
@pytest.mark.parametrize("architecture", ["mlp", *CONVOLUTIONAL])
def test_every_loss_trains(architecture: str, remedy: str) -> None:
    for loss in LOSSES.names:
        config = system(architecture, loss, remedy)
        if config is None:
            return
        check_steps(config)


def check_steps(config: TrainConfig) -> None:
    """Take two steps; everything must be finite and both players must change."""
    trainer = Trainer(config, samples_of(config.data.source, config.data.labels))
    players = {"generator": trainer.generator, "critic": trainer.critic}
    before = {name: [weight.detach().clone() for weight in player.parameters()] for name, player in players.items()}
    rows = torch.stack([trainer.run_step() for _ in range(2)])
    assert rows.isfinite().all(), (config.loss, dict(zip(trainer.measures, rows.tolist()[-1], strict=True)))
    assert trainer.weights_are_finite()
    for name, player in players.items():
        moved = any(not torch.equal(a, b) for a, b in zip(before[name], player.parameters(), strict=True))
        assert moved, (name, config.loss)


@pytest.mark.parametrize("remedy", ONE_LOSS)
def test_every_remedy_trains(remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = types.ModuleType("own_networks")
    exec(OWN, own.__dict__)
    monkeypatch.setitem(sys.modules, "own_networks", own)
    trained = 0
    for architecture in ("mlp", "custom", *CONVOLUTIONAL):
        config = system(architecture, ONE_LOSS[remedy][0], remedy)
        if config is not None:
            check_steps(config)
            trained += 1
    assert trained >= 5
