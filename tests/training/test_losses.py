"""Compare every loss with its formula, written with math in double precision."""

import math
from collections.abc import Callable

import pytest
import torch

from ganserve_training.config import HingeLoss, MinimaxLoss, ModifiedMinimaxLoss, RelativisticPairingLoss
from ganserve_training.errors import ConfigError
from ganserve_training.objectives.losses import LOSSES, Loss

REAL, FAKE = [1.5, -0.25, 3.0, 0.0], [-2.0, 0.5, 2.5, 0.0]
NAMES = LOSSES.names


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def sigmoid(score: float) -> float:
    return 1.0 / (1.0 + math.exp(-score))


def cross_entropy(scores: list[float], target: float) -> float:
    """Return the mean of -t log sigma(s) - (1 - t) log(1 - sigma(s))."""
    return mean([-target * math.log(sigmoid(s)) - (1.0 - target) * math.log(1.0 - sigmoid(s)) for s in scores])


def relative(scores: list[float], others: list[float]) -> list[float]:
    return [score - mean(others) for score in scores]


Formula = Callable[[list[float], list[float]], float]
CRITIC: dict[str, Formula] = {
    "minimax": lambda real, fake: cross_entropy(real, 1.0) + cross_entropy(fake, 0.0),
    "modified-minimax": lambda real, fake: cross_entropy(real, 1.0) + cross_entropy(fake, 0.0),
    "wasserstein": lambda real, fake: mean(fake) - mean(real),
    "hinge": lambda real, fake: mean([max(0.0, 1 - r) for r in real]) + mean([max(0.0, 1 + f) for f in fake]),
    "least-squares": lambda real, fake: mean([(r - 1) ** 2 for r in real]) / 2 + mean([f**2 for f in fake]) / 2,
    "relativistic-average": lambda real, fake: (
        cross_entropy(relative(real, fake), 1.0) + cross_entropy(relative(fake, real), 0.0)
    ),
    "relativistic-pairing": lambda real, fake: mean(
        [math.log1p(math.exp(-(r - f))) for r, f in zip(real, fake, strict=True)]
    ),
}
GENERATOR: dict[str, Formula] = {
    "minimax": lambda real, fake: mean([math.log(1.0 - sigmoid(f)) for f in fake]),
    "modified-minimax": lambda real, fake: mean([-math.log(sigmoid(f)) for f in fake]),
    "wasserstein": lambda real, fake: -mean(fake),
    "hinge": lambda real, fake: -mean(fake),
    "least-squares": lambda real, fake: mean([(f - 1) ** 2 for f in fake]) / 2,
    "relativistic-average": lambda real, fake: (
        cross_entropy(relative(fake, real), 1.0) + cross_entropy(relative(real, fake), 0.0)
    ),
    "relativistic-pairing": lambda real, fake: mean(
        [math.log1p(math.exp(-(f - r))) for r, f in zip(real, fake, strict=True)]
    ),
}


def double(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def generator_loss(loss: Loss, fake: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Call the loss as the trainer does: with real scores only if it needs them."""
    return loss.generator(fake, real if loss.generator_needs_real_scores else None)


def nudged(formula: Formula, real: list[float], fake: list[float], of_real: bool, index: int) -> float:
    """Return the derivative by one score, by central differences of the formula."""
    ends = []
    for step in (1e-6, -1e-6):
        moved = [list(real), list(fake)]
        moved[0 if of_real else 1][index] += step
        ends.append(formula(*moved))
    return (ends[0] - ends[1]) / 2e-6


@pytest.mark.parametrize("name", NAMES)
def test_values_agree_with_the_written_formulas(name: str) -> None:
    loss, real, fake = LOSSES[name](), double(REAL), double(FAKE)
    assert loss.critic(real, fake).item() == pytest.approx(CRITIC[name](REAL, FAKE), abs=1e-12)
    assert generator_loss(loss, fake, real).item() == pytest.approx(GENERATOR[name](REAL, FAKE), abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_float32_values_agree_to_a_millionth(name: str) -> None:
    loss, real, fake = LOSSES[name](), torch.tensor(REAL), torch.tensor(FAKE)
    assert loss.critic(real, fake).item() == pytest.approx(CRITIC[name](REAL, FAKE), abs=1e-6)
    assert generator_loss(loss, fake, real).item() == pytest.approx(GENERATOR[name](REAL, FAKE), abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_agree_with_differences_of_the_written_formulas(name: str) -> None:
    # No score is at the hinge, which has no derivative.
    loss, real, fake = LOSSES[name](), double(REAL), double(FAKE)
    for value, formula in (
        (loss.critic(real, fake), CRITIC[name]),
        (generator_loss(loss, fake, real), GENERATOR[name]),
    ):
        gradients = torch.autograd.grad(value, [real, fake], allow_unused=True)
        for of_real, gradient in ((True, gradients[0]), (False, gradients[1])):
            found = [0.0] * 4 if gradient is None else gradient.tolist()
            expected = [nudged(formula, REAL, FAKE, of_real, index) for index in range(4)]
            assert found == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("margin", [0.25, 2.0])
def test_a_hinge_with_a_margin_is_one_of_scores_measured_in_margins(margin: float) -> None:
    real, fake = double(REAL), double(FAKE)
    expected = margin * CRITIC["hinge"]([score / margin for score in REAL], [score / margin for score in FAKE])
    assert HingeLoss(margin=margin).critic(real, fake).item() == pytest.approx(expected, abs=1e-12)
    with pytest.raises(ConfigError, match=r"^--loss\.margin 0\.0: must be positive"):
        HingeLoss(margin=0.0)


@pytest.mark.parametrize("name", ["minimax", "modified-minimax"])
@pytest.mark.parametrize("smoothing", [0.25, 0.5])
def test_only_labels_of_real_samples_are_smoothed(name: str, smoothing: float) -> None:
    loss = LOSSES[name](**({"label_smoothing": smoothing} if smoothing else {}))
    expected = cross_entropy(REAL, 1.0 - smoothing / 2) + cross_entropy(FAKE, 0.0)
    assert loss.critic(double(REAL), double(FAKE)).item() == pytest.approx(expected, abs=1e-12)
    assert loss.generator(double(FAKE), None).item() == pytest.approx(GENERATOR[name](REAL, FAKE), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "smoothing", "generator", "critic"),
    [
        ("least-squares", 0.0, 17.69625, 41.73375),
        ("modified-minimax", 0.25, 1.38582, 6.19637),
        # Theirs contains a constant: the discriminator's term for a real score of 1.
        ("minimax", 0.25, -4.82408 + math.log1p(math.exp(-1.0)), 6.19637),
        ("wasserstein", 0.0, -3.12500, 0.22500),
        ("hinge", 0.0, -3.12500, 6.75000),
    ],
)
def test_constants_published_by_tf_gan(name: str, smoothing: float, generator: float, critic: float) -> None:
    """Compare with the values for four scores in tensorflow/gan's losses_impl_test.py, to the digits given there."""
    real, fake = double([-5.0, 1.4, 12.5, 2.7]), double([10.0, 4.4, -5.5, 3.6])
    loss = LOSSES[name](**({"label_smoothing": smoothing} if smoothing else {}))
    assert loss.generator(fake, None).item() == pytest.approx(generator, abs=5e-6)
    assert loss.critic(real, fake).item() == pytest.approx(critic, abs=5e-6)


@pytest.mark.parametrize(
    ("name", "threshold", "accuracy"),
    [
        # Real above 0: 1.5, 3; fake below 0: -2. A score of exactly 0 is on neither side.
        ("minimax", 0.0, 3 / 8),
        ("modified-minimax", 0.0, 3 / 8),
        ("hinge", 0.0, 3 / 8),
        # Real above a half: 1.5, 3; fake below: -2, 0. 0.5 itself is on neither side.
        ("least-squares", 0.5, 4 / 8),
        # Halfway between 1.0625 and 0.25; pairs in the right order: the first and the third.
        ("wasserstein", 0.65625, 2 / 4),
        ("relativistic-average", 0.65625, 2 / 4),
        ("relativistic-pairing", 0.65625, 2 / 4),
    ],
)
def test_thresholds_and_accuracy(name: str, threshold: float, accuracy: float) -> None:
    loss, real, fake = LOSSES[name](), double(REAL), double(FAKE)
    assert loss.threshold(real, fake).item() == pytest.approx(threshold)
    assert loss.accuracy(real, fake).item() == accuracy


@pytest.mark.parametrize("name", NAMES)
def test_the_players_pull_scores_in_opposite_directions(name: str) -> None:
    loss, real, fake = LOSSES[name](), double([0.3]), double([0.2])
    (of_critic,) = torch.autograd.grad(loss.critic(real, fake), fake)
    (of_generator,) = torch.autograd.grad(generator_loss(loss, fake, real), fake)
    assert of_critic.item() > 0.0 > of_generator.item()


@pytest.mark.parametrize("name", NAMES)
def test_huge_scores_stay_finite(name: str) -> None:
    loss = LOSSES[name]()
    real, fake = torch.tensor([-1e4, 1e4]), torch.tensor([1e4, -1e4])
    assert loss.critic(real, fake).isfinite()
    assert generator_loss(loss, fake, real).isfinite()


def test_the_saturating_generator_has_no_gradient_where_the_critic_is_sure() -> None:
    fake = double([-20.0])
    (saturating,) = torch.autograd.grad(MinimaxLoss().generator(fake, None), fake)
    (modified,) = torch.autograd.grad(ModifiedMinimaxLoss().generator(fake, None), fake)
    assert abs(saturating.item()) < 1e-8
    assert modified.item() == pytest.approx(-1.0)


@pytest.mark.parametrize("name", ["relativistic-average", "relativistic-pairing"])
def test_relativistic_losses_depend_only_on_differences(name: str) -> None:
    loss, real, fake = LOSSES[name](), double(REAL), double(FAKE)
    assert loss.critic(real + 7, fake + 7).item() == pytest.approx(loss.critic(real, fake).item(), abs=1e-12)


def test_relativistic_pairing_pairs_element_by_element() -> None:
    loss, real, fake = RelativisticPairingLoss(), double(REAL), double(FAKE)
    assert loss.critic(real, fake).item() != pytest.approx(loss.critic(real, fake.flip(0)).item(), abs=1e-3)


@pytest.mark.parametrize("name", ["relativistic-average", "relativistic-pairing"])
def test_relativistic_generators_need_the_real_scores(name: str) -> None:
    loss = LOSSES[name]()
    assert loss.generator_needs_real_scores
    with pytest.raises(ValueError, match="real samples' scores"):
        loss.generator(torch.tensor(FAKE), None)
