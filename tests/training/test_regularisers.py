import pytest
import torch
from torch import Tensor, nn

from ganserve_training.augment import random_translation
from ganserve_training.config import Anneal, RegularisersConfig
from ganserve_training.critic_pass import CriticPass
from ganserve_training.networks.outputs import as_output
from ganserve_training.regularisers import R1, R2, build_regularisers
from ganserve_training.rng import Noise


class Quadratic(nn.Module):
    """D(x, y) = x^T A x / 2 + b_y . x, whose gradient is ((A + A^T) / 2) x + b_y."""

    def __init__(self, size: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.a = nn.Parameter(torch.randn(size, size, generator=generator, dtype=torch.float64))
        self.b = nn.Parameter(torch.randn(3, size, generator=generator, dtype=torch.float64))

    def forward(self, samples: Tensor, labels: Tensor | None) -> Tensor:
        x = samples.flatten(1)
        linear = 0.0 if labels is None else (self.b[labels] * x).sum(1)
        return torch.einsum("ni,ij,nj->n", x, self.a, x) / 2 + linear

    def gradient(self, samples: Tensor, labels: Tensor) -> Tensor:
        x = samples.flatten(1)
        return x @ (self.a + self.a.T) / 2 + self.b[labels]


def scorer(critic):
    return lambda samples, labels: as_output(critic(samples, labels))


def random_batch(count: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    real = torch.randn(count, 1, 2, 3, generator=generator, dtype=torch.float64)
    fake = torch.randn(count, 1, 2, 3, generator=generator, dtype=torch.float64)
    return real, fake, torch.randint(0, 3, (count,), generator=generator)


def test_r1_and_r2_agree_with_a_critic_whose_gradient_is_known() -> None:
    critic = Quadratic(6)
    real, fake, labels = random_batch()
    critic_pass = CriticPass(scorer(critic), real, fake, labels, with_gradients=True)
    for piece, samples in ((R1(Anneal.constant(0.7)), real), (R2(Anneal.constant(0.7)), fake)):
        norms = critic.gradient(samples, labels).square().sum(1)
        torch.testing.assert_close(critic_pass.squared_gradient_norms()[samples is fake], norms)
        expected = 0.7 / 2 * critic.gradient(samples, labels).square().sum(1).mean()
        assert piece.penalty(critic_pass, 0.0).item() == pytest.approx(expected.item(), abs=1e-10)


def test_the_gradient_of_a_penalty_agrees_with_a_critic_whose_gradient_is_known() -> None:
    critic = Quadratic(6)
    real, fake, labels = random_batch()
    R1(Anneal.constant(0.7)).penalty(
        CriticPass(scorer(critic), real, fake, labels, with_gradients=True), 0.0
    ).backward()
    reference = Quadratic(6)
    (0.7 / 2 * reference.gradient(real, labels).square().sum(1).mean()).backward()
    torch.testing.assert_close(critic.a.grad, reference.a.grad)
    torch.testing.assert_close(critic.b.grad, reference.b.grad)


def test_penalties_agree_with_finite_differences_on_a_convolutional_critic() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(24, 1)).double()
    real, fake, _ = random_batch(3)

    def score(samples: Tensor, labels: Tensor | None) -> Tensor:
        out: Tensor = network(samples)
        return out.squeeze(1)

    norms = []
    for sample in fake:
        partials = []
        for index in range(sample.numel()):
            nudge = torch.zeros(sample.numel(), dtype=torch.float64)
            nudge[index] = 1e-5
            up, down = sample + nudge.view_as(sample), sample - nudge.view_as(sample)
            partials.append(((score(up[None], None) - score(down[None], None)) / 2e-5).item())
        norms.append(sum(partial**2 for partial in partials))
    critic_pass = CriticPass(scorer(score), real, fake, None, with_gradients=True)
    assert R2(Anneal.constant(2.0)).penalty(critic_pass, 0.0).item() == pytest.approx(sum(norms) / 3, abs=1e-6)


def test_norms_are_per_sample_and_do_not_depend_on_the_batch() -> None:
    critic = Quadratic(6)
    real, fake, labels = random_batch(1)
    one = R1(Anneal.constant(1.0)).penalty(CriticPass(scorer(critic), real, fake, labels, with_gradients=True), 0.0)
    many = CriticPass(
        scorer(critic), real.repeat(7, 1, 1, 1), fake.repeat(7, 1, 1, 1), labels.repeat(7), with_gradients=True
    )
    assert R1(Anneal.constant(1.0)).penalty(many, 0.0).item() == pytest.approx(one.item(), rel=1e-12)


def test_gradients_are_those_by_the_samples_before_augmentation() -> None:
    """A linear critic behind a shift: the gradient by the unshifted sample is the weights, shifted back."""
    weights = torch.arange(1.0, 17.0).view(1, 1, 4, 4)
    shift = Noise(torch.Generator().manual_seed(4))

    def score(samples: Tensor, labels: Tensor | None) -> Tensor:
        return (random_translation(samples, 1, shift) * weights).sum(dim=(1, 2, 3))

    real = torch.zeros(6, 1, 4, 4)
    gradients, _ = CriticPass(scorer(score), real, real, None, with_gradients=True).input_gradients()
    shifts = torch.randint(-1, 2, (12, 2), generator=torch.Generator().manual_seed(4))
    assert set(shifts[:6].flatten().tolist()) == {-1, 0, 1}
    for sample, (down, right) in zip(gradients, shifts.tolist(), strict=False):
        expected = torch.zeros(4, 4)
        for row in range(4):
            for column in range(4):
                if 0 <= row + down < 4 and 0 <= column + right < 4:
                    expected[row, column] = weights[0, 0, row + down, column + right]
        torch.testing.assert_close(sample[0], expected)


def test_weights_are_annealed() -> None:
    critic = Quadratic(6)
    real, fake, labels = random_batch()
    piece = R1(Anneal(start=1.0, end=0.0))
    critic_pass = CriticPass(scorer(critic), real, fake, labels, with_gradients=True)
    full = piece.penalty(critic_pass, 0.0).item()
    assert piece.penalty(critic_pass, 0.5).item() == pytest.approx(full / 2)
    assert piece.penalty(critic_pass, 1.0).item() == pytest.approx(0.0, abs=1e-12)


def test_zero_switches_a_penalty_off() -> None:
    off, on, noise = Anneal.constant(0.0), Anneal(start=0.0, end=1.0), Noise(torch.Generator())
    assert [piece.name for piece in build_regularisers(RegularisersConfig(r1_gamma=on, r2_gamma=off), noise)] == ["r1"]
    assert build_regularisers(RegularisersConfig(r1_gamma=off, r2_gamma=off), noise) == ()
