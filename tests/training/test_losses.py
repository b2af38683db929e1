import math

import pytest
import torch

from ganserve_training.config import LossConfig
from ganserve_training.losses import build_loss


def reference_pairing(higher: list[float], lower: list[float]) -> float:
    """Mean of log(1 + exp(-(higher - lower))), pair by pair."""
    return sum(math.log1p(math.exp(-(h - low))) for h, low in zip(higher, lower, strict=True)) / len(higher)


REAL, FAKE = [1.5, -0.25, 3.0, 0.0], [-2.0, 0.5, 2.5, 0.0]


def test_relativistic_pairing_agrees_with_its_formula() -> None:
    loss = build_loss(LossConfig(name="relativistic-pairing"))
    real, fake = torch.tensor(REAL, dtype=torch.float64), torch.tensor(FAKE, dtype=torch.float64)
    assert loss.critic(real, fake).item() == pytest.approx(reference_pairing(REAL, FAKE), abs=1e-12)
    assert loss.generator(fake, real).item() == pytest.approx(reference_pairing(FAKE, REAL), abs=1e-12)
    assert loss.accuracy(real, fake).item() == 0.5  # Two pairs of four; equal scores are not right.


def test_relativistic_pairing_pairs_element_by_element() -> None:
    loss = build_loss(LossConfig())
    real, fake = torch.tensor(REAL), torch.tensor(FAKE)
    assert loss.critic(real, fake).item() != pytest.approx(loss.critic(real, fake.flip(0)).item(), abs=1e-3)


def test_relativistic_pairing_sees_only_differences() -> None:
    loss = build_loss(LossConfig())
    real, fake = torch.tensor(REAL), torch.tensor(FAKE)
    assert loss.critic(real + 7, fake + 7).item() == pytest.approx(loss.critic(real, fake).item(), abs=1e-6)


def test_gradients_of_relativistic_pairing_agree_with_calculus() -> None:
    """d/dr softplus(f - r) = -sigmoid(f - r), over N."""
    loss = build_loss(LossConfig())
    real = torch.tensor(REAL, requires_grad=True)
    fake = torch.tensor(FAKE, requires_grad=True)
    loss.critic(real, fake).backward()
    expected = [1 / (1 + math.exp(r - f)) / 4 for r, f in zip(REAL, FAKE, strict=True)]
    assert real.grad is not None
    assert fake.grad is not None
    torch.testing.assert_close(real.grad, -torch.tensor(expected))
    torch.testing.assert_close(fake.grad, torch.tensor(expected))


def test_relativistic_pairing_stays_finite_for_huge_scores() -> None:
    loss = build_loss(LossConfig())
    real, fake = torch.tensor([-1e4, 1e4]), torch.tensor([1e4, -1e4])
    assert loss.critic(real, fake).item() == pytest.approx(1e4)


def test_the_generator_needs_the_real_scores() -> None:
    loss = build_loss(LossConfig())
    assert loss.generator_needs_real_scores
    with pytest.raises(ValueError, match="real samples' scores"):
        loss.generator(torch.tensor(FAKE), None)
