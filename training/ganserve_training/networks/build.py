"""Build the generator and the critic. Each architecture registers itself when it is imported here."""

from dataclasses import dataclass

from torch import nn

from ganserve_training.data.sample_info import DataInfo
from ganserve_training.networks import (  # noqa: F401 - each registers itself
    convolutional,
    custom,
    dcgan,
    mlp,
    progressive,
    r3gan,
    residual,
    stylegan2,
)
from ganserve_training.networks.batch_statistics import PackedCritic
from ganserve_training.networks.conditioning import Conditioning
from ganserve_training.networks.config import NetworksConfig
from ganserve_training.networks.normalisation import normalise_spectrally
from ganserve_training.networks.problems import make_both
from ganserve_training.options.checks import flag, refusal


@dataclass(frozen=True, slots=True)
class NetworkPair:
    """A generator and its critic."""

    generator: nn.Module
    """latents float32 [N, Z], labels int64 [N] or None -> samples float32 [N, C, H, W] or [N, D]."""
    critic: nn.Module
    """samples float32 [N, C, H, W] or [N, D], labels int64 [N] or None -> scores float32 [N], or a CriticOutput."""
    label_names: tuple[str, ...] = ()
    """Names of the generator's labels: the data's, "code-0", "code-1", … of InfoGAN, or none."""
    critic_uses_labels: bool = False
    """True if the critic needs labels for its scores."""


def build_networks(config: NetworksConfig, data: DataInfo) -> NetworkPair:
    """Return a new pair for these data, with weights from torch's global random number generator.

    Raises:
        ConfigError: The architecture can't make samples of this shape, or conditioning contradicts the data.
    """
    conditioning = resolve_conditioning(config, data)
    shape = data.network_shape
    make_generator, make_critic = config.players
    packed = (shape[0] * config.packing, *shape[1:])
    generator, critic = make_both(
        lambda: make_generator(config, shape, conditioning), lambda: make_critic(config, packed, conditioning)
    )
    if config.spectral_norm != "off":
        normalise_spectrally(critic)
    if config.spectral_norm == "both":
        normalise_spectrally(generator)
    return NetworkPair(
        generator,
        PackedCritic(critic, config.packing) if config.packing > 1 else critic,
        conditioning.label_names,
        conditioning.critic_uses_labels,
    )


def resolve_conditioning(config: NetworksConfig, data: DataInfo) -> Conditioning:
    """Resolve "auto", and refuse a network that needs labels that the data lack, or ignores labels that they have."""
    codes = config.codes
    if codes.categories and data.label_names:
        problem = f"takes the place of labels, and the data have {len(data.label_names)} labels"
        fix = "Add --data.labels ignore, or --networks.codes.categories 0"
        raise refusal("networks.codes.categories", codes.categories, problem, fix)
    names = tuple(f"code-{index}" for index in range(codes.categories)) or data.label_names
    generator, critic = config.generator_conditioning, config.critic_conditioning
    if codes.categories and generator == "none":
        problem = "leaves out InfoGAN's discrete code, which enters the generator"
        raise refusal("networks.generator_conditioning", generator, problem, "Leave it at auto")
    for field, value, has_labels in (("generator", generator, names), ("critic", critic, data.label_names)):
        path = f"networks.{field}_conditioning"
        if not has_labels and value not in ("auto", "none"):
            problem = "needs labels, and the data have none"
            fix = f"Give the data labels, or train without: --data.labels ignore, and no {flag(path)} of your own"
            raise refusal(path, value, problem, fix)
        if data.label_names and value == "none":
            problem = f"ignores the {len(data.label_names)} labels of the data"
            raise refusal(path, value, problem, "For an unconditional model, use --data.labels ignore")
    if config.packing > 1 and (names or codes.any):
        problem = "judges several samples together, which have no common label or code"
        fix = "Use --networks.packing 1, or --data.labels ignore and no codes"
        raise refusal("networks.packing", config.packing, problem, fix)
    if generator == "auto":
        generator = "none" if not names else "batch-norm" if config.conditions_by_norm else "concatenation"
    if critic == "auto":
        critic = "projection" if data.label_names else "none"
    return Conditioning(
        generator=generator,
        critic=critic,
        label_names=names,
        code_categories=codes.categories,
        continuous_codes=codes.continuous,
    )
