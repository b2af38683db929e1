"""Refuse a batch that can't fit into memory before any memory is taken for it. N = batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganserve_training.config import TrainConfig
from ganserve_training.data.sample_info import DataInfo
from ganserve_training.networks import NetworkPair
from ganserve_training.networks.latents import LatentPrior
from ganserve_training.options.checks import flag, refusal
from ganserve_training.run import launcher_environment as launched
from ganserve_training.run.compatibility import batches
from ganserve_training.run.distributed import Processes

_FLOAT_BYTES = 4
_SHARE = 0.5
"""Share of the free memory that the suggested batch takes by the lower bound; a step takes more than that bound."""
_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


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
    problem = f"a step needs more than {_shown(at_once * sample)} of memory, and {_shown(free)} are free"
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


def free_bytes(device: torch.device) -> int | None:
    """Return the free memory of a device; None: unknown."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = []
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        found.append(int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]) * 1024)
    for limit, used in _CGROUPS:
        with suppress(OSError, ValueError):  # "max" is no number: there is no limit.
            found.append(max(0, int(Path(limit).read_text()) - int(Path(used).read_text())))
    return min(found, default=None)


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


def _shown(count: float) -> str:
    return f"{count / 1e9:,.1f} GB"
