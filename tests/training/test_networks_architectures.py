"""Test what all architectures have in common."""

import copy

import pytest
import torch
from torch import nn

from ganserve_training.config import CodesConfig
from ganserve_training.data import DataInfo
from ganserve_training.errors import ConfigError
from ganserve_training.networks import as_output, build_networks, looks_across_batch
from ganserve_training.networks.config import ARCHITECTURES, NetworksConfig

IMAGES = ("convolutional", "dcgan", "residual", "progressive", "r3gan")
ALL = ("mlp", *IMAGES)
WITH_STYLES = (*ALL, "stylegan2")  # It takes powers of two, has no heads, and its own ways to use labels.
LATENT = 6


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def config(architecture: str, width: int = 4, most: int = 16, **changes) -> NetworksConfig:
    fields = {"latent_dim": LATENT, "generator_width": width, "critic_width": width}
    fields |= {} if architecture == "stylegan2" else {"label_embedding_dim": 3}
    fields |= {} if architecture == "mlp" else {"max_width": most}
    fields |= {"group_size": 2} if architecture == "r3gan" else {}
    return ARCHITECTURES[architecture](**fields | changes)


def images(side: int = 8, channels: int = 1, labels: int = 3) -> DataInfo:
    return DataInfo(sample_shape=(side, side, channels), label_names=tuple(f"label {i}" for i in range(labels)))


def vectors(dim: int = 2, labels: int = 0) -> DataInfo:
    names = tuple(f"label {i}" for i in range(labels))
    return DataInfo(sample_shape=(dim,), mean=(0.0,) * dim, std=(1.0,) * dim, label_names=names)


@pytest.mark.parametrize("architecture", ALL)
@pytest.mark.parametrize(("side", "channels", "labels"), [(8, 1, 3), (8, 4, 0), (28, 2, 0), (96, 3, 3)])
def test_every_size_and_number_of_channels_with_and_without_labels(
    architecture: str, side: int, channels: int, labels: int
) -> None:
    pair = build_networks(config(architecture, width=2), images(side, channels, labels))
    given = torch.tensor([0, 2]) if labels else None
    made = pair.generator(torch.randn(2, LATENT), given)
    assert made.shape == (2, channels, side, side)
    assert torch.isfinite(made).all()
    assert as_output(pair.critic(made, given)).scores.shape == (2,)
    assert pair.label_names == tuple(f"label {i}" for i in range(labels))
    assert pair.critic_uses_labels == (labels > 0)


@pytest.mark.parametrize("architecture", ["progressive", "r3gan", "stylegan2"])
def test_tanh_bounds_images_that_have_no_bounds_otherwise(architecture: str) -> None:
    free, bounded = (
        build_networks(config(architecture, output_activation=activation), images(8)).generator
        for activation in ("none", "tanh")
    )
    bounded.load_state_dict(free.state_dict())
    latents, labels = torch.randn(16, LATENT), torch.arange(16) % 3
    made = free.eval()(latents, labels)
    assert made.abs().max() > 1.0
    assert torch.allclose(bounded.eval()(latents, labels), made.tanh(), atol=1e-6)


@pytest.mark.parametrize("architecture", IMAGES)
def test_five_hundred_and_twelve_pixels(architecture: str) -> None:
    changes = {"group_size": 1} if architecture == "r3gan" else {}
    pair = build_networks(config(architecture, width=1, most=2, **changes), images(512, 1, 0))
    with torch.no_grad():
        made = pair.generator(torch.randn(1, LATENT))
        assert made.shape == (1, 1, 512, 512)
        assert pair.critic(made.expand(2, -1, -1, -1)).shape == (2,)


@pytest.mark.parametrize("architecture", IMAGES)
def test_convolutional_architectures_refuse_vectors_and_odd_sizes(architecture: str) -> None:
    with pytest.raises(ConfigError, match=r"a vector of 2 values. Use --networks.architecture mlp"):
        build_networks(config(architecture), vectors())
    with pytest.raises(ConfigError, match=r"such as 16, 28, 32, 48 or 64 \(got 36 x 36\)"):
        build_networks(config(architecture), images(36))


def test_mlp_makes_vectors() -> None:
    pair = build_networks(config("mlp"), vectors(3, labels=2))
    labels = torch.tensor([0, 1, 1, 0])
    made = pair.generator(torch.randn(4, LATENT), labels)
    assert made.shape == (4, 3)
    assert pair.critic(made, labels).shape == (4,)


@pytest.mark.parametrize("architecture", WITH_STYLES)
def test_both_networks_use_the_label(architecture: str) -> None:
    pair = build_networks(config(architecture), images(8))
    generator, critic = pair.generator.eval(), pair.critic.eval()
    if architecture == "residual":  # Conditional gains and biases are initially equal for all labels.
        for name, parameter in generator.named_parameters():
            if "gain" in name or "bias.weight" in name:
                nn.init.normal_(parameter)
    zero, one = torch.tensor([0]), torch.tensor([1])
    latents, samples = torch.randn(1, LATENT), torch.randn(1, 1, 8, 8)
    assert not torch.equal(generator(latents, zero), generator(latents, one))
    assert not torch.equal(critic(samples, zero), critic(samples, one))


@pytest.mark.parametrize("architecture", WITH_STYLES)
@pytest.mark.parametrize("stddev", [False, True])
def test_eval_mode_is_deterministic_and_independent_of_the_batch(architecture: str, stddev: bool) -> None:
    options: dict = {"critic_norm": "batch"} if architecture in ("mlp", "dcgan", "residual") else {}
    options |= {"minibatch_stddev_group": 2 if stddev else 0}
    pair = build_networks(config(architecture, **options), images(16))
    for _ in range(3):  # Change the running statistics from their initial values.
        labels = torch.randint(0, 3, (4,))
        pair.critic(pair.generator(torch.randn(4, LATENT), labels), labels)
    generator, critic = pair.generator.eval(), pair.critic.eval()
    latents, labels = torch.randn(5, LATENT), torch.tensor([0, 1, 2, 0, 1])
    state = torch.get_rng_state()
    made = generator(latents, labels)
    scores = critic(made, labels)
    assert torch.equal(torch.get_rng_state(), state)
    apart = [generator(z[None], y[None]) for z, y in zip(latents, labels, strict=True)]
    torch.testing.assert_close(torch.cat(apart), made, rtol=1e-4, atol=1e-5)
    apart = [critic(x[None], y[None]) for x, y in zip(made, labels, strict=True)]
    torch.testing.assert_close(torch.cat(apart), scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("architecture", "options", "across"),
    [
        ("mlp", {}, False),
        ("mlp", {"critic_norm": "layer"}, False),
        ("mlp", {"critic_norm": "batch"}, True),
        ("convolutional", {}, False),
        ("convolutional", {"packing": 2}, True),
        ("dcgan", {}, True),
        ("dcgan", {"critic_norm": "none"}, False),
        ("residual", {"spectral_norm": "critic"}, False),
        ("progressive", {"minibatch_stddev_group": 4}, True),
        ("r3gan", {}, False),
        ("stylegan2", {}, True),
    ],
)
def test_a_critic_reports_that_it_mixes_its_samples(architecture: str, options: dict, across: bool) -> None:
    pair = build_networks(config(architecture, **options), images(16, labels=0))
    assert looks_across_batch(pair.critic) is across
    samples, others = torch.randn(4, 1, 16, 16), torch.randn(4, 1, 16, 16)
    others[0] = samples[0]
    # Every training pass changes spectral norm's power iteration, so compare passes of two copies.
    first, second = (copy.deepcopy(pair.critic)(batch)[0] for batch in (samples, others))
    assert torch.allclose(first, second, rtol=1e-4, atol=1e-6) is not across


@pytest.mark.parametrize("architecture", WITH_STYLES)
def test_every_weight_gets_a_gradient_through_r1(architecture: str) -> None:
    """Second gradients of a loss with R1 reach every part of the critic."""
    changes = {"minibatch_stddev_group": 2}
    changes |= {} if architecture == "stylegan2" else {"critic_conditioning": "concatenation"}
    pair = build_networks(config(architecture, **changes), images(16))
    if architecture == "r3gan":  # The last convolution of a block is initially zero and blocks gradients.
        for name, parameter in [*pair.generator.named_parameters(), *pair.critic.named_parameters()]:
            if "narrow" in name:
                nn.init.normal_(parameter)
    if architecture == "progressive":  # While a level fades in, the image layers of two levels are in use.
        for player in (pair.generator, pair.critic):
            player.phase.set(2, 0.5)
    labels = torch.tensor([0, 1, 2, 0])
    made = pair.generator(torch.randn(4, LATENT), labels)
    scores = pair.critic(made, labels)
    (gradient,) = torch.autograd.grad(scores.sum(), made, create_graph=True)
    (scores.square().sum() + gradient.square().sum()).backward()
    unused = ("to_image.0", "from_image.0") if architecture == "progressive" else "nothing"
    for network in (pair.generator, pair.critic):
        for name, parameter in network.named_parameters():
            if name.startswith(unused):
                continue
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("architecture", WITH_STYLES)
def test_state_survives_saving_copying_and_functional_calls(architecture: str) -> None:
    options = {"minibatch_stddev_group": 2}
    if architecture not in ("progressive", "r3gan", "stylegan2"):
        options["spectral_norm"] = "both"
    pair, fresh = (build_networks(config(architecture, **options), images(8)) for _ in range(2))
    labels = torch.tensor([0, 1, 2, 0])
    pair.critic(pair.generator(torch.randn(4, LATENT), labels), labels)
    latents, samples = torch.randn(4, LATENT), torch.randn(4, 1, 8, 8)
    for network, other, inputs in (
        (pair.generator.eval(), fresh.generator.eval(), latents),
        (pair.critic.eval(), fresh.critic.eval(), samples),
    ):
        expected = network(inputs, labels)
        assert not torch.equal(other(inputs, labels), expected)
        other.load_state_dict(network.state_dict())
        assert torch.equal(other(inputs, labels), expected)
        assert torch.equal(copy.deepcopy(network)(inputs, labels), expected)
        weights = {name: value.clone() for name, value in network.named_parameters()}
        assert torch.equal(torch.func.functional_call(network, weights, (inputs, labels)), expected)


@pytest.mark.parametrize("architecture", ALL)
def test_heads_share_the_features(architecture: str) -> None:
    classifier = build_networks(config(architecture, critic_conditioning="classifier"), images(8))
    samples, labels = torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])
    classifier.critic.eval()
    output = as_output(classifier.critic(samples))
    assert output.scores.shape == (4,)
    assert output.class_logits is not None
    assert output.class_logits.shape == (4, 3)
    assert output.code_logits is None
    assert not classifier.critic_uses_labels
    assert torch.equal(as_output(classifier.critic(samples, labels)).scores, output.scores)

    codes = CodesConfig(categories=5, continuous=2)
    information = build_networks(config(architecture, codes=codes), images(8, labels=0))
    assert information.label_names == ("code-0", "code-1", "code-2", "code-3", "code-4")
    assert not information.critic_uses_labels
    made = information.generator(torch.randn(4, LATENT), torch.tensor([0, 4, 2, 1]))
    output = as_output(information.critic(made))
    assert output.class_logits is None
    assert output.code_logits is not None
    assert output.code_values is not None
    assert output.code_logits.shape == (4, 5)
    assert output.code_values.shape == (4, 2)
    real, fake = as_output(information.critic.eval()(made)).halves()
    assert fake.code_logits is not None
    torch.testing.assert_close(real.scores, as_output(information.critic(made[:2])).scores)
    torch.testing.assert_close(fake.code_logits, as_output(information.critic(made[2:])).code_logits)
    assert real.class_logits is None


@pytest.mark.parametrize("architecture", [name for name in IMAGES if name != "progressive"])
@pytest.mark.parametrize("side", [8, 32, 128])
def test_a_narrow_critic_without_normalisation_tells_images_apart_from_the_start(architecture: str, side: int) -> None:
    norm = {"critic_norm": "none"} if architecture == "dcgan" else {}
    critic = build_networks(config(architecture, width=8, **norm), images(side, labels=0)).critic
    scores = as_output(critic(torch.rand(16, 1, side, side) * 2 - 1)).scores
    assert scores.std() > 0.01


@pytest.mark.parametrize("side", [8, 28, 32])
def test_each_group_of_the_generator_makes_one_colour(side: int) -> None:
    generator = build_networks(
        config("dcgan", width=6, most=24, generator_groups=3), images(side, 3, labels=0)
    ).generator
    for module in generator.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    latents = torch.randn(8, LATENT)
    made = generator(latents)
    layers = [module for module in generator.modules() if isinstance(module, nn.ConvTranspose2d)]
    for colour in range(3):
        gradients = torch.autograd.grad(
            made[:, colour].square().sum(), [layer.weight for layer in layers], retain_graph=True
        )
        for gradient in gradients:  # [channels in, channels out / 3, 4, 4]
            used = gradient.unflatten(0, (3, -1)).flatten(1).abs().sum(dim=1) > 0.0
            assert used.tolist() == [group == colour for group in range(3)]
    generator.eval()
    torch.testing.assert_close(generator.for_inference()(latents), generator(latents), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("groups", "width", "channels", "message"),
    [
        (3, 6, 1, "^--networks.generator-groups 3: does not divide the images' 1 channels. Use 1, or "),
        (3, 6, 3, "^--networks.generator-groups 3: does not divide a layer's 16 channels. Use 1, or "),  # max_width
        (3, 4, 3, "^--networks.generator-groups 3: does not divide a layer's 16 channels. Use 1, or "),
        (0, 4, 3, "^--networks.generator-groups 0: must be at least 1"),
    ],
)
def test_groups_that_do_not_fit_are_refused(groups: int, width: int, channels: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_networks(config("dcgan", width=width, generator_groups=groups), images(32, channels))
