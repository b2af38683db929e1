"""Test training with weights in channels-last order: another order in memory, the same training."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from ganserve_training import load_trained
from ganserve_training.config import RingConfig
from ganserve_training.config.serialisation import config_from_dict, config_to_dict
from ganserve_training.data import load_split
from ganserve_training.errors import ConfigChangedError, ConfigError, StoppedError
from ganserve_training.presets import PRESETS
from ganserve_training.run.training_step import Trainer
from tiny_runs import assert_same, newest_state, run_tiny, tiny_config

if TYPE_CHECKING:
    from pathlib import Path

LAST = {"memory_format": "channels-last"}


def kernels(network: torch.nn.Module) -> list[torch.Tensor]:
    """Return the weights of convolutions whose two orders differ."""
    weights = [weight for weight in network.parameters() if weight.ndim == 4]
    return [weight for weight in weights if weight.shape[1] > 1 and weight[0, 0].numel() > 1]


def are_last(network: torch.nn.Module) -> bool:
    """Return True if all are in channels-last order, False if none is."""
    (found,) = {weight.is_contiguous(memory_format=torch.channels_last) for weight in kernels(network)}
    return found


def test_an_interrupted_run_ends_bit_for_bit_like_an_uninterrupted_one(tmp_path: Path) -> None:
    config = tiny_config(**LAST)
    run_tiny(config, tmp_path / "whole")
    for stop_after in (3, 4):
        with pytest.raises(StoppedError):
            run_tiny(config, tmp_path / "parts", stop_after=stop_after)
    run_tiny(config, tmp_path / "parts")
    assert_same(newest_state(tmp_path / "parts"), newest_state(tmp_path / "whole"))
    trained = load_trained(tmp_path / "whole")
    assert all(weight.is_contiguous() for weight in kernels(trained.generator))
    with pytest.raises(ConfigChangedError, match=r"--memory-format: 'channels-last' -> 'contiguous'"):
        run_tiny(replace(config, memory_format="contiguous", steps=13), tmp_path / "whole")


@pytest.mark.parametrize("preset", ["mnist", "dcgan", "r3gan", "sngan", "stylegan2-32"])
def test_the_first_step_differs_by_rounding_only(preset: str) -> None:
    config = replace(PRESETS[preset], batch_size=8)
    samples = load_split(config.data, "train")
    trainers = [Trainer(replace(config, **change), samples) for change in ({}, LAST)]
    before = [copy.deepcopy(trainer.critic.state_dict()) for trainer in trainers]
    for trainer, last in zip(trainers, (False, True), strict=True):
        assert {are_last(net) for net in (trainer.generator, trainer.critic, trainer.ema.module)} == {last}
    ours, theirs = (trainer.run_step() for trainer in trainers)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    assert_same(*before)
    assert [are_last(trainer.critic) for trainer in trainers] == [False, True]


def test_configurations_from_before_the_option_keep_their_order() -> None:
    values = config_to_dict(tiny_config())
    del values["memory_format"]
    assert config_from_dict(values).memory_format == "contiguous"


def test_networks_without_convolutions_have_no_order() -> None:
    config = replace(PRESETS["ring"], data=RingConfig(count=100), **LAST)
    with pytest.raises(ConfigError, match=r"--memory-format channels-last: orders .* and these networks have none"):
        Trainer(config, load_split(config.data, "train"))
