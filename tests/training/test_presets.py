"""Test every preset: two steps on its data, its JSON, and its command line."""

import json
from dataclasses import replace

import pytest
import torch

from ganserve_training.commands.train import main
from ganserve_training.config.serialisation import config_from_dict, config_to_dict, flat_config
from ganserve_training.networks import build_networks
from ganserve_training.networks.growth import GrowthConfig, timetable
from ganserve_training.presets import PRESETS
from ganserve_training.run.training_step import Trainer
from preset_data import fewer, training_samples


@pytest.mark.parametrize("name", PRESETS)
def test_two_steps_change_both_players(name: str) -> None:
    config = replace(PRESETS[name], batch_size=8)
    if name == "stylegan2-256":  # For a GPU: here with few channels.
        config = replace(config, networks=replace(config.networks, generator_width=1, critic_width=1, max_width=8))
    trainer = Trainer(config, training_samples(fewer(config.data)))
    players = [trainer.generator, trainer.critic]
    before = [[parameter.detach().clone() for parameter in player.parameters()] for player in players]
    measures = torch.stack([trainer.run_step() for _ in range(2)])
    assert measures.isfinite().all(), dict(zip(trainer.measures, measures.tolist()[-1], strict=True))
    assert trainer.weights_are_finite()
    for player, weights in zip(players, before, strict=True):
        assert any(not torch.equal(old, new) for old, new in zip(weights, player.parameters(), strict=True))


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_json(name: str) -> None:
    preset = PRESETS[name]
    assert config_from_dict(json.loads(json.dumps(config_to_dict(preset)))) == preset


@pytest.mark.parametrize("name", PRESETS)
def test_annealing_ends_before_training_does(name: str) -> None:
    preset = PRESETS[name]
    values = flat_config(preset)
    moves = [path for path in values if path.endswith(".start") and values[path] != values[path[:-5] + "end"]]
    assert not moves or preset.schedule.burn_in_steps <= preset.steps


def test_the_growing_preset_continues_after_it_has_grown() -> None:
    growing = [preset for preset in PRESETS.values() if isinstance(preset.networks, GrowthConfig)]
    assert growing
    for preset in growing:
        info = training_samples(fewer(preset.data)).info
        growth = timetable(build_networks(preset.networks, info).generator, preset.networks, preset.batch_size)
        assert growth is not None
        assert growth.steps_until_grown(preset.schedule.critic_steps) <= 0.9 * preset.steps


@pytest.mark.parametrize("name", ["digits-infogan", "progressive-32", "r3gan-32"])
def test_the_command_line_lists_its_values(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"runs/{name}" in text
    assert f"(default: {PRESETS[name].networks.architecture})" in " ".join(text.split())
