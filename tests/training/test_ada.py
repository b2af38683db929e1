"""Compare the controller of adaptive augmentation with its arithmetic, written out."""

import copy
from dataclasses import replace

import pytest
import torch

from ganserve_training.config import AdaConfig, Anneal, AugmentationConfig, RegularisersConfig
from ganserve_training.data import load_split
from ganserve_training.objectives.adaptive_augmentation import AdaController
from ganserve_training.objectives.losses import LOSSES
from ganserve_training.run.distributed import Processes
from ganserve_training.run.training_step import Trainer
from tiny_runs import tiny_config

ZERO = torch.zeros(())


def controller(**settings: float) -> AdaController:
    return AdaController(AdaConfig(**{"target": 0.6, "kimg": 1.0, "every_steps": 4, **settings}), Processes())


def scores(share_above: float, count: int = 20) -> torch.Tensor:
    above = round(share_above * count)
    return torch.tensor([2.0] * above + [-0.5] * (count - above))


def test_p_changes_by_samples_over_kimg_in_the_direction_of_the_sign() -> None:
    """Check p += sign(E sign(D(x)) - target) * batch * interval / (kimg * 1000), as in the authors' code."""
    ada = controller()
    expected, batch = 0.0, 20
    # Signs of 0.8, 0.4, 0.6 and 1: above, below, at and above the target.
    for index, share in enumerate((0.9, 0.7, 0.8, 1.0)):
        for step in range(1, 5):
            ada.watch(scores(share), ZERO, batch)
            before = ada.probability
            ada.adjust(4 * index + step)
            assert step == 4 or ada.probability == before
        mean_sign = share * 2 - 1
        direction = (mean_sign > 0.6 + 1e-6) - (mean_sign < 0.6 - 1e-6)
        expected = min(1.0, max(0.0, expected + direction * batch * 4 / 1000.0))
        assert ada.probability == pytest.approx(expected)
    assert expected == pytest.approx(0.08)


def test_the_sign_uses_the_mean_over_the_whole_interval() -> None:
    ada = controller(every_steps=2)
    for step, share in ((1, 1.0), (2, 0.5)):  # Signs of 1 and 0: 0.5, below the target.
        ada.watch(scores(share), ZERO, 20)
        ada.adjust(step)
    assert ada.probability == 0.0
    for step, share in ((3, 1.0), (4, 0.7)):  # Signs of 1 and 0.4: 0.7, above it.
        ada.watch(scores(share), ZERO, 20)
        ada.adjust(step)
    assert ada.probability == pytest.approx(40 / 1000)


def test_p_stays_between_0_and_1() -> None:
    ada = controller(every_steps=1, kimg=0.03)
    found = []
    for step, share in enumerate((0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0), start=1):
        ada.watch(scores(share), ZERO, 20)
        ada.adjust(step)
        found.append(ada.probability)
    assert found == pytest.approx([0.0, 2 / 3, 1.0, 1.0, 1 / 3, 0.0, 0.0])


def test_scores_are_compared_with_the_losss_threshold() -> None:
    ada = controller(every_steps=1)
    ada.watch(torch.full((10,), 0.4), torch.tensor(0.5), 10)  # Least squares: 0.4 counts as generated.
    ada.adjust(1)
    assert ada.probability == 0.0
    ada.watch(torch.full((10,), 0.6), torch.tensor(0.5), 10)
    ada.adjust(2)
    assert ada.probability == pytest.approx(10 / 1000)


def test_no_samples_change_nothing() -> None:
    ada = controller(every_steps=1)
    ada.adjust(1)
    assert ada.probability == 0.0


def test_a_restored_controller_continues_within_its_interval() -> None:
    ada = controller()
    for step in range(1, 7):
        ada.watch(scores(1.0), ZERO, 20)
        ada.adjust(step)
    restored = controller()
    restored.load_state_dict(copy.deepcopy(ada.state_dict()))
    for each in (ada, restored):
        for step in (7, 8):
            each.watch(scores(1.0), ZERO, 20)
            each.adjust(step)
    assert restored.probability == ada.probability == pytest.approx(160 / 1000)


def trainer_of(target: float, loss: str = "modified-minimax") -> Trainer:
    config = tiny_config(
        loss=LOSSES[loss](),
        augmentation=AugmentationConfig(translation_px=1, ada=AdaConfig(target=target, kimg=1.0, every_steps=2)),
        regularisers=RegularisersConfig(r1_gamma=Anneal.constant(0.0), r2_gamma=Anneal.constant(0.0)),
    )
    return Trainer(config, load_split(config.data, "train"))


def bias_of_critic(trainer: Trainer, value: float) -> None:
    """Make the critic score everything as real, or nothing."""
    with torch.no_grad():
        trainer.critic.get_parameter("score.bias").fill_(value)


@pytest.mark.parametrize("loss", ["modified-minimax", "hinge", "least-squares"])
def test_p_rises_while_the_critic_is_too_sure_and_falls_otherwise(loss: str) -> None:
    trainer = trainer_of(0.6, loss)
    column = trainer.measures.index("augmentation_probability")
    bias_of_critic(trainer, 100.0)
    found = [trainer.run_step()[column].item() for _ in range(4)]
    assert found == pytest.approx([0.0, 32 / 1000, 32 / 1000, 64 / 1000])
    bias_of_critic(trainer, -100.0)
    found = [trainer.run_step()[column].item() for _ in range(4)]
    assert found == pytest.approx([64 / 1000, 32 / 1000, 32 / 1000, 0.0], abs=1e-7)


def test_the_augmentation_uses_the_probability() -> None:
    """With p = 0 no shifts are drawn; later some samples are shifted."""
    trainer = trainer_of(0.6)
    assert trainer._ada is not None
    real = torch.ones(400, 1, 8, 8)
    seen: list[torch.Tensor] = []

    def share_shifted(probability: float) -> float:
        trainer._ada.probability = probability
        score = trainer._scorer(lambda samples, _: seen.append(samples), 0.0)
        score(real, None)
        return (seen[-1] != real).flatten(1).any(dim=1).float().mean().item()

    assert share_shifted(0.0) == 0.0
    assert share_shifted(0.5) == pytest.approx(0.5 * 8 / 9, abs=0.08)
    assert share_shifted(1.0) == pytest.approx(8 / 9, abs=0.06)


def test_accumulated_parts_count_as_one_batch() -> None:
    trainer = trainer_of(0.6)
    whole = replace(trainer.config, accumulate_batches=2)
    parts = Trainer(whole, load_split(whole.data, "train"))
    for each in (trainer, parts):
        bias_of_critic(each, 100.0)
        for _ in range(2):
            each.run_step()
        assert each._ada is not None
        assert each._ada.probability == pytest.approx(32 / 1000)
