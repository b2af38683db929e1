"""What a configuration can only know together with its data, its networks and its processes."""

from ganserve_training.config import TrainConfig
from ganserve_training.data import DataInfo
from ganserve_training.errors import ConfigError
from ganserve_training.growth import growing_levels
from ganserve_training.networks import NetworkPair


def check_pair(config: TrainConfig, pair: NetworkPair, data: DataInfo, processes: int) -> None:
    """Refuse batches that can't be cut up as asked, and a run that ends before its networks have grown.

    Raises:
        ConfigError: with the value, the expectation and a fix.
    """
    levels = growing_levels(pair.generator)
    sizes = (config.batch_size,) if levels is None else (config.progressive.batch_sizes or (config.batch_size,))
    share = config.accumulate_batches * processes * config.networks.packing
    for size in sizes:
        if size % share:
            below = max(share, size - size % share)
            raise ConfigError(
                f"the batch must be a multiple of {share}: accumulate_batches ({config.accumulate_batches}) x processes "
                f"({processes}) x packing ({config.networks.packing}) (got {size}): use {below} or {below + share}"
            )
