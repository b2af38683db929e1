"""Refuse a batch that can't fit into memory before any memory is taken for it. N = batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ganserve_training.config import TrainConfig
from ganserve_training.data.sample_info import DataInfo
from ganserve_training.free_memory import free_bytes, shown_bytes
from ganserve_training.networks import NetworkPair, build_networks
from ganserve_training.networks.custom import CustomConfig
from ganserve_training.networks.latents import LatentPrior
from ganserve_training.options.checks import flag, refusal
from ganserve_training.run import launcher_environment as launched
from ganserve_training.run.compatibility import batches
from ganserve_training.run.distributed import Processes

_FLOAT_BYTES = 4
_COPIES = 3
"""Copies of each weight that training keeps at least: the weight, its gradient and one value of the optimiser."""
_SHARE = 0.5
"""Share of the free memory that the suggested batch takes by the lower bound; a step takes more than that bound."""


def check_memory(config: TrainConfig, pair: NetworkPair, data: DataInfo, processes: Processes) -> None:
    """Refuse a batch whose step needs more memory than is free, by a lower bound.

    Raises:
        ConfigError: With a batch size that fits.
    """
    free = free_bytes(processes.device)
    if free is None:
        return
    path, sizes, step = batches(config, processes.world)
    size = max(sizes)
    shares = processes.world if processes.device.type == "cuda" else max(1, processes.world // launched.local_world())
    at_once = size // (config.accumulate_batches * shares)
    sample = bytes_of_sample(config, pair, data, processes.device)
    if at_once * sample <= free:
        return
    fits = max(1, int(free * _SHARE / sample)) * config.accumulate_batches * shares
    most = max(step, 1 << (fits.bit_length() - 1))
    parts = next((parts for parts in range(-(-size // most), size + 1) if size % (parts * step) == 0), 0)
    accumulate = f", or {flag('accumulate_batches')} {parts * config.accumulate_batches}" if 1 < parts <= 10_000 else ""
    problem = f"a step needs more than {shown_bytes(at_once * sample)} of memory, and {shown_bytes(free)} are free"
    raise refusal(path, size, problem, f"Use {most - most % step} or less{accumulate}")


def bytes_of_sample(config: TrainConfig, pair: NetworkPair, data: DataInfo, device: torch.device) -> int:
    """Return at least how much memory a step takes for each sample of a batch: samples, and what layers give.

    A step keeps the critic's layers for real and generated samples, or those of both networks.
    """
    sample = torch.Size(data.network_shape).numel() * _FLOAT_BYTES
    if hasattr(pair.generator, "phase"):  # Networks that grow start small.
        return 4 * sample
    count = 2 * config.networks.packing
    labels = torch.zeros(count, dtype=torch.int64, device=device) if pair.label_names else None
    latents = torch.zeros(count, LatentPrior.of(config.networks).dim, device=device)
    samples = torch.zeros(count, *data.network_shape, device=device)
    generator = _bytes_of_layers(pair.generator, latents, labels) / count
    critic = _bytes_of_layers(pair.critic, samples, labels if pair.critic_uses_labels else None) / count
    kept = max(2 * critic, generator + critic)
    return 2 * sample + int(kept / (2 if config.precision == "bfloat16" else 1))


def check_network_memory(config: TrainConfig, data: DataInfo, processes: Processes) -> None:
    """Refuse networks whose weights need more memory than is free, before they are built.

    Raises:
        ConfigError: With the memory that they need.
    """
    free = free_bytes(processes.device)
    if free is None or isinstance(config.networks, CustomConfig):  # Custom code may not work without real weights.
        return
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        pair = build_networks(config.networks, data)
    count = sum(weight.numel() for network in (pair.generator, pair.critic) for weight in network.parameters())
    if _COPIES * count * _FLOAT_BYTES > free:
        needed, there = shown_bytes(_COPIES * count * _FLOAT_BYTES), shown_bytes(free)
        widths = [name for name in ("generator_width", "critic_width", "max_width") if hasattr(config.networks, name)]
        path = f"networks.{widths[0]}" if widths else "networks.architecture"
        value = getattr(config.networks, widths[0]) if widths else config.networks.architecture
        fix = f"Use less of {' or '.join(flag(f'networks.{name}') for name in widths)}" if widths else ""
        problem = f"{count:,} weights need more than {needed} of memory in training, and {there} are free"
        raise refusal(path, value, problem, fix)


@contextmanager
def out_of_memory_told(config: TrainConfig) -> Iterator[None]:
    """Turn torch's error about missing memory into one that says what to do."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        path, sizes, _ = batches(config, 1)
        fix = f"Use less, or {flag('accumulate_batches')} {2 * config.accumulate_batches}"
        raise refusal(path, max(sizes), "a step needs more memory than there is", fix) from error


def _bytes_of_layers(network: nn.Module, inputs: Tensor, labels: Tensor | None) -> int:
    """Return the size of what a network's innermost modules give for some inputs, in eval mode."""
    total = 0

    def count(_module: nn.Module, _inputs: Any, output: Any) -> None:
        nonlocal total
        total += output.numel() * _FLOAT_BYTES if isinstance(output, Tensor) else 0

    handles = [module.register_forward_hook(count) for module in network.modules() if not any(module.children())]
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(inputs, labels)
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return total
