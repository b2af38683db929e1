"""Samples a second of `ganserve train` beside a bare loop, in one run.

    python benchmarks/training/speed.py [--presets digits dcgan-32] [--rounds 5] [--steps 400] [--threads 1] [--json F]

Ours: `ganserve_training.train` itself with the preset's own log, pictures, checkpoints and diagnosis, resumed from
round to round; timed from its first to its last step. Bare: bare.py, the same networks, losses, penalties, optimisers
and average on the same data. Rounds alternate, so that what else the machine does hits both alike; both are measured in
processor time (`time.process_time`), which other programs hardly disturb, and in wall time. The ratio is the median of
the rounds' ratios.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from bare import BareLoop
from rich.console import Console

from ganserve_training import PRESETS, train

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["digits", "dcgan-32"], choices=sorted(PRESETS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    records = [compare(name, arguments.rounds, arguments.steps, arguments.threads) for name in arguments.presets]
    print("| preset | ours, samples/CPU s | bare, samples/CPU s | ratio, CPU time | ratio, wall time |")
    print("|---|---|---|---|---|")
    for record in records:
        ours, bare = record["ours_per_cpu_s"], record["bare_per_cpu_s"]
        print(
            f"| {record['preset']} | {ours:.0f} | {bare:.0f} | {record['cpu_ratio']:.3f} | {record['wall_ratio']:.3f} |"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(records, indent=1) + "\n")


def compare(name: str, rounds: int, steps: int, threads: int) -> dict[str, Any]:
    """Both loops by turns."""
    config = PRESETS[name]
    bare = BareLoop(config)
    samples = steps * config.batch_size
    ratios: dict[str, list[float]] = {"cpu": [], "wall": []}
    speeds: dict[str, list[float]] = {"ours": [], "bare": []}
    with tempfile.TemporaryDirectory() as folder:
        for index in range(rounds + 1):  # The first round warms both up.
            last = (index + 1) * steps
            ours = _timed_training(replace(config, steps=last), Path(folder) / "run", threads)
            theirs = _timed(lambda: bare.run(steps))
            if index:
                ratios["cpu"].append(theirs[0] / ours[0])
                ratios["wall"].append(theirs[1] / ours[1])
                speeds["ours"].append(samples / ours[0])
                speeds["bare"].append(samples / theirs[0])
    return {
        "preset": name,
        "rounds": rounds,
        "steps": steps,
        "threads": threads,
        "batch_size": config.batch_size,
        "ours_per_cpu_s": statistics.median(speeds["ours"]),
        "bare_per_cpu_s": statistics.median(speeds["bare"]),
        "cpu_ratio": statistics.median(ratios["cpu"]),
        "wall_ratio": statistics.median(ratios["wall"]),
        "all_cpu_ratios": ratios["cpu"],
    }


def _timed_training(config: Any, run: Path, threads: int) -> tuple[float, float]:
    """Processor and wall seconds of the steps alone: networks, data and process are there already."""
    result = train(config, run, device="cpu", threads=threads, console=Console(file=io.StringIO()))
    return result.cpu_seconds, result.seconds


def _timed(work: Callable[[], None]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


if __name__ == "__main__":
    main()
