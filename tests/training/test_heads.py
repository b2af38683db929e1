"""Compare AC-GAN's and InfoGAN's terms with sums written out, and test their gradients."""

import math

import pytest
import torch
from torch import Tensor

from ganserve_training.config import (
    AugmentationConfig,
    CodesConfig,
    ConvolutionalConfig,
    DataConfig,
    DigitsConfig,
    NetworksConfig,
    RelativisticPairingLoss,
)
from ganserve_training.data import load_split
from ganserve_training.networks.critic_output import CriticOutput
from ganserve_training.objectives.auxiliary_terms import Codes, Heads, classification_term, information_term
from ganserve_training.run.training_step import Trainer
from tiny_runs import tiny_config

LOGITS = [[2.0, -1.0, 0.5], [0.0, 0.25, -3.0]]
LABELS = [0, 2]
VALUES, ASKED = [[0.5, -1.0], [2.0, 0.0]], [[-0.5, 0.25], [1.0, -1.0]]


def double(values: list[list[float]]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def mean_surprise(logits: list[list[float]], labels: list[int]) -> float:
    """Return the mean of -log softmax(logits)[label]."""
    return sum(
        math.log(sum(math.exp(value) for value in row)) - row[label] for row, label in zip(logits, labels, strict=True)
    ) / len(labels)


def output(**heads: Tensor) -> CriticOutput:
    return CriticOutput(torch.zeros(2), **heads)


def test_classification_is_the_mean_cross_entropy_of_the_labels() -> None:
    term = classification_term(output(class_logits=double(LOGITS)), torch.tensor(LABELS))
    assert term is not None
    assert term.item() == pytest.approx(mean_surprise(LOGITS, LABELS), abs=1e-12)
    assert classification_term(output(), torch.tensor(LABELS)) is None
    with pytest.raises(ValueError, match="needs the samples' labels"):
        classification_term(output(class_logits=double(LOGITS)), None)


def test_information_adds_the_discrete_code_and_gaussians_of_the_continuous_ones() -> None:
    discrete = mean_surprise(LOGITS, LABELS)
    continuous = (((0.5 + 0.5) ** 2 + (-1 - 0.25) ** 2) + ((2 - 1) ** 2 + (0 + 1) ** 2)) / 2 / 2
    codes = Codes(torch.tensor(LABELS), double(ASKED))
    for heads, expected in (
        ({"code_logits": double(LOGITS)}, discrete),
        ({"code_values": double(VALUES)}, continuous),
        ({"code_logits": double(LOGITS), "code_values": double(VALUES)}, discrete + continuous),
    ):
        term = information_term(output(**heads), codes)
        assert term is not None
        assert term.item() == pytest.approx(expected, abs=1e-12)
    assert information_term(output(), codes) is None


def test_the_gaussian_term_is_the_log_likelihood_without_its_constant() -> None:
    """Check -log N(c; mean, 1) = (c - mean)^2 / 2 + log(2 pi) / 2 for each code."""
    term = information_term(output(code_values=double(VALUES)), Codes(None, double(ASKED)))
    normal = torch.distributions.Normal(double(VALUES), 1.0)
    surprise = -normal.log_prob(double(ASKED)).sum(dim=1).mean()
    assert term is not None
    assert term.item() == pytest.approx(surprise.item() - math.log(2 * math.pi), abs=1e-12)


def test_constants_published_by_tf_gan() -> None:
    """Compare with the values in tensorflow/gan's losses_impl_test.py, to the digits given there."""
    fake = [[10.0, 4.4, -5.5, 3.6], [-4.0, 4.4, 5.2, 4.6], [1.1, 2.4, -3.5, 5.6], [1.1, 2.4, -3.5, 5.6]]
    real = [[-2.0, 0.4, 12.5, 2.7], [-1.2, 1.9, 12.3, 2.6], [-2.4, -1.7, 2.5, 2.7], [1.1, 2.4, -3.5, 5.6]]
    labels = torch.tensor([1, 2, 0, 0])
    heads = Heads(RelativisticPairingLoss(), CodesConfig(), classifier=True)
    outputs = [CriticOutput(torch.zeros(4), class_logits=double(rows)) for rows in (real, fake)]
    none = Codes(None, None)
    assert heads.terms(outputs[1:], labels, none)["classification"].item() == pytest.approx(3.84974, abs=5e-6)
    assert heads.terms(outputs, labels, none)["classification"].item() == pytest.approx(9.43950, abs=5e-6)

    # TF-GAN's penalty on mutual information is the mean over two codes with Gaussian constants, ours their sum without.
    discrete = information_term(
        CriticOutput(torch.zeros(1), code_logits=double([[1.0, 2.0]])), Codes(torch.tensor([1]), None)
    )
    continuous = information_term(
        CriticOutput(torch.zeros(1), code_values=double([[0.0]])), Codes(None, double([[2.0]]))
    )
    assert discrete is not None
    assert continuous is not None
    theirs = (discrete.item() + continuous.item() + math.log(2 * math.pi) / 2) / 2
    assert theirs == pytest.approx(1.61610, abs=5e-6)


def test_weights_multiply_the_terms_of_both_players() -> None:
    heads = Heads(
        RelativisticPairingLoss(classification_weight=0.5, information_weight=3.0),
        CodesConfig(continuous=2),
        classifier=True,
    )
    assert heads.names == ("classification", "information")
    real, fake = (output(class_logits=double(LOGITS), code_values=double(VALUES)) for _ in range(2))
    codes = heads.read_codes(torch.cat([torch.zeros(2, 3), torch.tensor(ASKED)], dim=1), torch.tensor(LABELS))
    surprise = mean_surprise(LOGITS, LABELS)
    information = information_term(fake, codes)
    assert information is not None
    critic = heads.terms([real, fake], torch.tensor(LABELS), codes)
    generator = heads.terms([fake], torch.tensor(LABELS), codes)
    assert critic["classification"].item() == pytest.approx(0.5 * 2 * surprise, abs=1e-9)
    assert generator["classification"].item() == pytest.approx(0.5 * surprise, abs=1e-9)
    assert critic["information"].item() == generator["information"].item() == pytest.approx(3 * information.item())


def test_codes_are_read_from_the_end_of_the_latent_and_from_the_label() -> None:
    latents, labels = torch.arange(12.0).view(2, 6), torch.tensor(LABELS)
    both = Heads(RelativisticPairingLoss(), CodesConfig(categories=3, continuous=2), classifier=False).read_codes(
        latents, labels
    )
    assert torch.equal(both.values, latents[:, 4:])
    assert torch.equal(both.categories, labels)
    neither = Heads(RelativisticPairingLoss(), CodesConfig(), classifier=False).read_codes(latents, labels)
    assert (neither.categories, neither.values) == (None, None)


def trainer_of(networks: NetworksConfig, data: DataConfig) -> Trainer:
    config = tiny_config(networks=networks, data=data, augmentation=AugmentationConfig())
    return Trainer(config, load_split(data, "train"))


@pytest.mark.parametrize(
    ("networks", "data", "term"),
    [
        (ConvolutionalConfig(latent_dim=8, critic_conditioning="classifier"), DigitsConfig(), "classification"),
        (
            ConvolutionalConfig(latent_dim=8, codes=CodesConfig(categories=4, continuous=2)),
            DigitsConfig(labels="ignore"),
            "information",
        ),
    ],
)
def test_the_terms_teach_the_generator_and_the_critic(networks: NetworksConfig, data: DataConfig, term: str) -> None:
    """The gradient of the term reaches the generator's weights."""
    trainer = trainer_of(networks, data)
    labels = torch.arange(16) % len(trainer.label_names)
    latents = trainer.prior.draw(16, torch.Generator().manual_seed(0))
    fake = trainer._score(trainer.generator(latents, labels), None)
    value = trainer._heads.terms([fake], labels, trainer._heads.read_codes(latents, labels))[term]
    # This convolution is farthest from the heads.
    for network, weight in (("generator", "to_image.weight"), ("critic", "from_image.weight")):
        (gradient,) = torch.autograd.grad(value, [getattr(trainer, network).get_parameter(weight)], retain_graph=True)
        assert gradient.norm() > 0.0
    measures = dict(zip(trainer.measures, trainer.run_step().tolist(), strict=True))
    assert measures[f"critic_{term}"] > 0.0
    assert measures[f"generator_{term}"] > 0.0


def test_the_critic_learns_to_read_codes_back() -> None:
    """On samples that follow their codes exactly, training reduces the term, so its sign is right."""
    torch.manual_seed(0)
    head = torch.nn.Linear(3, 3)
    optimiser = torch.optim.SGD(head.parameters(), lr=1.0)
    labels = torch.arange(30) % 3
    samples = torch.nn.functional.one_hot(labels, 3).float()
    values = []
    for _ in range(20):
        term = information_term(CriticOutput(torch.zeros(30), code_logits=head(samples)), Codes(labels, None))
        assert term is not None
        optimiser.zero_grad()
        term.backward()
        optimiser.step()
        values.append(term.item())
    assert values[-1] < 0.3 * values[0]
