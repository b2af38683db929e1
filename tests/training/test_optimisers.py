"""Compare one player's update with its optimiser's arithmetic, written out for a single weight."""

import math

import pytest
import torch
from torch import nn

from ganserve_training.config import Anneal
from ganserve_training.run.distributed import Processes
from ganserve_training.run.optimisers import OPTIMISERS, Updater

START, GRADIENTS = 0.5, [0.3, -0.2, 0.25, 0.0, 1.5]


def cosine(start: float, end: float, progress: float) -> float:
    return start + (end - start) * (0.5 - 0.5 * math.cos(math.pi * progress))


def written_out(name: str, momentum: float, decay: float, rate: Anneal, beta2: Anneal) -> list[float]:
    """Return the weight after each gradient, annealed over all gradients."""
    weight, first, second, weights = START, 0.0, 0.0, []
    for step, gradient in enumerate(GRADIENTS):
        progress = step / len(GRADIENTS)
        lr, b2 = cosine(rate.start, rate.end, progress), cosine(beta2.start, beta2.end, progress)
        weight *= 1.0 - lr * decay
        if name == "adam":
            first = momentum * first + (1.0 - momentum) * gradient
            second = b2 * second + (1.0 - b2) * gradient**2
            unbiased = math.sqrt(second / (1.0 - b2 ** (step + 1)))
            weight -= lr * first / (1.0 - momentum ** (step + 1)) / (unbiased + 1e-8)
        elif name == "rmsprop":
            second = b2 * second + (1.0 - b2) * gradient**2
            first = momentum * first + gradient / (math.sqrt(second) + 1e-8)
            weight -= lr * first
        else:
            first = momentum * first + gradient
            weight -= lr * first
        weights.append(weight)
    return weights


def updater_of(*weights: nn.Parameter, name: str = "adam", **settings: object) -> Updater:
    return Updater(weights, OPTIMISERS[name](**settings), Processes())


@pytest.mark.parametrize("name", ["adam", "rmsprop", "sgd"])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_updates_agree_with_written_out_arithmetic(name: str, momentum: float, decay: float) -> None:
    rate = Anneal(start=0.1, end=0.02)
    beta2 = Anneal.constant(0.99) if name == "sgd" else Anneal(start=0.9, end=0.99)
    weight = nn.Parameter(torch.tensor([START], dtype=torch.float64))
    second = {} if name == "sgd" else {"beta2": beta2}
    updater = updater_of(weight, name=name, learning_rate=rate, beta1=momentum, weight_decay=decay, **second)
    found = []
    for step, gradient in enumerate(GRADIENTS):
        updater.optimiser.zero_grad()
        (weight * gradient).sum().backward()
        updater.step(step / len(GRADIENTS))
        found.append(weight.item())
    assert found == pytest.approx(written_out(name, momentum, decay, rate, beta2), abs=1e-12)


def test_adam_updates_as_torchs_bit_for_bit() -> None:
    """Also weights that get a first gradient late, a mixture of types, and convolutions in channels-last order."""
    random = torch.Generator().manual_seed(0)
    shapes = [((8, 3, 3, 3), torch.float32), ((8,), torch.float32), ((5, 4), torch.float64), ((7,), torch.float32)]
    ours = [nn.Parameter(torch.randn(shape, generator=random, dtype=dtype)) for shape, dtype in shapes]
    ours[0].data = ours[0].data.contiguous(memory_format=torch.channels_last)
    for mixed in (False, True):
        weights = [nn.Parameter(weight.detach().clone()) for weight in ours if mixed or weight.dtype == torch.float32]
        theirs = [nn.Parameter(weight.detach().clone()) for weight in weights]
        updater = updater_of(*weights, learning_rate=Anneal.constant(0.01), beta1=0.5)
        adam = torch.optim.Adam(theirs, lr=0.01, betas=(0.5, 0.99), fused=True)
        for step in range(6):
            updater.forget_gradients()
            adam.zero_grad()
            for ours_, theirs_ in list(zip(weights, theirs, strict=True))[: None if step >= 2 else -1]:
                ours_.grad = torch.randn(ours_.shape, generator=random, dtype=ours_.dtype)
                if ours_.ndim == 4:
                    ours_.grad = ours_.grad.contiguous(memory_format=torch.channels_last)
                theirs_.grad = ours_.grad.clone()
            updater.step(0.0)
            adam.step()
            assert all(map(torch.equal, weights, theirs)), step


def test_decay_is_decoupled_from_the_gradient() -> None:
    """The decay of a weight does not depend on its gradient (Loshchilov & Hutter 2019)."""
    moved = []
    for scale in (1.0, 1000.0):
        weight = nn.Parameter(torch.tensor([START], dtype=torch.float64))
        updater = updater_of(weight, learning_rate=Anneal.constant(0.1), weight_decay=0.5)
        (weight * scale).sum().backward()
        updater.step(0.0)
        moved.append(weight.item())
    assert moved == pytest.approx([START * 0.95 - 0.1] * 2, abs=1e-7)


@pytest.mark.parametrize("name", ["adam", "rmsprop", "sgd"])
def test_a_weight_without_a_gradient_does_not_decay(name: str) -> None:
    """Levels of a progressive network that are not yet in use have no gradient."""
    moving, resting = (nn.Parameter(torch.ones(2)) for _ in range(2))
    updater = updater_of(moving, resting, name=name, weight_decay=1.0)
    moving.sum().backward()
    updater.step(0.0)
    assert torch.equal(resting, torch.ones(2))
    assert (moving < 1.0).all()


def test_frozen_weights_are_not_trained() -> None:
    frozen, free = nn.Parameter(torch.ones(1), requires_grad=False), nn.Parameter(torch.ones(1))
    assert updater_of(frozen, free).parameters == [free]


def test_the_gradient_norm_covers_all_weights() -> None:
    weights = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1, 3))]
    updater = updater_of(*weights)
    (weights[0].sum() * 3.0 + (weights[1] * torch.tensor([1.0, -2.0, 2.0])).sum()).backward()
    assert updater.gradient_norm().item() == pytest.approx(math.sqrt(9 + 9 + 1 + 4 + 4))


def test_a_reset_clears_the_moments() -> None:
    weight = nn.Parameter(torch.tensor([START], dtype=torch.float64))
    updater = updater_of(weight, learning_rate=Anneal.constant(0.1), beta1=0.9)
    for gradient in (0.3, 0.4):
        updater.optimiser.zero_grad()
        (weight * gradient).sum().backward()
        updater.step(0.0)
    updater.reset()
    before = weight.item()
    updater.optimiser.zero_grad()
    (weight * -0.001).sum().backward()
    updater.step(0.0)
    assert weight.item() - before == pytest.approx(0.1, rel=1e-4)  # Adam's first step is as long as the learning rate.


@pytest.mark.parametrize("name", ["adam", "rmsprop", "sgd"])
def test_a_restored_updater_continues_exactly(name: str) -> None:
    weights = [nn.Parameter(torch.tensor([START])) for _ in range(2)]
    updaters = [updater_of(weight, name=name, beta1=0.5) for weight in weights]

    def advance(index: int, gradients: list[float]) -> None:
        for gradient in gradients:
            updaters[index].optimiser.zero_grad()
            (weights[index] * gradient).sum().backward()
            updaters[index].step(0.0)

    advance(0, GRADIENTS)
    advance(1, GRADIENTS[:2])
    restored = nn.Parameter(weights[1].detach().clone())
    state = updaters[1].optimiser.state_dict()
    weights[1], updaters[1] = restored, updater_of(restored, name=name, beta1=0.5)
    updaters[1].optimiser.load_state_dict(state)
    advance(1, GRADIENTS[2:])
    assert torch.equal(weights[0], weights[1])


@pytest.mark.parametrize("name", ["adam", "rmsprop", "sgd"])
def test_a_lazy_interval_adjusts_rates_and_decays(name: str) -> None:
    """k steps with k + 1 updates: rate * k / (k + 1), beta ^ (k / (k + 1)) (Karras et al. 2020, appendix B)."""
    weight = nn.Parameter(torch.ones(1))
    second = {} if name == "sgd" else {"beta2": Anneal.constant(0.99)}
    config = OPTIMISERS[name](learning_rate=Anneal.constant(0.1), beta1=0.5, **second)
    updater = Updater([weight], config, Processes(), lazy_interval=4)
    weight.sum().backward()
    updater.step(0.0)
    (group,) = updater.optimiser.param_groups
    decays = group["betas"] if name == "adam" else (group["momentum"], *([group["alpha"]] if second else []))
    assert group["lr"] == pytest.approx(0.08)
    assert decays == pytest.approx((0.5**0.8, 0.99**0.8)[: len(decays)])
