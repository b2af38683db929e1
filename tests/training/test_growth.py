"""Test progressive growing: the timetable at its boundaries, faded real images, and the trainer."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ganserve_training.config import (
    AugmentationConfig,
    ConvolutionalConfig,
    DigitsConfig,
    HingeLoss,
    ProgressiveConfig,
    ScheduleConfig,
    TrainConfig,
)
from ganserve_training.data import load_split
from ganserve_training.errors import ConfigError
from ganserve_training.networks import build_networks
from ganserve_training.networks.growth import Growth, Phase, reals_at, stage_of
from ganserve_training.run.training_step import Trainer
from tiny_runs import assert_same, tiny_config


def growth(batch_sizes: tuple[int, ...] = ()) -> Growth:
    """Return a timetable of levels 0 to 2, 4 x 4 to 16 x 16, each with 300 samples in full and 200 to fade in."""
    return Growth(ProgressiveConfig(fade_kimg=0.2, stable_kimg=0.3, batch_sizes=batch_sizes), 2, 64)


@pytest.mark.parametrize(
    ("seen", "level", "alpha"),
    [
        (0, 0, 1.0),
        (299, 0, 1.0),
        (300, 1, 0.0),
        (400, 1, 0.5),
        (499, 1, 0.995),
        (500, 1, 1.0),
        (799, 1, 1.0),
        (800, 2, 0.0),
        (850, 2, 0.25),
        (1000, 2, 1.0),
        (1299, 2, 1.0),
        (1300, 2, 1.0),
        (10**9, 2, 1.0),
    ],
)
def test_the_timetable(seen: int, level: int, alpha: float) -> None:
    phase = growth().phase(seen)
    assert (phase.level, phase.batch_size) == (level, 64)
    assert phase.alpha == pytest.approx(alpha, abs=1e-12)


def test_each_level_has_its_batch_size() -> None:
    timetable = growth((8, 4, 2))
    assert [timetable.phase(seen).batch_size for seen in (0, 299, 300, 799, 800, 10**6)] == [8, 8, 4, 4, 2, 2]
    with pytest.raises(ConfigError, match="must have 3 values, one for each level from the coarsest to the full image"):
        growth((8, 4))


@pytest.mark.parametrize("batch_sizes", [(), (100, 50, 25), (7, 11, 13), (2000, 3, 2), (300, 500, 200)])
@pytest.mark.parametrize("critic_steps", [1, 3])
def test_the_number_of_steps_to_grow(batch_sizes: tuple[int, ...], critic_steps: int) -> None:
    timetable, seen, steps = growth(batch_sizes), 0, 1
    while (timetable.phase(seen).level, timetable.phase(seen).alpha) != (2, 1.0):
        seen += timetable.phase(seen).batch_size * critic_steps
        steps += 1
    assert timetable.steps_until_grown(critic_steps) == steps
    assert seen >= timetable.grown_after == pytest.approx(1000.0)


def block_mean(image: list[list[float]], side: int) -> list[list[float]]:
    """Return means over squares of `side` x `side` pixels."""
    count = len(image) // side
    return [
        [
            sum(image[row * side + i][column * side + j] for i in range(side) for j in range(side)) / side**2
            for column in range(count)
        ]
        for row in range(count)
    ]


def picture() -> Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_real_images_are_reduced_by_box_means() -> None:
    full = picture()
    for level, side in ((0, 4), (1, 2)):
        shown = reals_at(full, Phase(level, 1.0, 1))
        expected = torch.tensor(block_mean(full[1, 2].tolist(), side))
        torch.testing.assert_close(shown[1, 2].float(), expected)
    assert torch.equal(reals_at(full, Phase(2, 1.0, 1)), full)


@pytest.mark.parametrize("level", [1, 2])
def test_fading_real_images_are_blended_with_the_previous_level(level: int) -> None:
    full, alpha = picture(), 0.3
    shown = reals_at(full, Phase(level, alpha, 1))[0, 1]
    side = 4 << level
    assert shown.shape == (side, side)
    fine = block_mean(full[0, 1].tolist(), 16 // side)
    coarse = block_mean(full[0, 1].tolist(), 32 // side)
    for row in range(side):
        for column in range(side):
            expected = (1 - alpha) * coarse[row // 2][column // 2] + alpha * fine[row][column]
            assert shown[row, column].item() == pytest.approx(expected, abs=1e-6)


def test_a_new_level_with_a_share_of_0_changes_nothing() -> None:
    """The picture at the start of a level is that at the end of the previous one, doubled."""
    full = picture()
    before, after = reals_at(full, Phase(1, 1.0, 1)), reals_at(full, Phase(2, 0.0, 1))
    torch.testing.assert_close(F.interpolate(before, scale_factor=2.0, mode="nearest"), after)


PROGRESSIVE = ProgressiveConfig(latent_dim=8, generator_width=4, critic_width=4)
SLOW = replace(PROGRESSIVE, fade_kimg=0.032, stable_kimg=0.032, batch_sizes=(16, 8))


def config_of(**changes: object) -> TrainConfig:
    defaults: dict[str, object] = {
        "networks": SLOW,
        "augmentation": AugmentationConfig(),
        "loss": HingeLoss(),
    }
    return tiny_config(**(defaults | changes))


def trainer_of(config: TrainConfig) -> Trainer:
    return Trainer(config, load_split(config.data, "train"))


def test_the_trainer_grows_both_players_and_the_average() -> None:
    trainer = trainer_of(config_of())
    found = []
    for _ in range(7):
        before = trainer.samples_seen
        measures = dict(zip(trainer.measures, trainer.run_step().tolist(), strict=True))
        phases = [network.phase for network in (trainer.generator, trainer.critic, trainer.ema.module)]
        assert len({(phase.level, phase.alpha) for phase in phases}) == 1
        assert measures["level"] == pytest.approx(phases[0].level - 1 + phases[0].alpha)
        found.append((trainer.samples_seen - before, phases[0].level, phases[0].alpha))
    fading = [(8, 1, 0.0), (8, 1, 0.25), (8, 1, 0.5), (8, 1, 0.75), (8, 1, 1.0)]
    assert found == [(16, 0, 1.0), (16, 0, 1.0), *fading]
    trainer.ema.module.phase.check_grown()
    assert trainer.growth is not None
    assert trainer.growth.steps_until_grown(1) == 7


def test_a_new_level_resets_the_optimisers_moments() -> None:
    trainer = trainer_of(config_of())
    for _ in range(2):
        trainer.run_step()

    def steps_taken() -> set[int]:
        return {
            int(state["step"])
            for updater in (trainer._generator_updater, trainer._critic_updater)
            for state in updater.optimiser.state.values()
        }

    assert steps_taken() == {2}
    trainer.run_step()
    assert steps_taken() == {1}
    trainer.run_step()
    assert steps_taken() == {2}  # Within a level they continue.


@pytest.mark.parametrize("at", [1, 2, 4])
def test_growing_continues_from_a_checkpoint_bit_for_bit(at: int) -> None:
    """Resume before the end of a level, at its end, and while the next one fades in."""
    straight = trainer_of(config_of())
    for _ in range(at):
        straight.run_step()
    saved = copy.deepcopy(straight.state_dict())
    restored = trainer_of(config_of())
    restored.load_state_dict(saved)
    for _ in range(4):
        assert torch.equal(straight.run_step(), restored.run_step())
    assert_same(dict(restored.generator.state_dict()), dict(straight.generator.state_dict()))


def test_levels_not_yet_reached_keep_their_initial_weights() -> None:
    trainer = trainer_of(config_of())
    before = copy.deepcopy(dict(trainer.generator.named_parameters()))
    for _ in range(2):
        trainer.run_step()
    still = {
        name for name, weight in trainer.generator.named_parameters() if torch.equal(weight.detach(), before[name])
    }
    # The doubling block, and the layer from its features to the image.
    assert {name for name in before if name.startswith(("blocks.", "to_image.1."))} == still


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"networks": PROGRESSIVE, "steps": 100},
            r"^--steps 100: ends before the networks have grown .* Use --steps 75001 .*fade-kimg \(600\)",
        ),
        ({"steps": 6}, "^--steps 6: .* Use --steps 7 or more"),
        ({"networks": replace(PROGRESSIVE, batch_sizes=(16, 8, 4))}, "sizes 16 8 4: must have 2 values"),
        ({"accumulate_batches": 16}, "^--networks.batch-sizes 8: must be a multiple of 16"),
    ],
)
def test_timetables_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        trainer_of(config_of(**{"batch_size": 16, "schedule": ScheduleConfig(), **changes}))


def test_only_progressive_networks_grow() -> None:
    info = load_split(DigitsConfig(), "train").info
    stage = stage_of(build_networks(PROGRESSIVE, info).generator)
    assert stage is not None
    assert stage.final_level == 1
    assert stage_of(build_networks(ConvolutionalConfig(), info).generator) is None
    assert not hasattr(ConvolutionalConfig(), "fade_kimg")
