"""Compare each augmentation with the same change written out for one sample at a time."""

import math

import pytest
import torch
from torch import Tensor

from ganserve_training.config import Anneal, AugmentationConfig
from ganserve_training.data import DataInfo
from ganserve_training.errors import ConfigError
from ganserve_training.objectives.augmentation import (
    Augmentation,
    random_brightness,
    random_contrast,
    random_cutout,
    random_saturation,
    random_translation,
)
from ganserve_training.run.random_state import Noise

COUNT, SIDE = 12, 6


def noise(seed: int = 0) -> Noise:
    return Noise(torch.Generator().manual_seed(seed))


def images(channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(COUNT, channels, SIDE, SIDE, generator=generator, dtype=torch.float64) * 2 - 1


def uniforms(most: float, seed: int = 0) -> list[float]:
    """Return U(-most, most) for each sample, from the same random numbers as the augmentation."""
    return [(u * 2 - 1) * most for u in torch.rand(COUNT, 1, 1, 1, generator=noise(seed).generator).flatten().tolist()]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_brightness_adds_one_number_to_the_colours_of_a_sample(channels: int) -> None:
    before = images(channels)
    after = random_brightness(before, 0.5, noise())
    colours = 3 if channels > 2 else 1
    for old, new, shift in zip(before, after, uniforms(0.5), strict=True):
        assert -0.5 <= shift <= 0.5
        torch.testing.assert_close(new[:colours], old[:colours] + shift, atol=1e-6, rtol=0.0)
        assert torch.equal(new[colours:], old[colours:])  # Alpha does not change.


@pytest.mark.parametrize("channels", [3, 4])
def test_saturation_scales_the_distance_from_each_pixels_gray(channels: int) -> None:
    before = images(channels)
    after = random_saturation(before, 1.0, noise())
    for old, new, spread in zip(before, after, uniforms(1.0), strict=True):
        for row, column in ((0, 0), (2, 5)):
            pixel = old[:3, row, column].tolist()
            gray = sum(pixel) / 3
            expected = [gray + (value - gray) * (1 + spread) for value in pixel]
            assert new[:3, row, column].tolist() == pytest.approx(expected, abs=1e-6)
        assert torch.equal(new[3:], old[3:])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_contrast_scales_the_distance_from_the_samples_mean(channels: int) -> None:
    before = images(channels)
    after = random_contrast(before, 0.5, noise())
    colours = 3 if channels > 2 else 1
    for old, new, spread in zip(before, after, uniforms(0.5), strict=True):
        centre = old[:colours].sum().item() / (colours * SIDE * SIDE)
        expected = centre + (old[:colours] - centre) * (1 + spread)
        torch.testing.assert_close(new[:colours], expected, atol=1e-6, rtol=0.0)
        assert torch.equal(new[colours:], old[colours:])


@pytest.mark.parametrize(("fraction", "length"), [(0.5, 3), (0.34, 2), (0.01, 1)])
def test_cutout_paints_one_square_in_mid_gray(fraction: float, length: int) -> None:
    before = images(3)
    after = random_cutout(before, fraction, noise())
    source = noise().generator
    last = SIDE - length // 2 + 1 - length % 2
    tops, lefts = (torch.randint(-(length // 2), last, (COUNT,), generator=source).tolist() for _ in range(2))
    for old, new, top, left in zip(before, after, tops, lefts, strict=True):
        expected = old.clone()
        expected[:, max(0, top) : max(0, top + length), max(0, left) : max(0, left + length)] = 0.0
        assert torch.equal(new, expected)


@pytest.mark.parametrize("fraction", [0.5, 0.34])
def test_cutout_treats_both_edges_alike(fraction: float) -> None:
    """Each row is hit as often as its mirror image, and the edge at least half as often as the middle."""
    after = random_cutout(torch.ones(20_000, 1, SIDE, SIDE), fraction, noise())
    hits = (after == 0.0).any(dim=3).float().mean(dim=(0, 1)).tolist()
    assert hits == pytest.approx(hits[::-1], abs=0.02)
    assert hits[0] > 0.45 * hits[SIDE // 2]


ALL = AugmentationConfig(translation_px=1, cutout_fraction=0.5, brightness=0.5, saturation=1.0, contrast=0.5)
RGB = DataInfo(sample_shape=(SIDE, SIDE, 3))
VECTORS = DataInfo(sample_shape=(2,), mean=(0.0, 0.0), std=(1.0, 1.0))


@pytest.mark.parametrize("name", ["translation_px", "cutout_fraction", "brightness", "saturation", "contrast"])
def test_each_change_applies_to_its_share_of_the_samples(name: str) -> None:
    config = AugmentationConfig(**{name: getattr(ALL, name)})
    before = images(3).repeat(100, 1, 1, 1)
    augmentation = Augmentation(config, RGB, noise(3))

    def share(probability: float) -> float:
        return (augmentation(before, probability, 0.0) != before).flatten(1).any(dim=1).float().mean().item()

    always = share(1.0)  # Below 1 for translation, where one of nine shifts is zero.
    assert always > 0.85
    assert share(0.0) == 0.0
    assert share(0.3) == pytest.approx(0.3 * always, abs=4 * math.sqrt(0.3 * 0.7 / 1200))


def test_changes_are_independent_of_each_other_and_of_the_sample() -> None:
    config = AugmentationConfig(brightness=0.5, contrast=0.5)
    flat = torch.zeros(4000, 1, 2, 2)
    flat[:, :, 0] = 1.0
    after = Augmentation(config, DataInfo(sample_shape=(2, 2, 1)), noise())(flat, 0.5, 0.0)
    brightened = (after.mean(dim=(1, 2, 3)) - 0.5).abs() > 1e-6
    stretched = (after[:, 0, 0, 0] - after[:, 0, 1, 0] - 1.0).abs() > 1e-6
    for kind in (brightened & stretched, brightened & ~stretched, ~brightened & stretched, ~brightened & ~stretched):
        assert kind.float().mean().item() == pytest.approx(0.25, abs=0.03)


def test_second_gradients_flow_through_every_change() -> None:
    samples = images(4)[:2, :, :4, :4].clone().requires_grad_()
    data = DataInfo(sample_shape=(4, 4, 4))

    def changed(values: Tensor) -> Tensor:
        return Augmentation(ALL, data, noise(2))(values, 0.7, 0.1) ** 2

    assert torch.autograd.gradcheck(changed, (samples,))
    assert torch.autograd.gradgradcheck(changed, (samples,))


def test_noise_is_added_last_with_its_deviation() -> None:
    before = torch.zeros(200, 1, 8, 8)
    after = Augmentation(AugmentationConfig(), DataInfo(sample_shape=(8, 8, 1)), noise())(before, 1.0, 0.25)
    assert after.std().item() == pytest.approx(0.25, rel=0.02)
    assert after.mean().item() == pytest.approx(0.0, abs=0.01)
    expected = torch.randn(200, 1, 8, 8, generator=noise().generator) * 0.25
    assert torch.equal(after, expected)
    vectors = Augmentation(AugmentationConfig(), VECTORS, noise())(torch.zeros(1000, 2), 1.0, 0.5)
    assert vectors.std().item() == pytest.approx(0.5, rel=0.05)


def test_translation_counts_pixels_of_the_full_image_while_networks_grow() -> None:
    augmentation = Augmentation(AugmentationConfig(translation_px=4), DataInfo(sample_shape=(32, 32, 1)), noise())
    shrunk = torch.ones(200, 1, 8, 8)
    after = augmentation(shrunk, 1.0, 0.0)
    seen = torch.randint(-1, 2, (200, 2), generator=noise().generator)
    rows = (after == 1.0).any(dim=3).sum(dim=2).flatten()
    assert torch.equal(rows, 8 - seen[:, 0].abs())
    smallest = torch.ones(20, 1, 4, 4)
    assert augmentation(smallest, 1.0, 0.0) is smallest


@pytest.mark.parametrize(
    ("config", "data", "message"),
    [
        (
            AugmentationConfig(brightness=0.5, translation_px=1),
            VECTORS,
            "^--augmentation.translation-px 1: changes images, and these data are vectors",
        ),
        (
            AugmentationConfig(saturation=1.0),
            DataInfo(sample_shape=(8, 8, 1)),
            "^--augmentation.saturation 1.0: needs colours, and these images have 1 channel",
        ),
        (
            AugmentationConfig(translation_px=8),
            DataInfo(sample_shape=(8, 16, 1)),
            "^--augmentation.translation-px 8: must be less than the images' side, 8",
        ),
    ],
)
def test_augmentations_that_do_not_suit_the_data_are_refused(
    config: AugmentationConfig, data: DataInfo, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Augmentation(config, data, noise())
    noisy = AugmentationConfig(instance_noise=Anneal.constant(0.1))
    Augmentation(noisy, data, noise())


def test_translation_shifts_real_and_generated_samples_alike() -> None:
    """The distribution of shifts is uniform over the whole square."""
    spots = torch.full((9000, 1, 5, 5), -1.0)
    spots[:, :, 2, 2] = 1.0
    after = random_translation(spots, 1, noise())
    shares = (after == 1.0).float().mean(dim=(0, 1))
    assert shares[1:4, 1:4].flatten().tolist() == pytest.approx([1 / 9] * 9, abs=0.015)
    assert shares.sum().item() == pytest.approx(1.0)
