import math

import pytest
import torch
from torch import Tensor, nn

from ganserve_training.config import Anneal, GradientPenalty, RegularisersConfig
from ganserve_training.networks.critic_output import as_output
from ganserve_training.objectives.augmentation import random_translation
from ganserve_training.objectives.critic_pass import CriticPass
from ganserve_training.objectives.penalties import (
    R1,
    R2,
    Drift,
    Penalty,
    Roth,
    clip_weights,
)
from ganserve_training.run.random_state import Noise

NOISE = Noise(torch.Generator())


class Quadratic(nn.Module):
    """D(x, y) = x^T A x / 2 + b_y . x, with the gradient ((A + A^T) / 2) x + b_y."""

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
    for piece, samples in ((R1(gamma=Anneal.constant(0.7)), real), (R2(gamma=Anneal.constant(0.7)), fake)):
        norms = critic.gradient(samples, labels).square().sum(1)
        torch.testing.assert_close(critic_pass.squared_gradient_norms[samples is fake], norms)
        expected = 0.7 / 2 * critic.gradient(samples, labels).square().sum(1).mean()
        assert piece.penalty(critic_pass, 0.0, NOISE).item() == pytest.approx(expected.item(), abs=1e-10)


def test_the_gradient_of_a_penalty_agrees_with_a_critic_whose_gradient_is_known() -> None:
    critic = Quadratic(6)
    real, fake, labels = random_batch()
    R1(gamma=Anneal.constant(0.7)).penalty(
        CriticPass(scorer(critic), real, fake, labels, with_gradients=True), 0.0, NOISE
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
    assert R2(gamma=Anneal.constant(2.0)).penalty(critic_pass, 0.0, NOISE).item() == pytest.approx(
        sum(norms) / 3, abs=1e-6
    )


def test_norms_are_per_sample_and_do_not_depend_on_the_batch() -> None:
    critic = Quadratic(6)
    real, fake, labels = random_batch(1)
    one = R1(gamma=Anneal.constant(1.0)).penalty(
        CriticPass(scorer(critic), real, fake, labels, with_gradients=True), 0.0, NOISE
    )
    many = CriticPass(
        scorer(critic), real.repeat(7, 1, 1, 1), fake.repeat(7, 1, 1, 1), labels.repeat(7), with_gradients=True
    )
    assert R1(gamma=Anneal.constant(1.0)).penalty(many, 0.0, NOISE).item() == pytest.approx(one.item(), rel=1e-12)


def test_gradients_are_with_respect_to_samples_before_augmentation() -> None:
    """For a linear critic after a shift, the gradient by the unshifted sample is the weights, shifted back."""
    weights = torch.arange(1.0, 17.0).view(1, 1, 4, 4)
    shift = Noise(torch.Generator().manual_seed(4))

    def score(samples: Tensor, labels: Tensor | None) -> Tensor:
        return (random_translation(samples, 1, shift) * weights).sum(dim=(1, 2, 3))

    real = torch.zeros(6, 1, 4, 4)
    gradients, _ = CriticPass(scorer(score), real, real, None, with_gradients=True).input_gradients
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
    piece = R1(gamma=Anneal(start=1.0, end=0.0))
    critic_pass = CriticPass(scorer(critic), real, fake, labels, with_gradients=True)
    full = piece.penalty(critic_pass, 0.0, NOISE).item()
    assert piece.penalty(critic_pass, 0.5, NOISE).item() == pytest.approx(full / 2)
    assert piece.penalty(critic_pass, 1.0, NOISE).item() == pytest.approx(0.0, abs=1e-12)


def test_zero_switches_a_penalty_off() -> None:
    off, on = Anneal.constant(0.0), Anneal(start=0.0, end=1.0)
    assert [piece.name for piece in RegularisersConfig(r1_gamma=on, r2_gamma=off).penalties] == ["r1"]
    assert RegularisersConfig(r1_gamma=off, r2_gamma=off).penalties == ()


class Logistic(nn.Module):
    """D(x) = w . x, with the gradient w everywhere, so that Roth's penalty can be written out."""

    def __init__(self, size: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.w = nn.Parameter(torch.randn(size, generator=generator, dtype=torch.float64))

    def forward(self, samples: Tensor, labels: Tensor | None) -> Tensor:
        return samples.flatten(1) @ self.w


class Packed(nn.Module):
    """A quadratic critic of two samples at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Quadratic(12)

    def forward(self, samples: Tensor, labels: Tensor | None) -> Tensor:
        return self.inner(samples.reshape(len(samples) // 2, 12), None)


def passed(critic: nn.Module, count: int = 6, *, labelled: bool = False, together: bool = True) -> CriticPass:
    real, fake, labels = random_batch(count)
    return CriticPass(scorer(critic), real, fake, labels if labelled else None, with_gradients=True, together=together)


def seeded(noise_seed: int = 5) -> Noise:
    return Noise(torch.Generator().manual_seed(noise_seed))


def gradient_penalty(**settings: float | bool) -> GradientPenalty:
    return GradientPenalty(**{"weight": 10.0, **settings})


def points_between(count: int, noise_seed: int = 5) -> Tensor:
    """Return x + a (G - x) with one a for each sample, from the same random numbers."""
    real, fake, _ = random_batch(count)
    shares = torch.rand(count, generator=torch.Generator().manual_seed(noise_seed)).tolist()
    return torch.stack([r + share * (f - r) for r, f, share in zip(real, fake, shares, strict=True)])


@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize("target", [1.0, 4.0])
def test_the_gradient_penalty_agrees_with_its_formula(one_sided: bool, target: float) -> None:
    critic = Quadratic(6)
    labels = random_batch(6)[2]
    norms = critic.gradient(points_between(6), labels).square().sum(1).sqrt().tolist()
    assert min(norms) < 4.0 < max(norms)  # Norms lie on both sides of the second target.
    excesses = [norm / target - 1.0 for norm in norms]
    expected = 10.0 * sum((max(0.0, e) if one_sided else e) ** 2 for e in excesses) / 6
    piece = gradient_penalty(target=target, one_sided=one_sided)
    assert piece.penalty(passed(critic, labelled=True), 0.0, seeded()).item() == pytest.approx(expected, abs=1e-6)


def test_the_gradient_penalty_equals_tf_gans() -> None:
    """In its losses_impl_test.py, twice the sum of four values has a gradient of norm 4: 9, and 1 with target 2."""
    real = torch.tensor([[-12.3, 23.2, 16.3, -43.2]])
    fake = torch.tensor([[3.1, 2.3, -12.3, 32.1]])
    critic_pass = CriticPass(lambda samples, _: as_output(2.0 * samples.sum(1)), real, fake, None, with_gradients=False)
    assert gradient_penalty(weight=1.0).penalty(critic_pass, 0.0, seeded()).item() == pytest.approx(9.0, abs=1e-6)
    assert gradient_penalty(weight=1.0, one_sided=True).penalty(critic_pass, 0.0, seeded()).item() == pytest.approx(
        9.0, abs=1e-6
    )
    assert gradient_penalty(weight=1.0, target=2.0).penalty(critic_pass, 0.0, seeded()).item() == pytest.approx(
        1.0, abs=1e-6
    )


def test_the_gradient_penaltys_own_gradient_agrees_with_differences() -> None:
    critic = Quadratic(6)
    gradient_penalty().penalty(passed(critic, labelled=True), 0.0, seeded()).backward()
    for row, column in ((0, 0), (2, 4)):
        values = []
        for nudge in (1e-5, -1e-5):
            moved = Quadratic(6)
            with torch.no_grad():
                moved.a[row, column] += nudge
            values.append(gradient_penalty().penalty(passed(moved, labelled=True), 0.0, seeded()).item())
        assert critic.a.grad[row, column].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)


def test_a_gradient_of_zero_costs_the_target_without_nan() -> None:
    critic = Quadratic(6)
    with torch.no_grad():
        critic.a.zero_()
    penalty = gradient_penalty().penalty(passed(critic), 0.0, seeded())
    penalty.backward()
    assert penalty.item() == pytest.approx(10.0)  # It is (0 - 1)^2 for every sample.
    assert torch.equal(critic.a.grad, torch.zeros_like(critic.a))
    for piece in (R1(gamma=Anneal.constant(1.0)), R2(gamma=Anneal.constant(1.0)), Roth(gamma=Anneal.constant(1.0))):
        critic.a.grad = None
        penalty = piece.penalty(passed(critic), 0.0, NOISE)
        penalty.backward()
        assert penalty.item() == 0.0
        assert critic.a.grad.isfinite().all()


def test_roth_agrees_with_its_formula() -> None:
    critic = Logistic(6)
    real, fake, _ = random_batch(6)
    squared = critic.w.square().sum().item()

    def sigma(sample: Tensor) -> float:
        return 1.0 / (1.0 + math.exp(-(sample.flatten() @ critic.w).item()))

    unsure = [sum((1 - sigma(sample)) ** 2 for sample in real) / 6, sum(sigma(sample) ** 2 for sample in fake) / 6]
    penalty = Roth(gamma=Anneal.constant(0.8)).penalty(passed(critic), 0.0, NOISE)
    assert penalty.item() == pytest.approx(0.8 / 2 * squared * sum(unsure), abs=1e-10)


def test_drift_is_the_mean_squared_score_of_real_samples() -> None:
    critic = Logistic(6)
    scores = [(sample.flatten() @ critic.w).item() for sample in random_batch(6)[0]]
    expected = 0.001 * sum(score**2 for score in scores) / 6
    assert Drift(weight=0.001).penalty(passed(critic), 0.0, NOISE).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "piece", [R1(gamma=Anneal.constant(1.0)), R2(gamma=Anneal.constant(1.0)), Roth(gamma=Anneal.constant(1.0))]
)
def test_one_pass_and_two_passes_give_the_same(piece: Penalty) -> None:
    """The critic does not mix its samples."""
    critic = Quadratic(6)
    one, two = (
        piece.penalty(passed(critic, labelled=True, together=together), 0.0, NOISE) for together in (True, False)
    )
    assert one.item() == pytest.approx(two.item(), rel=1e-12)


def test_a_packed_score_has_one_gradient_by_all_of_its_samples() -> None:
    critic = Packed()
    real, fake, _ = random_batch(6)
    critic_pass = passed(critic, together=False)
    for norms, samples in zip(critic_pass.squared_gradient_norms, (real, fake), strict=True):
        rows = samples.reshape(3, 12)
        expected = (rows @ (critic.inner.a + critic.inner.a.T) / 2).square().sum(1)
        torch.testing.assert_close(norms, expected)
    rows = points_between(6).reshape(3, 12)
    norms = (rows @ (critic.inner.a + critic.inner.a.T) / 2).norm(dim=1)
    penalty = gradient_penalty().penalty(critic_pass, 0.0, seeded())
    assert penalty.item() == pytest.approx((10.0 * (norms - 1).square().mean()).item(), rel=1e-9)


def test_a_critic_that_mixes_its_samples_gets_real_and_fake_ones_apart() -> None:
    sizes: list[int] = []

    def score(samples: Tensor, labels: Tensor | None) -> Tensor:
        sizes.append(len(samples))
        centred = samples.flatten(1) - samples.flatten(1).mean(0)
        return centred.square().sum(1)

    real, fake, _ = random_batch(4)
    critic_pass = CriticPass(scorer(score), real, fake + 3.0, None, with_gradients=True, together=False)
    assert sizes == [4, 4]
    centred = real.flatten(1) - real.flatten(1).mean(0)
    torch.testing.assert_close(critic_pass.real_scores, centred.square().sum(1))
    # The gradient is that of all real scores, without generated samples.
    torch.testing.assert_close(critic_pass.input_gradients[0].flatten(1), 2 * centred)


def test_penalties_are_differentiable_through_samples_with_a_graph() -> None:
    """In an unrolled critic, the penalty depends on the generator's weights."""
    critic = Quadratic(6)
    real, fake, _ = random_batch(4)
    shift = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    for together in (True, False):
        for with_gradients in (True, False):
            critic_pass = CriticPass(
                scorer(critic), real, fake + shift, None, with_gradients=with_gradients, together=together
            )
            (gradient,) = torch.autograd.grad(critic_pass.fake_scores.sum(), shift, retain_graph=True)
            expected = (fake.flatten(1) @ (critic.a + critic.a.T) / 2).sum()
            assert gradient.item() == pytest.approx(expected.item())
            if with_gradients:
                (gradient,) = torch.autograd.grad(
                    R2(gamma=Anneal.constant(2.0)).penalty(critic_pass, 0.0, NOISE), shift
                )
                symmetric = (critic.a + critic.a.T) / 2
                inner = fake.flatten(1) @ symmetric
                assert gradient.item() == pytest.approx((2 * inner * symmetric.sum(1)).sum(1).mean().item())


def test_weights_are_clipped_in_place_and_not_at_all_with_0() -> None:
    weights = [torch.tensor([-0.5, -0.009, 0.0, 0.02]), torch.tensor([[0.5]])]
    clip_weights(weights, 0.0)
    assert weights[0].tolist() == pytest.approx([-0.5, -0.009, 0.0, 0.02])
    clip_weights(weights, 0.01)
    assert weights[0].tolist() == pytest.approx([-0.01, -0.009, 0.0, 0.01])
    assert weights[1].tolist() == [[pytest.approx(0.01)]]


def test_every_penalty_can_be_built() -> None:
    on = Anneal.constant(0.5)
    config = RegularisersConfig(
        r1_gamma=on, r2_gamma=on, roth_gamma=on, gradient_penalty=GradientPenalty(weight=10.0), drift=0.001
    )
    assert [piece.name for piece in config.penalties] == ["r1", "r2", "roth", "gradient_penalty", "drift"]
