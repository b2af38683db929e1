"""How labels and InfoGAN's codes enter and leave the networks, decided once for a configuration and its data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ganserve_training.config import NetworksConfig
from ganserve_training.data.sample_info import DataInfo
from ganserve_training.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditioning:
    """What "auto" means here, and how many labels there are."""

    generator: Literal["none", "concatenation", "batch-norm"] = "none"
    """How the label, or InfoGAN's discrete code, enters the generator."""
    critic: Literal["none", "concatenation", "projection", "classifier"] = "none"
    """How the label enters the critic; classifier: it does not enter, the critic guesses it."""
    label_names: tuple[str, ...] = ()
    """Of the labels that the generator takes: the data's, or "code-0" and so on."""
    code_categories: int = 0
    """Values of the discrete code that the critic reads back; 0: no such head."""
    continuous_codes: int = 0
    """Continuous codes that the critic reads back, the last values of a latent; 0: no such head."""

    @property
    def label_count(self) -> int:
        """Labels that the generator takes."""
        return len(self.label_names)

    @property
    def critic_uses_labels(self) -> bool:
        """Whether scores depend on labels."""
        return self.critic in ("concatenation", "projection")

    @property
    def critic_has_label_head(self) -> bool:
        """Whether the critic guesses labels or codes; it then takes them as arguments without looking at them."""
        return self.critic == "classifier" or self.code_categories > 0


def resolve_conditioning(config: NetworksConfig, data: DataInfo) -> Conditioning:
    """Decide what "auto" means, and refuse what contradicts the data.

    Raises:
        ConfigError: Labels are asked for and the data have none, or the data have labels and a network takes none.
    """
    codes = config.codes
    if codes.categories and data.label_names:
        raise ConfigError(
            f"InfoGAN's discrete code takes the place of labels, and the data have {len(data.label_names)} labels: use "
            "--data.labels ignore, or --networks.codes.categories 0"
        )
    if codes.categories:
        names = tuple(f"code-{index}" for index in range(codes.categories))
        if config.generator_conditioning == "none":
            raise ConfigError(
                "InfoGAN's discrete code enters the generator: leave networks.generator_conditioning auto"
            )
    else:
        names = data.label_names
    generator = config.generator_conditioning
    critic = config.critic_conditioning
    if not names and generator not in ("auto", "none"):
        raise _no_labels(f"networks.generator_conditioning {generator}")
    if not data.label_names and critic not in ("auto", "none"):
        raise _no_labels(f"networks.critic_conditioning {critic}")
    if data.label_names:
        for field, value in (("generator", generator), ("critic", critic)):
            if value == "none":
                raise ConfigError(
                    f"the data have {len(data.label_names)} labels and networks.{field}_conditioning is none: labels "
                    "are never ignored by accident; use --data.labels ignore for an unconditional model"
                )
    if config.packing > 1 and (names or codes.any):
        raise ConfigError(
            f"networks.packing {config.packing} judges several samples together, which have no common label or code: "
            "use --networks.packing 1, or --data.labels ignore and no codes"
        )
    if generator == "auto":
        by_norm = config.architecture == "residual" and config.generator_norm in ("auto", "batch")
        generator = "none" if not names else "batch-norm" if by_norm else "concatenation"
    if critic == "auto":
        critic = "projection" if data.label_names else "none"
    return Conditioning(
        generator=generator,
        critic=critic,
        label_names=names,
        code_categories=codes.categories,
        continuous_codes=codes.continuous,
    )


def _no_labels(setting: str) -> ConfigError:
    return ConfigError(
        f"{setting} needs labels, and the data have none: give the data labels, or train without them by "
        "--networks.generator-conditioning auto --networks.critic-conditioning auto"
    )
