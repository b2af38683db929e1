"""Check a configuration against its data, networks and number of processes."""

from dataclasses import fields

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganserve_training.config import TrainConfig
from ganserve_training.data.sample_info import DataInfo
from ganserve_training.networks import MinibatchStddev, NetworkPair
from ganserve_training.networks.base import Critic, Generator
from ganserve_training.networks.build import resolve_conditioning
from ganserve_training.networks.config import BuiltInConfig, NetworksConfig
from ganserve_training.networks.growth import GrowthConfig, timetable
from ganserve_training.objectives.augmentation import check_augmentation
from ganserve_training.options.checks import flag, refusal

_COMMON = {item.name for item in fields(NetworksConfig)}


def check_everything(config: TrainConfig, data: DataInfo, pair: NetworkPair, processes: int) -> None:
    """Raise a ConfigError if the configuration can't be trained with these data, networks and processes.

    `pair` may also be the networks of a configuration with another width, packing or minibatch standard deviation.
    """
    resolve_conditioning(config.networks, data)
    check_pair(config, pair, processes)
    check_augmentation(config.augmentation, data)


def check_pair(config: TrainConfig, pair: NetworkPair, processes: int) -> None:
    """Raise a ConfigError if batches can't be divided, or the run ends before its networks have grown."""
    check_shares(config, processes)
    _check_groups(config, pair.critic, processes)
    _check_growth(config, pair.generator)
    _check_label_vector(config, pair)
    penalty = config.regularisers.gradient_penalty.weight
    if penalty and any(isinstance(module, _BatchNorm) for module in pair.critic.modules()):
        raise refusal(
            "regularisers.gradient_penalty.weight",
            penalty,
            "needs a critic without batch normalisation, in which a score has no gradient of its own sample alone "
            "(Gulrajani et al. 2017, section 4)",
            "Use --networks.critic-norm layer or none",
        )


def check_shares(config: TrainConfig, processes: int) -> None:
    """Raise a ConfigError if batches can't be divided evenly; this needs no networks."""
    share = config.accumulate_batches * processes * config.networks.packing
    path, sizes = _batch_sizes(config)
    for size in sizes:
        if size % share:
            below = max(share, size - size % share)
            raise refusal(
                path,
                size,
                f"must be a multiple of {share}: --accumulate-batches {config.accumulate_batches} x --processes "
                f"{processes} x --networks.packing {config.networks.packing}",
                f"Use {below} or {below + share}",
            )


def _batch_sizes(config: TrainConfig) -> tuple[str, tuple[int, ...]]:
    """Return the option that sets batch sizes, and the sizes."""
    if isinstance(config.networks, GrowthConfig) and config.networks.batch_sizes:
        return "networks.batch_sizes", config.networks.batch_sizes
    return "batch_size", (config.batch_size,)


def _check_groups(config: TrainConfig, critic: nn.Module, processes: int) -> None:
    """Refuse a batch that can't be divided into whole groups for the minibatch standard deviation."""
    path, sizes = _batch_sizes(config)
    share = config.accumulate_batches * processes * config.networks.packing
    groups = {module.group for module in critic.modules() if isinstance(module, MinibatchStddev)}
    groups |= {config.networks.minibatch_stddev_group} - {0}
    for size in sizes:
        scored = size // share
        for group in sorted(groups):
            if scored % min(group, scored):
                raise refusal(
                    "networks.minibatch_stddev_group",
                    group,
                    f"must divide what the critic scores at a time, {scored} samples or packs of a batch of {size}",
                    f"Use {flag(path)} {size - scored % group * share}, or a group that divides it",
                )


def _check_label_vector(config: TrainConfig, pair: NetworkPair) -> None:
    """Refuse a length for label vectors if neither network has one."""
    concatenated = (isinstance(pair.generator, Generator) and pair.generator.embedding is not None) or (
        isinstance(pair.critic, Critic) and pair.critic.label_input is not None
    )
    length = getattr(config.networks, "label_embedding_dim", None)
    if not concatenated and length not in (None, BuiltInConfig().label_embedding_dim):
        raise refusal(
            "networks.label_embedding_dim",
            length,
            "has no effect where no network has a label concatenated",
            "Leave it out, or add --networks.generator-conditioning or --networks.critic-conditioning concatenation",
        )


def _check_growth(config: TrainConfig, generator: nn.Module) -> None:
    networks = config.networks
    growth = timetable(generator, networks, config.batch_size)
    if growth is None:
        for item in fields(GrowthConfig) if isinstance(networks, GrowthConfig) else ():
            value = getattr(networks, item.name)
            if item.name not in _COMMON and value != item.default:
                raise refusal(f"networks.{item.name}", value, "needs networks that grow", "Leave it out")
        return
    assert isinstance(networks, GrowthConfig)
    needed = growth.steps_until_grown(config.schedule.critic_steps)
    if config.steps < needed:
        side = 4 << growth.last_level
        raise refusal(
            "steps",
            config.steps,
            f"ends before the networks have grown to {side} x {side}, so that nothing can be exported",
            f"Use --steps {needed} or more, or less of --networks.fade-kimg ({networks.fade_kimg:g}) and "
            f"--networks.stable-kimg ({networks.stable_kimg:g})",
        )
