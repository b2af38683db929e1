"""Measure what a classifier with few real digits gains from streamed ones.

    ganserve train digits --out runs/digits
    ganserve export-onnx runs/digits --out models/digits
    python benchmarks/synthetic_data/run.py --models models --out benchmarks/synthetic_data/results/digits.json

For each number of real digits a class and each seed, the same small network is trained with the same optimiser, steps
and batch size on: the few real digits; half a batch of them and half a batch of streamed ones; streamed ones alone; and
all real training digits. It is tested on held-out digits, which neither it nor the generator saw. The streamed digits
come from a server process through ganserve.data.SampleDataset and a DataLoader with two workers.
"""

# N = samples, H, W = pixels, K = labels

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ganserve.data import SampleDataset
from ganserve.testing import running_server
from ganserve_training import PRESETS, load_split

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH, STEPS, LABELS = 64, 300, 10
FEW, MIXED, STREAMED, ALL = ARMS = ("few real", "few real + streamed", "streamed", "all real")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="folder of model packages with a model `digits`")
    parser.add_argument("--out", type=Path, required=True, help="file for the results, JSON")
    parser.add_argument("--few", type=int, nargs="+", default=[1, 5, 20], help="real digits of each class")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = PRESETS["digits"].data
    real, held_out = (_tensors(load_split(config, split)) for split in ("train", "held_out"))
    trials: list[dict[str, Any]] = []
    with running_server(arguments.models) as server:
        with server.client() as client:
            info = client.model("digits")
        for seed in range(arguments.seeds):
            for few in arguments.few:
                chosen = _choose(real, few, seed)
                # The other arms do not depend on the number of real digits.
                for arm in ARMS if few == arguments.few[0] else (FEW, MIXED):
                    started = time.perf_counter()
                    accuracy = trial(arm, chosen, real, held_out, server.target, seed)
                    seconds = time.perf_counter() - started
                    trials.append({"few": few, "seed": seed, "arm": arm, "accuracy": accuracy, "seconds": seconds})
                    print(f"seed {seed}, {few} of each, {arm}: {accuracy:.3f} in {seconds:.1f} s", file=sys.stderr)
    result = {
        "command": " ".join(["python", "benchmarks/synthetic_data/run.py", *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "model": {"name": info.name, "version": info.version, "step": info.provenance.step},
        "settings": {"batch": BATCH, "steps": STEPS, "held_out": len(held_out[1]), "all_real": len(real[1])},
        "trials": trials,
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(trials))


def trial(
    arm: str,
    few: tuple[Tensor, Tensor],
    real: tuple[Tensor, Tensor],
    held_out: tuple[Tensor, Tensor],
    target: str,
    seed: int,
) -> float:
    """Return the accuracy on held-out digits after training on one arm's data."""
    torch.manual_seed(seed)
    network = _network()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-4)
    for images, labels in batches(arm, few, real, target, seed):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimiser.step()
    network.eval()
    with torch.no_grad():
        return (network(held_out[0]).argmax(1) == held_out[1]).float().mean().item()


def batches(
    arm: str, few: tuple[Tensor, Tensor], real: tuple[Tensor, Tensor], target: str, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield STEPS batches of images float32 [BATCH, 1, H, W] in [0, 1] and labels int64 [BATCH]."""
    if arm == FEW:
        yield from _repeated(few, BATCH)
    elif arm == ALL:
        yield from _repeated(real, BATCH)
    elif arm == STREAMED:
        yield from _streamed(BATCH, target, seed)
    else:
        pairs = zip(_repeated(few, BATCH // 2), _streamed(BATCH // 2, target, seed), strict=True)
        for (real_images, real_labels), (images, labels) in pairs:
            yield torch.cat([real_images, images]), torch.cat([real_labels, labels])


def _streamed(batch: int, target: str, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    dataset = SampleDataset(STEPS * batch, batch_size=batch, connect=target, model="digits", seed=1_000_003 + seed)
    for images, labels in DataLoader(dataset, batch_size=None, num_workers=2):
        yield images.float() / 255, labels


def _repeated(data: tuple[Tensor, Tensor], batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    images, labels = data
    for _ in range(STEPS):
        rows = torch.randint(len(labels), (batch,))
        yield images[rows], labels[rows]


def _network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Linear(64 * 4 * 4, LABELS),
    )


def _tensors(samples: Any) -> tuple[Tensor, Tensor]:
    """Return images float32 [N, 1, H, W] in [0, 1] and labels int64 [N]."""
    images = np.asarray(samples.pixels, np.float32).transpose(0, 3, 1, 2) / 255
    return torch.from_numpy(images.copy()), torch.from_numpy(np.asarray(samples.labels, np.int64).copy())


def _choose(data: tuple[Tensor, Tensor], few: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw a number of samples of each label at random."""
    generator = np.random.default_rng(seed)
    labels = data[1].numpy()
    rows = [generator.choice(np.flatnonzero(labels == label), few, replace=False) for label in range(LABELS)]
    chosen = torch.from_numpy(np.concatenate(rows))
    return data[0][chosen], data[1][chosen]


def table(trials: list[dict[str, Any]]) -> str:
    """Return Markdown: mean accuracy ± standard error, and in how many seeds streamed digits helped."""
    lines = [f"| real digits of each class | {FEW} | {MIXED} | streamed ones helped |", "|---|---|---|---|"]
    for few in dict.fromkeys(t["few"] for t in trials):
        alone, mixed = ([t["accuracy"] for t in trials if (t["few"], t["arm"]) == (few, arm)] for arm in (FEW, MIXED))
        wins = sum(b > a for a, b in zip(alone, mixed, strict=True))
        lines.append(f"| {few} | {_mean(alone)} | {_mean(mixed)} | in {wins} of {len(alone)} seeds |")
    without_few = {arm: [t["accuracy"] for t in trials if t["arm"] == arm] for arm in (STREAMED, ALL)}
    lines += [f"| none: {arm} | {_mean(values)} | | |" for arm, values in without_few.items()]
    return "\n".join(lines)


def _mean(values: list[float]) -> str:
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.3f} ± {error:.3f}"


def _machine() -> str:
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return f"{names[0]}, {len(os.sched_getaffinity(0))} cores, {platform.system()}"


if __name__ == "__main__":
    main()
