import pytest
import torch
from torch import nn

from ganserve_training.config import AugmentationConfig, EmaConfig
from ganserve_training.data import DataInfo
from ganserve_training.networks.ema import Ema, ema_decay
from ganserve_training.objectives.augmentation import Augmentation, random_translation
from ganserve_training.run.random_state import Noise


def test_the_average_equals_its_closed_form() -> None:
    source = nn.Linear(2, 2)
    start = source.weight.detach().clone()
    ema = Ema(source, EmaConfig(half_life_kimg=0.1, warm_up_fraction=0.0))
    target = torch.full_like(start, 3.0)
    with torch.no_grad():
        source.weight.copy_(target)
    for step in range(1, 11):
        ema.update(batch_size=20, samples_seen=20 * step)
    # After 10 updates of 20 samples with a half-life of 100 samples, the start weighs a quarter.
    torch.testing.assert_close(ema.module.weight.detach(), target + (start - target) * 0.25)


def test_the_decay_has_the_half_life_and_warms_up() -> None:
    config = EmaConfig(half_life_kimg=1.0, warm_up_fraction=0.05)
    assert ema_decay(config, 500, samples_seen=1_000_000) == pytest.approx(0.5**0.5)
    assert ema_decay(config, 500, samples_seen=10_000) == pytest.approx(0.5)  # The half-life is 500 samples so far.
    assert ema_decay(EmaConfig(half_life_kimg=0.0), 64, samples_seen=10_000) == 0.0


def test_without_a_half_life_the_average_equals_the_weights() -> None:
    source = nn.Linear(2, 2)
    ema = Ema(source, EmaConfig(half_life_kimg=0.0))
    nn.init.ones_(source.weight)
    ema.update(batch_size=1, samples_seen=1)
    assert torch.equal(ema.module.weight, source.weight)


def test_the_average_is_frozen_in_eval_mode_and_copies_buffers() -> None:
    source = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    ema = Ema(source, EmaConfig(half_life_kimg=1.0))
    source(torch.randn(4, 2))
    ema.update(batch_size=1, samples_seen=1)
    assert not ema.module.training
    assert not any(parameter.requires_grad for parameter in ema.module.parameters())
    assert torch.equal(ema.module[1].running_mean, source[1].running_mean)
    assert ema.module[1].running_mean.data_ptr() != source[1].running_mean.data_ptr()


def test_translation_moves_each_image_by_its_own_shift_and_fills_with_background() -> None:
    images = torch.randn(64, 2, 5, 7)
    moved = random_translation(images, 2, Noise(torch.Generator().manual_seed(0)))
    shifts = torch.randint(-2, 3, (64, 2), generator=torch.Generator().manual_seed(0))
    for before, after, (down, right) in zip(images, moved, shifts.tolist(), strict=True):
        expected = torch.full_like(before, -1.0)
        expected[:, max(0, down) : 5 + min(0, down), max(0, right) : 7 + min(0, right)] = before[
            :, max(0, -down) : 5 - max(0, down), max(0, -right) : 7 - max(0, right)
        ]
        assert torch.equal(after, expected)
    assert len(set(map(tuple, shifts.tolist()))) > 10


def test_translation_is_twice_differentiable() -> None:
    images = torch.randn(3, 1, 4, 4, dtype=torch.float64, requires_grad=True)

    def moved(values: torch.Tensor) -> torch.Tensor:
        return random_translation(values, 1, Noise(torch.Generator().manual_seed(3))) ** 3

    assert torch.autograd.gradcheck(moved, (images,))
    assert torch.autograd.gradgradcheck(moved, (images,))


def test_no_augmentation_changes_no_images_and_draws_no_numbers() -> None:
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    images = torch.randn(2, 1, 4, 4)
    assert (
        Augmentation(AugmentationConfig(), DataInfo(sample_shape=(4, 4, 1)), Noise(generator))(images, 1.0, 0.0)
        is images
    )
    assert torch.equal(generator.get_state(), before)
