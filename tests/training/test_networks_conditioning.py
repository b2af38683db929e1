"""Test labels and codes: the meaning of auto, refusals, and their effect on the networks."""

import dataclasses
import re

import pytest
import torch

from ganserve_training.config import CodesConfig, ConvolutionalConfig, TrainConfig, owners
from ganserve_training.config.serialisation import config_from_dict
from ganserve_training.data import DataInfo
from ganserve_training.errors import ConfigError
from ganserve_training.networks import build_networks
from ganserve_training.networks.build import resolve_conditioning
from ganserve_training.networks.config import ARCHITECTURES, NetworksConfig

PLAIN = DataInfo(sample_shape=(8, 8, 1))
LABELLED = DataInfo(sample_shape=(8, 8, 1), label_names=("cat", "dog"))


def config(architecture: str = "convolutional", **changes) -> NetworksConfig:
    fields = {"latent_dim": 4, "label_embedding_dim": 3, "generator_width": 4, "critic_width": 4}
    return ARCHITECTURES[architecture](**fields | changes)


@pytest.mark.parametrize(
    ("architecture", "data", "generator", "critic"),
    [
        ("convolutional", PLAIN, "none", "none"),
        ("convolutional", LABELLED, "concatenation", "projection"),
        ("dcgan", LABELLED, "concatenation", "projection"),
        ("residual", LABELLED, "batch-norm", "projection"),
        ("residual", PLAIN, "none", "none"),
        ("progressive", LABELLED, "concatenation", "projection"),
        ("r3gan", LABELLED, "concatenation", "projection"),
    ],
)
def test_auto(architecture: str, data: DataInfo, generator: str, critic: str) -> None:
    resolved = resolve_conditioning(config(architecture=architecture), data)
    assert (resolved.generator, resolved.critic, resolved.label_names) == (generator, critic, data.label_names)


def test_codes_replace_labels() -> None:
    resolved = resolve_conditioning(config(codes=CodesConfig(categories=3, continuous=2)), PLAIN)
    assert resolved.label_names == ("code-0", "code-1", "code-2")
    assert (resolved.generator, resolved.critic) == ("concatenation", "none")
    assert (resolved.code_categories, resolved.continuous_codes) == (3, 2)


@pytest.mark.parametrize(
    ("changes", "data", "words"),
    [
        (
            {"generator_conditioning": "concatenation"},
            PLAIN,
            "--networks.generator-conditioning concatenation: needs labels, and the data have none",
        ),
        (
            {"critic_conditioning": "projection"},
            PLAIN,
            "--networks.critic-conditioning projection: needs labels, and the data have",
        ),
        (
            {"critic_conditioning": "classifier", "codes": CodesConfig(categories=3)},
            PLAIN,
            "--networks.critic-conditioning classifier: needs labels",
        ),
        (
            {"generator_conditioning": "none"},
            LABELLED,
            "--networks.generator-conditioning none: ignores the 2 labels of the data. For an unconditional model, use "
            "--data.labels ignore.",
        ),
        ({"critic_conditioning": "none"}, LABELLED, "--networks.critic-conditioning none: ignores the 2 labels"),
        ({"packing": 2}, LABELLED, "--networks.packing 2: judges several samples together, which have no common label"),
        ({"packing": 2, "codes": CodesConfig(continuous=1)}, PLAIN, "which have no common label or code"),
        (
            {"codes": CodesConfig(categories=3)},
            LABELLED,
            "--networks.codes.categories 3: takes the place of labels, and the data have 2",
        ),
        (
            {"codes": CodesConfig(categories=3), "generator_conditioning": "none"},
            PLAIN,
            "none: leaves out InfoGAN's discrete code, which enters the generator. Leave it at auto.",
        ),
    ],
)
def test_contradictions_are_refused_with_a_message(changes: dict, data: DataInfo, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        build_networks(config(**changes), data)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"architecture": "mlp", "generator_conditioning": "batch-norm"},
            "--networks.generator-conditioning batch-norm: must be auto or concatenation in a generator without batch "
            "normalisation. Or add --networks.generator-norm batch.",
        ),
        (
            {"architecture": "dcgan", "generator_conditioning": "batch-norm", "generator_norm": "none"},
            "in a generator without batch normalisation",
        ),
        ({"architecture": "mlp", "maxout_pieces": 1}, "--networks.maxout-pieces 1: must be at least 2"),
        (
            {"architecture": "convolutional", "generator_conditioning": "batch-norm"},
            "networks.generator_conditioning 'batch-norm': is not a choice. Use one of auto, none, concatenation.",
        ),
        ({"architecture": "custom"}, "must be an import path with --networks.architecture custom. Give one such as"),
    ],
)
def test_contradictory_options_are_refused_with_a_message(changes: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        config_from_dict({"networks": changes})


def test_python_refuses_a_value_that_is_not_a_choice() -> None:
    with pytest.raises(ConfigError, match=r"^networks\.generator_conditioning 'batch-norm': is not a choice\. Use one"):
        ConvolutionalConfig(generator_conditioning="batch-norm")
    with pytest.raises(ConfigError, match=r"^precision 'float16': is not a choice\. Use one of float32, bfloat16"):
        TrainConfig(precision="float16")


@pytest.mark.parametrize(
    ("architecture", "option", "having"),
    [
        ("dcgan", "critic_layers", ("mlp",)),
        ("mlp", "max_width", ("convolutional", "dcgan", "progressive", "r3gan", "residual", "stylegan2")),
        ("convolutional", "generator_class", ("custom",)),
        ("r3gan", "critic_norm", ("dcgan", "mlp", "residual")),
        ("progressive", "spectral_norm", ("convolutional", "custom", "dcgan", "mlp", "residual")),
        ("r3gan", "spectral_norm", ("convolutional", "custom", "dcgan", "mlp", "residual")),
        ("convolutional", "group_size", ("r3gan",)),
        (
            "custom",
            "generator_width",
            ("convolutional", "dcgan", "mlp", "progressive", "r3gan", "residual", "stylegan2"),
        ),
    ],
)
def test_an_architecture_has_only_its_own_options(architecture: str, option: str, having: tuple[str, ...]) -> None:
    assert sorted(owners(f"networks.{option}")) == list(having)
    assert option not in {item.name for item in dataclasses.fields(ARCHITECTURES[architecture])}
    with pytest.raises(ConfigError, match=f"^networks.{option}: is unknown. Use one of "):
        config_from_dict({"networks": {"architecture": architecture, option: 5}})


def test_projection_adds_the_inner_product_of_features_and_label_vector() -> None:
    critic = build_networks(config(), LABELLED).critic
    samples, labels = torch.randn(3, 1, 8, 8), torch.tensor([0, 1, 1])
    features = critic.extract(samples)
    expected = [
        features[i] @ critic.score.weight[0] + critic.score.bias[0] + features[i] @ critic.embedding.weight[labels[i]]
        for i in range(3)
    ]
    torch.testing.assert_close(critic(samples, labels), torch.stack(expected))


def test_concatenation_gives_the_critic_constant_channels_and_the_generator_a_longer_latent() -> None:
    pair = build_networks(config(critic_conditioning="concatenation"), LABELLED)
    samples, latents, labels = torch.randn(2, 1, 8, 8), torch.randn(2, 4), torch.tensor([1, 0])
    planes = torch.stack([pair.critic.label_input.weight[y][:, None, None].expand(3, 8, 8) for y in labels])
    expected = pair.critic.score(pair.critic.extract(torch.cat([samples, planes], dim=1))).squeeze(1)
    torch.testing.assert_close(pair.critic(samples, labels), expected)
    table = pair.generator.embedding.weight
    inputs = torch.stack([torch.cat([z, table[y]]) for z, y in zip(latents, labels, strict=True)])
    torch.testing.assert_close(pair.generator(latents, labels), pair.generator.generate(inputs, labels))


def test_an_mlp_critic_concatenates_the_label_vector_to_the_values() -> None:
    pair = build_networks(config(architecture="mlp", critic_conditioning="concatenation"), LABELLED)
    samples, labels = torch.randn(2, 1, 8, 8), torch.tensor([1, 0])
    assert pair.critic.hidden[0].linear.in_features == 64 + 3
    inputs = torch.cat([samples.flatten(1), pair.critic.label_input(labels)], dim=1)
    torch.testing.assert_close(pair.critic(samples, labels), pair.critic.score(pair.critic.extract(inputs)).squeeze(1))
