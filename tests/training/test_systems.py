"""Every loss with every architecture and every remedy that fits takes two steps with finite measures."""

import functools
from typing import Any

import lightning_fabric
import pytest
import torch

from ganserve_training.config import LossName, TrainConfig
from ganserve_training.config_io import config_from_dict
from ganserve_training.data import Samples, load_split
from ganserve_training.trainer import Trainer

LOSSES: list[LossName] = [
    *("minimax", "modified-minimax", "wasserstein", "hinge", "least-squares"),
    *("relativistic-average", "relativistic-pairing"),
]
CONVOLUTIONAL = ("convolutional", "dcgan", "residual", "progressive", "r3gan")
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
SIZES: dict[str, dict[str, Any]] = {
    "mlp": {"generator_layers": 2, "critic_layers": 2, "generator_width": 8, "critic_width": 8},
    "r3gan": {"group_size": 4, "generator_width": 4, "critic_width": 4},
}


def system(architecture: str, loss: str, remedy: str) -> TrainConfig | None:
    """The configuration; None: the remedy doesn't fit the architecture."""
    change = {name: dict(value) if isinstance(value, dict) else value for name, value in REMEDIES[remedy].items()}
    networks = {
        "architecture": architecture,
        "latent_dim": 4,
        "generator_width": 4,
        "critic_width": 4,
        **SIZES.get(architecture, {}),
        **change.pop("networks", {}),
    }
    if architecture == "dcgan" and remedy == "gradient-penalty":
        networks["critic_norm"] = "layer"
    fields: dict[str, Any] = {"batch_size": 16, "steps": 1000, "loss": {"name": loss}, "networks": networks, **change}
    if architecture == "mlp":
        if remedy == "classifier":
            return None  # The ring has no labels.
        fields["data"] = {"source": "ring", "count": 1000}
        fields.get("augmentation", {}).update(brightness=0.0, contrast=0.0, cutout_fraction=0.0, translation_px=0)
    if architecture == "progressive":
        if remedy == "unrolled":
            return None
        fields["progressive"] = {"fade_kimg": 0.064, "stable_kimg": 0.016}
    return config_from_dict(fields)


@functools.cache
def samples_of(source: str, labels: str) -> Samples:
    return load_split(config_from_dict({"data": {"source": source, "labels": labels}}).data, "train")


@pytest.mark.parametrize("remedy", REMEDIES)
@pytest.mark.parametrize("architecture", ["mlp", *CONVOLUTIONAL])
def test_every_loss_trains_with_it(architecture: str, remedy: str) -> None:
    fabrics = {
        name: lightning_fabric.Fabric(accelerator="cpu", devices=1, precision=precision)  # type: ignore[arg-type]
        for name, precision in (("float32", "32-true"), ("bfloat16", "bf16-mixed"))
    }
    for loss in LOSSES:
        config = system(architecture, loss, remedy)
        if config is None:
            return
        trainer = Trainer(config, samples_of(config.data.source, config.data.labels), fabrics[config.precision])
        before = [parameter.detach().clone() for parameter in trainer.generator.parameters()]
        rows = torch.stack([trainer.run_step() for _ in range(2)])
        assert rows.isfinite().all(), (loss, dict(zip(trainer.measures, rows.tolist()[-1], strict=True)))
        assert trainer.weights_are_finite()
        moved = any(not torch.equal(a, b) for a, b in zip(before, trainer.generator.parameters(), strict=True))
        assert moved, loss
