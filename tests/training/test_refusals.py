"""Test that contradictory or useless options are refused with a message, and presets are accepted."""

import json
from typing import Any

import pytest
from torch import nn

from ganserve_training import PRESETS, config_from_dict, config_to_dict
from ganserve_training.config import TrainConfig, owners
from ganserve_training.data import load_split
from ganserve_training.errors import ConfigError
from ganserve_training.networks import MinibatchStddev, NetworkPair, build_networks
from ganserve_training.run.compatibility import check_everything, check_pair
from ganserve_training.run.training_step import Trainer
from preset_data import data_of


def constant(value: float) -> dict[str, float]:
    return {"start": value, "end": value}


NO_PENALTY = {"r1_gamma": constant(0.0), "r2_gamma": constant(0.0)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"loss": {"name": "wasserstein"}, "regularisers": NO_PENALTY},
            r"^--loss.name wasserstein: needs a bounded critic\. .*gradient-penalty.weight 10.*weight-clip 0.01.*spec",
        ),
        (
            {"loss": {"name": "minimax", "label_smoothing": 1.0}},
            "^--loss.label-smoothing 1.0: must be from 0 to below 1",
        ),
        (
            {"loss": {"classification_weight": 0.5}},
            "^--loss.classification-weight 0.5: has no effect without --networks.critic-conditioning classifier",
        ),
        (
            {"loss": {"information_weight": 0.5}},
            "^--loss.information-weight 0.5: has no effect without --networks.codes",
        ),
        (
            {"loss": {"classification_weight": 0.0}, "networks": {"critic_conditioning": "classifier"}},
            "^--loss.classification-weight 0.0: must be positive with --networks.critic-conditioning classifier. With",
        ),
        (
            {"loss": {"information_weight": 0.0}, "networks": {"codes": {"continuous": 2}}},
            "^--loss.information-weight 0.0: must be positive with --networks.codes.categories or .*continuous. Witho",
        ),
        *(
            (
                {"loss": {"name": name}, "regularisers": {"roth_gamma": constant(0.1)}},
                f"^--regularisers.roth-gamma.{{start,end}} 0.1: needs scores that are logits, and those of --loss.name "
                f"{name} are not. Use --loss.name minimax or modified-minimax",
            )
            for name in ("wasserstein", "hinge", "least-squares", "relativistic-average", "relativistic-pairing")
        ),
        *(
            (
                {"loss": {"name": name}, "augmentation": {"translation_px": 1, "ada": {"target": 0.6}}},
                f"^--augmentation.ada.target 0.6: needs scores with a fixed zero, and those of --loss.name {name} have",
            )
            for name in ("wasserstein", "relativistic-average", "relativistic-pairing")
        ),
        (
            {"augmentation": {"ada": {"target": 0.6}}},
            "^--augmentation.ada.target 0.6: has no augmentation to adapt. Switch on one of --augmentation.translatio",
        ),
        (
            {"augmentation": {"translation_px": 1, "ada": {"target": 0.6}, "probability": constant(0.5)}},
            "^--augmentation.probability.{start,end} 0.5: has no effect while --augmentation.ada.target lets a contro",
        ),
        (
            {"augmentation": {"ada": {"kimg": 100.0}}},
            "^--augmentation.ada.kimg 100.0: has no effect while --augmentation.ada.target is 0",
        ),
        ({"augmentation": {"ada": {"every_steps": 1}}}, "^--augmentation.ada.every-steps 1: has no effect while"),
        (
            {"augmentation": {"probability": constant(0.5)}},
            "^--augmentation.probability.{start,end} 0.5: has no effect while no augmentation is on",
        ),
        (
            {"regularisers": {"gradient_penalty": {"one_sided": True}}},
            "^--regularisers.gradient-penalty.one-sided True: has no effect while the penalty's weight is 0. Add --re",
        ),
        (
            {"regularisers": {"gradient_penalty": {"target": 2.0}}},
            "^--regularisers.gradient-penalty.target 2.0: has no effect while",
        ),
        (
            {"regularisers": {"weight_clip": 0.01}, "networks": {"spectral_norm": "critic"}},
            "^--regularisers.weight-clip 0.01: bounds the critic's weights, as --networks.spectral-norm critic does",
        ),
        (
            {"ema": {"half_life_kimg": 0.0, "warm_up_fraction": 0.1}},
            "^--ema.warm-up-fraction 0.1: has no effect while --ema.half-life-kimg is 0",
        ),
        (
            {"networks": {"architecture": "progressive"}, "schedule": {"unrolled_steps": 1}},
            "^--schedule.unrolled-steps 1: needs a critic that does not grow",
        ),
    ],
)
def test_contradictions_and_settings_without_effect_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_from_dict(change)


@pytest.mark.parametrize(
    ("change", "option", "choices"),
    [
        (
            {"loss": {"name": "hinge", "label_smoothing": 0.25}},
            "loss.label_smoothing",
            ("minimax", "modified-minimax"),
        ),
        (
            {"optimisers": {"critic": {"name": "sgd", "beta2": constant(0.9)}}},
            "optimisers.critic.beta2",
            ("adam", "rmsprop"),
        ),
        (
            {"networks": {"architecture": "convolutional", "fade_kimg": 1.0}},
            "networks.fade_kimg",
            ("custom", "progressive"),
        ),
    ],
)
def test_an_option_exists_only_where_it_means_something(
    change: dict[str, Any], option: str, choices: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError, match=f"^{option}: is unknown"):
        config_from_dict(change)
    assert owners(option) == choices


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
def test_valid_combinations_are_accepted(change: dict[str, Any]) -> None:
    config_from_dict(change)


def digits_trainer(change: dict[str, Any]) -> Trainer:
    networks = {"latent_dim": 8, "generator_width": 4, "critic_width": 4, **change.pop("networks", {})}
    config = config_from_dict({"batch_size": 16, "networks": networks, **change})
    return Trainer(config, load_split(config.data, "train"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"batch_size": 30, "accumulate_batches": 4},
            "^--batch-size 30: must be a multiple of 4: --accumulate-batches 4 x --processes 1 x --networks.packing 1. "
            "Use 28 or 32",
        ),
        (
            {"batch_size": 10, "accumulate_batches": 2, "networks": {"packing": 2}, "data": {"labels": "ignore"}},
            "^--batch-size 10: must be a multiple of 4: .*packing 2. Use 8 or 12",
        ),
        ({"batch_size": 2, "accumulate_batches": 4}, "^--batch-size 2: .* Use 4 or 8"),
        (
            {"batch_size": 20, "accumulate_batches": 2, "networks": {"minibatch_stddev_group": 4}},
            "^--networks.minibatch-stddev-group 4: must divide what the critic scores at a time, 10 samples .*of "
            "20. Use --batch-size 16",
        ),
        (
            {
                "loss": {"name": "wasserstein"},
                "regularisers": {**NO_PENALTY, "gradient_penalty": {"weight": 10.0}},
                "networks": {"architecture": "residual", "critic_norm": "batch"},
            },
            "^--regularisers.gradient-penalty.weight 10.0: needs a critic without batch normal.*--networks.critic-nor",
        ),
    ],
)
def test_problems_of_the_built_networks_are_refused_before_training(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        digits_trainer(change)


def test_valid_groups_and_layer_normalisation_train() -> None:
    trainer = digits_trainer(
        {
            "accumulate_batches": 2,
            "loss": {"name": "wasserstein"},
            "regularisers": {**NO_PENALTY, "gradient_penalty": {"weight": 10.0}},
            "networks": {"architecture": "dcgan", "critic_norm": "layer", "minibatch_stddev_group": 4},
        }
    )
    assert trainer.run_step().isfinite().all()


def test_a_minibatch_group_in_a_custom_critic_is_checked() -> None:
    critic = nn.Sequential(nn.Linear(2, 4), MinibatchStddev(8))
    with pytest.raises(ConfigError, match=r"minibatch-stddev-group 8: must divide .* 12 samples"):
        check_pair(TrainConfig(batch_size=12), NetworkPair(nn.Linear(2, 2), critic), 1)
    with pytest.raises(ConfigError, match="--processes 5"):
        check_pair(TrainConfig(batch_size=12), NetworkPair(nn.Linear(2, 2), critic), 5)


def test_batch_norm_in_a_custom_critic_is_refused_with_its_own_fix() -> None:
    config = config_from_dict(
        {
            "networks": {"architecture": "custom", "generator_class": "a:B", "critic_class": "a:C"},
            "regularisers": {**NO_PENALTY, "gradient_penalty": {"weight": 10.0}},
        }
    )
    with pytest.raises(ConfigError, match=r"without batch normalisation.*Use layer norm in yours, or none"):
        check_pair(config, NetworkPair(nn.Linear(2, 2), nn.BatchNorm1d(2)), 1)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_accepted(name: str) -> None:
    """Accept it as a value, from JSON, and with networks for its data."""
    config = config_from_dict(json.loads(json.dumps(config_to_dict(PRESETS[name]))))
    assert config == PRESETS[name]
    data = data_of(config)
    check_everything(config, data, build_networks(config.networks, data), 1)
