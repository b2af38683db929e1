"""Check a configuration against its data, networks and number of processes."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganserve_training.config import TrainConfig
from ganserve_training.data.sample_info import DataInfo
from ganserve_training.networks import MinibatchStddev, NetworkPair
from ganserve_training.networks.build import resolve_conditioning
from ganserve_training.networks.growth import timetable
from ganserve_training.objectives.augmentation import check_augmentation
from ganserve_training.options.checks import flag, refusal


def check_everything(config: TrainConfig, data: DataInfo, pair: NetworkPair, processes: int) -> None:
    """Raise a ConfigError if the configuration can't be trained with these data, networks and processes.

    `pair` may also be the networks of a configuration with another width, packing or minibatch standard deviation.
    """
    config.networks.check_effects(pair.generator, resolve_conditioning(config.networks, data))
    check_pair(config, pair, processes)
    weights = [*pair.generator.parameters(), *pair.critic.parameters()]
    if config.memory_format != "contiguous" and not any(weight.ndim == 4 for weight in weights):
        problem = "orders the weights of convolutions, and these networks have none"
        raise refusal("memory_format", config.memory_format, problem, "Leave it out")
    check_augmentation(config.augmentation, data)


def check_pair(config: TrainConfig, pair: NetworkPair, processes: int) -> None:
    """Raise a ConfigError if batches can't be divided, or the run ends before its networks have grown."""
    check_shares(config, processes)
    _check_groups(config, pair.critic, processes)
    if growth := timetable(pair.generator, config.networks, config.batch_size):
        growth.check_steps(config.steps, config.schedule.critic_steps)
    mixes = any(isinstance(module, _BatchNorm) for module in pair.critic.modules())
    for penalty in config.regularisers.penalties if mixes else ():
        if penalty.needs_unmixed_samples:
            problem = (
                "needs a critic without batch normalisation, because a score must depend on one sample only "
                "(Gulrajani et al. 2017, section 4)"
            )
            own = not hasattr(config.networks, "critic_norm")
            fix = "Use layer norm in yours, or none" if own else "Use --networks.critic-norm layer or none"
            raise config.regularisers.refusal(penalty, problem, fix)


def check_shares(config: TrainConfig, processes: int) -> None:
    """Raise a ConfigError if batches can't be divided evenly; this needs no networks."""
    path, sizes, share = batches(config, processes)
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


def batches(config: TrainConfig, processes: int) -> tuple[str, tuple[int, ...], int]:
    """Return the option that sets batch sizes, the sizes, and the number of shares of each."""
    sizes, share = config.networks.batch_sizes, config.accumulate_batches * processes * config.networks.packing
    return ("networks.batch_sizes", sizes, share) if sizes else ("batch_size", (config.batch_size,), share)


def _check_groups(config: TrainConfig, critic: nn.Module, processes: int) -> None:
    """Refuse a batch that can't be divided into whole groups for the minibatch standard deviation."""
    path, sizes, share = batches(config, processes)
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
