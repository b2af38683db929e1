"""What a configuration can only know together with its data, its networks and its processes."""

from __future__ import annotations

from dataclasses import fields

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganserve_training.config import NetworksConfig, ProgressiveConfig, TrainConfig
from ganserve_training.data.sample_info import DataInfo
from ganserve_training.errors import ConfigError
from ganserve_training.networks import MinibatchStddev, NetworkPair
from ganserve_training.networks.base import Critic, Generator
from ganserve_training.networks.conditioning import resolve_conditioning
from ganserve_training.networks.growth import Growth, growing_levels
from ganserve_training.objectives.augmentation import check_augmentation


def check_everything(config: TrainConfig, data: DataInfo, pair: NetworkPair, processes: int) -> None:
    """Refuse what training would have to refuse of this configuration, or of one that was changed a little.

    Args:
        config: The configuration.
        data: What a sample looks like.
        pair: Its networks, or those of a configuration that differs by no more than a width, packing or a
            minibatch standard deviation.
        processes: Those that share a batch.

    Raises:
        ConfigError: With the value, the expectation and a fix.
    """
    resolve_conditioning(config.networks, data)
    check_pair(config, pair, processes)
    check_augmentation(config.augmentation, data)


def check_pair(config: TrainConfig, pair: NetworkPair, processes: int) -> None:
    """Refuse batches that can't be cut up as asked, and a run that ends before its networks have grown.

    Raises:
        ConfigError: With the value, the expectation and a fix.
    """
    levels = growing_levels(pair.generator)
    _check_batches(config, pair.critic, levels, processes)
    _check_growth(config, levels)
    _check_label_vector(config, pair)
    if config.regularisers.gradient_penalty.weight and any(isinstance(m, _BatchNorm) for m in pair.critic.modules()):
        raise ConfigError(
            "regularisers.gradient_penalty.weight must be 0 for a critic with batch normalisation, in which a score "
            "has no gradient of its own sample alone (Gulrajani et al. 2017, section 4) (got "
            f"{config.regularisers.gradient_penalty.weight}): use --networks.critic-norm layer or none"
        )


def check_shares(config: TrainConfig, processes: int) -> None:
    """Refuse batches that can't be dealt out evenly: what can be known before anything is built.

    Raises:
        ConfigError: With the value, the expectation and a fix.
    """
    share = config.accumulate_batches * processes * config.networks.packing
    for size in config.progressive.batch_sizes or (config.batch_size,):
        if size % share:
            below = max(share, size - size % share)
            raise ConfigError(
                f"{_batch_flag(config)} must be a multiple of {share}: --accumulate-batches "
                f"({config.accumulate_batches}) x --processes ({processes}) x --networks.packing "
                f"({config.networks.packing}) (got {size}): use {below} or {below + share}"
            )


def _batch_flag(config: TrainConfig) -> str:
    return "--progressive.batch-sizes" if config.progressive.batch_sizes else "--batch-size"


def _check_batches(config: TrainConfig, critic: nn.Module, levels: int | None, processes: int) -> None:
    """Every part of a batch must be whole, down to the groups of samples that the critic compares."""
    check_shares(config, processes)
    sizes = (config.batch_size,) if levels is None else (config.progressive.batch_sizes or (config.batch_size,))
    share = config.accumulate_batches * processes * config.networks.packing
    groups = {module.group for module in critic.modules() if isinstance(module, MinibatchStddev)}
    groups |= {config.networks.minibatch_stddev_group} - {0}
    for size in sizes:
        scored = size // share
        for group in sorted(groups):
            if scored % min(group, scored):
                raise ConfigError(
                    f"networks.minibatch_stddev_group must divide what the critic scores at a time, {scored} samples "
                    f"or packs of a batch of {size} (got {group}): use {_batch_flag(config)} "
                    f"{size - scored % group * share}, or a group that divides it"
                )


def _check_label_vector(config: TrainConfig, pair: NetworkPair) -> None:
    """Refuse a length for a label vector that neither network has."""
    concatenated = (isinstance(pair.generator, Generator) and pair.generator.embedding is not None) or (
        isinstance(pair.critic, Critic) and pair.critic.label_input is not None
    )
    got, default = config.networks.label_embedding_dim, NetworksConfig().label_embedding_dim
    if not concatenated and got != default:
        raise ConfigError(
            f"networks.label_embedding_dim must be left at {default} where no network has a label concatenated (got "
            f"{got}): it needs labels, and --networks.generator-conditioning or --networks.critic-conditioning "
            "concatenation"
        )


def _check_growth(config: TrainConfig, levels: int | None) -> None:
    if levels is None:
        growing = [
            item.name for item in fields(ProgressiveConfig) if getattr(config.progressive, item.name) != item.default
        ]
        if growing:
            raise ConfigError(
                f"{', '.join(f'progressive.{name}' for name in growing)} must be left out with networks.architecture "
                f"{config.networks.architecture}, whose networks don't grow: use --networks.architecture progressive"
            )
        return
    growth = Growth(config.progressive, levels, config.batch_size)
    needed = growth.steps_until_grown(config.schedule.critic_steps)
    if config.steps < needed:
        raise ConfigError(
            f"steps must be at least {needed} for networks that grow to {4 << levels} x {4 << levels} (got "
            f"{config.steps}): with fewer the last level isn't fully in, and nothing can be exported; use --steps "
            f"{needed} or more, or less of --progressive.fade-kimg ({config.progressive.fade_kimg:g}) and "
            f"--progressive.stable-kimg ({config.progressive.stable_kimg:g})"
        )
