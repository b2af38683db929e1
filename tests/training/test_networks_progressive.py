"""Test the growth of both networks."""

import copy
import io

import pytest
import torch
from torch.nn import functional as F

from ganserve_training.config import ProgressiveConfig
from ganserve_training.data import DataInfo
from ganserve_training.networks import NetworkPair, build_networks


@pytest.fixture
def pair() -> NetworkPair:
    torch.manual_seed(0)
    config = ProgressiveConfig(latent_dim=5, generator_width=3, critic_width=3, max_width=8, label_embedding_dim=2)
    return build_networks(config, DataInfo(sample_shape=(16, 16, 2), label_names=("a", "b")))


LABELS = torch.tensor([0, 1, 1])


def set_phase(pair: NetworkPair, level: int, alpha: float) -> None:
    pair.generator.phase.set(level, alpha)
    pair.critic.phase.set(level, alpha)


def test_every_level_has_its_image_size(pair: NetworkPair) -> None:
    latents = torch.randn(3, 5)
    assert pair.generator(latents, LABELS).shape == (3, 2, 16, 16)
    for level in range(3):
        for alpha in (0.0, 0.3, 1.0):
            set_phase(pair, level, alpha)
            images = pair.generator(latents, LABELS)
            assert images.shape == (3, 2, 4 << level, 4 << level)
            assert pair.critic(images, LABELS).shape == (3,)
    with pytest.raises(
        ValueError, match=r"at level 2 this critic takes images of 16 x 16 \(got torch.Size\(\[8, 8\]\)"
    ):
        pair.critic(torch.randn(3, 2, 8, 8), LABELS)


def test_the_generator_fades_from_the_enlarged_previous_level(pair: NetworkPair) -> None:
    latents = torch.randn(3, 5)
    pictures = {}
    for level, alpha in ((1, 1.0), (2, 0.0), (2, 1.0), (2, 0.3)):
        pair.generator.phase.set(level, alpha)
        pictures[level, alpha] = pair.generator(latents, LABELS)
    enlarged = pictures[1, 1.0].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(pictures[2, 0.0], enlarged)
    torch.testing.assert_close(pictures[2, 0.3], 0.7 * enlarged + 0.3 * pictures[2, 1.0])


def test_the_critic_fades_from_the_score_of_the_reduced_image(pair: NetworkPair) -> None:
    images = torch.randn(3, 2, 16, 16)
    pair.critic.phase.set(1, 1.0)
    before = pair.critic(F.avg_pool2d(images, 2), LABELS)
    pair.critic.phase.set(2, 0.0)
    torch.testing.assert_close(pair.critic(images, LABELS), before)
    pair.critic.phase.set(2, 1.0)
    assert not torch.allclose(pair.critic(images, LABELS), before)


def test_only_the_levels_in_use_get_gradients(pair: NetworkPair) -> None:
    set_phase(pair, 1, 1.0)
    pair.critic(pair.generator(torch.randn(3, 5), LABELS), LABELS).sum().backward()
    idle = [name for name, parameter in pair.generator.named_parameters() if parameter.grad is None]
    assert idle
    assert all(name.startswith(("blocks.1", "to_image.0", "to_image.2")) for name in idle)
    idle = [name for name, parameter in pair.critic.named_parameters() if parameter.grad is None]
    assert all(name.startswith(("blocks.1", "from_image.0", "from_image.2")) for name in idle)


def test_checkpoints_and_copies_carry_the_phase(pair: NetworkPair) -> None:
    latents = torch.randn(3, 5)
    set_phase(pair, 1, 0.25)
    expected = pair.generator(latents, LABELS)
    assert torch.equal(copy.deepcopy(pair.generator)(latents, LABELS), expected)
    file = io.BytesIO()
    torch.save(pair.generator.state_dict(), file)
    file.seek(0)
    pair.generator.phase.set(2, 1.0)
    pair.generator.load_state_dict(torch.load(file, weights_only=True))
    assert (pair.generator.phase.level, pair.generator.phase.alpha) == (1, 0.25)
    assert torch.equal(pair.generator(latents, LABELS), expected)


@pytest.mark.parametrize(("level", "alpha"), [(3, 1.0), (-1, 1.0), (1, 1.5)])
def test_phases_that_do_not_exist_are_refused(pair: NetworkPair, level: int, alpha: float) -> None:
    with pytest.raises(ValueError, match=r"levels 0 to 2|from 0 to 1"):
        pair.generator.phase.set(level, alpha)
