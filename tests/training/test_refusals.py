"""Settings that contradict each other, or that nothing would look at, are refused with words; every preset is not."""

import json
from typing import Any

import lightning_fabric
import pytest
from torch import nn

from ganserve_training import PRESETS, config_from_dict, config_to_dict
from ganserve_training.config import TrainConfig
from ganserve_training.data import load_split
from ganserve_training.errors import ConfigError
from ganserve_training.networks import MinibatchStddev, NetworkPair, build_networks
from ganserve_training.run.compatibility import check_everything, check_pair
from ganserve_training.run.trainer import Trainer
from preset_data import data_of


def constant(value: float) -> dict[str, float]:
    return {"start": value, "end": value}


NO_PENALTY = {"r1_gamma": constant(0.0), "r2_gamma": constant(0.0)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"loss": {"name": "wasserstein"}, "regularisers": NO_PENALTY},
            "loss.name must be another one while nothing bounds the critic.*weight_clip.*gradient_penalty.*spectral",
        ),
        (
            {"loss": {"name": "hinge", "label_smoothing": 0.25}},
            "label_smoothing must be 0 with loss hinge, which has no targets: use minimax or modified-minimax",
        ),
        ({"loss": {"name": "minimax", "label_smoothing": 1.0}}, "label_smoothing must be from 0 to below 1"),
        (
            {"loss": {"classification_weight": 0.5}},
            "classification_weight must be left at 1 without networks.critic_conditioning classifier",
        ),
        ({"loss": {"information_weight": 0.5}}, "information_weight must be left at 1 without networks.codes"),
        (
            {"loss": {"classification_weight": 0.0}, "networks": {"critic_conditioning": "classifier"}},
            "classification_weight must be positive with networks.critic_conditioning classifier: nothing else",
        ),
        (
            {"loss": {"information_weight": 0.0}, "networks": {"codes": {"continuous": 2}}},
            "information_weight must be positive with networks.codes.categories or networks.codes.continuous: nothing",
        ),
        *(
            (
                {"loss": {"name": name}, "regularisers": {"roth_gamma": constant(0.1)}},
                f"roth_gamma must be 0 with loss {name}: its weights are probabilities",
            )
            for name in ("wasserstein", "hinge", "least-squares", "relativistic-average", "relativistic-pairing")
        ),
        *(
            (
                {"loss": {"name": name}, "augmentation": {"translation_px": 1, "ada": {"target": 0.6}}},
                f"ada.target must be 0 with loss {name}, whose scores have no fixed zero.*augmentation.probability",
            )
            for name in ("wasserstein", "relativistic-average", "relativistic-pairing")
        ),
        (
            {"augmentation": {"ada": {"target": 0.6}}},
            "ada.target must be 0 unless there is something to adapt",
        ),
        (
            {"augmentation": {"translation_px": 1, "ada": {"target": 0.6}, "probability": constant(0.5)}},
            "augmentation.probability must be left at 1 where augmentation.ada.target sets a controller",
        ),
        (
            {"augmentation": {"ada": {"kimg": 100.0}}},
            "ada.kimg must be left at 500.0 while augmentation.ada.target is 0",
        ),
        ({"augmentation": {"ada": {"every_steps": 1}}}, "ada.every_steps must be left at 4 while"),
        (
            {"augmentation": {"probability": constant(0.5)}},
            "augmentation.probability must be left at 1 while no augmentation is on",
        ),
        (
            {"regularisers": {"gradient_penalty": {"one_sided": True}}},
            "gradient_penalty.one_sided must be left at False while regularisers.gradient_penalty.weight is 0",
        ),
        ({"regularisers": {"gradient_penalty": {"target": 2.0}}}, "gradient_penalty.target must be left at 1.0 while"),
        (
            {"regularisers": {"weight_clip": 0.01}, "networks": {"spectral_norm": "critic"}},
            "weight_clip must be 0 with networks.spectral_norm critic: both bound the critic's weights",
        ),
        (
            {"optimisers": {"critic": {"name": "sgd", "beta2": constant(0.9)}}},
            "beta2 must be left at 0.99 with optimiser sgd, which has no mean of squared gradients",
        ),
        (
            {"ema": {"half_life_kimg": 0.0, "warm_up_fraction": 0.1}},
            "ema.warm_up_fraction must be left alone while ema.half_life_kimg is 0",
        ),
        (
            {"networks": {"architecture": "progressive"}, "schedule": {"unrolled_steps": 1}},
            "unrolled_steps must be 0 with networks.architecture progressive",
        ),
    ],
)
def test_contradictions_and_settings_without_effect_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_from_dict(change)


@pytest.mark.parametrize(
    "change",
    [
        {"loss": {"name": "wasserstein"}, "regularisers": {**NO_PENALTY, "weight_clip": 0.01}},
        {"loss": {"name": "wasserstein"}, "regularisers": {**NO_PENALTY, "gradient_penalty": {"weight": 10.0}}},
        {"loss": {"name": "wasserstein"}, "regularisers": NO_PENALTY, "networks": {"spectral_norm": "critic"}},
        {"loss": {"name": "wasserstein"}},  # R1 and R2 are on.
        {"loss": {"name": "minimax", "label_smoothing": 0.25}, "regularisers": {"roth_gamma": constant(0.1)}},
        {"ema": {"half_life_kimg": 0.0, "warm_up_fraction": 0.0}},
    ],
)
def test_what_makes_sense_is_not_refused(change: dict[str, Any]) -> None:
    config_from_dict(change)


def digits_trainer(change: dict[str, Any]) -> Trainer:
    networks = {"latent_dim": 8, "generator_width": 4, "critic_width": 4, **change.pop("networks", {})}
    config = config_from_dict({"batch_size": 16, "networks": networks, **change})
    return Trainer(config, load_split(config.data, "train"), lightning_fabric.Fabric(accelerator="cpu", devices=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"batch_size": 30, "accumulate_batches": 4},
            r"--batch-size must be a multiple of 4: --accumulate-batches \(4\) x --processes \(1\) x "
            r"--networks.packing \(1\) \(got 30\): use 28 or 32",
        ),
        (
            {"batch_size": 10, "accumulate_batches": 2, "networks": {"packing": 2}, "data": {"labels": "ignore"}},
            r"multiple of 4: .*packing \(2\) \(got 10\): use 8 or 12",
        ),
        ({"batch_size": 2, "accumulate_batches": 4}, r"\(got 2\): use 4 or 8"),
        (
            {"batch_size": 20, "accumulate_batches": 2, "networks": {"minibatch_stddev_group": 4}},
            r"minibatch_stddev_group must divide what the critic scores at a time, 10 samples .*a batch of 20 "
            r"\(got 4\): use --batch-size 16",
        ),
        (
            {
                "loss": {"name": "wasserstein"},
                "regularisers": {**NO_PENALTY, "gradient_penalty": {"weight": 10.0}},
                "networks": {"architecture": "residual", "critic_norm": "batch"},
            },
            r"gradient_penalty.weight must be 0 for a critic with batch normalisation.*--networks.critic-norm layer",
        ),
        (
            {"progressive": {"fade_kimg": 1.0, "batch_sizes": [64]}},
            "progressive.fade_kimg, progressive.batch_sizes must be left out with networks.architecture convolut",
        ),
    ],
)
def test_what_only_shows_with_the_networks_is_refused_before_training(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        digits_trainer(change)


def test_groups_that_divide_and_layer_normalisation_train() -> None:
    trainer = digits_trainer(
        {
            "accumulate_batches": 2,
            "loss": {"name": "wasserstein"},
            "regularisers": {**NO_PENALTY, "gradient_penalty": {"weight": 10.0}},
            "networks": {"architecture": "dcgan", "critic_norm": "layer", "minibatch_stddev_group": 4},
        }
    )
    assert trainer.run_step().isfinite().all()


def test_a_group_within_a_custom_critic_counts_as_well() -> None:
    critic = nn.Sequential(nn.Linear(2, 4), MinibatchStddev(8))
    with pytest.raises(ConfigError, match=r"minibatch_stddev_group must divide .* 12 samples"):
        check_pair(TrainConfig(batch_size=12), NetworkPair(nn.Linear(2, 2), critic), 1)
    with pytest.raises(ConfigError, match=r"processes \(5\)"):
        check_pair(TrainConfig(batch_size=12), NetworkPair(nn.Linear(2, 2), critic), 5)


@pytest.mark.parametrize("name", PRESETS)
def test_no_preset_is_refused(name: str) -> None:
    """As a value, from its file, and together with networks for its data."""
    config = config_from_dict(json.loads(json.dumps(config_to_dict(PRESETS[name]))))
    assert config == PRESETS[name]
    data = data_of(config)
    check_everything(config, data, build_networks(config.networks, data), 1)
