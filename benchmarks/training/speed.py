"""Compare the samples/s of `ganserve train` with those of a bare loop.

    python benchmarks/training/speed.py [--presets digits dcgan-32] [--rounds 4] [--steps 600] [--threads 1] [--json F]

Ours: a run of `ganserve_training.train` with the preset's log, pictures, checkpoints and diagnosis. Bare: bare.py, the
same networks, losses, penalties, optimisers and average on the same data. They take turns of 20 steps, so that other
programs affect both alike: on a shared machine the same work may take 1.4 times as much CPU time a minute later. A
round is `--steps` steps of each, after a round of warm-up. The ratio is that of all rounds together, with the error of
their mean.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from bare import BareLoop
from rich.console import Console

from ganserve_training import PRESETS, train
from ganserve_training.run.training_step import Trainer

if TYPE_CHECKING:
    from collections.abc import Callable


_BLOCK = 20


@dataclass
class Clock:
    cpu: float = 0.0
    wall: float = 0.0

    @classmethod
    def now(cls) -> Clock:
        return cls(time.process_time(), time.perf_counter())

    def since(self, earlier: Clock) -> Clock:
        return Clock(self.cpu - earlier.cpu, self.wall - earlier.wall)


class Alternation:
    """Run blocks of the bare loop between the steps of a run, and time both."""

    def __init__(self, bare: Callable[[int], object], steps: int) -> None:
        self._bare, self._steps, self._taken = bare, steps, 0
        self._began, self._theirs = Clock.now(), Clock()
        self.rounds: list[tuple[Clock, Clock]] = []
        """Times of ours and of the bare loop in each round."""

    def step_done(self) -> None:
        self._taken += 1
        if self._taken % min(_BLOCK, self._steps):
            return
        began = Clock.now()
        self._bare(min(_BLOCK, self._steps))
        theirs = Clock.now().since(began)
        self._theirs = Clock(self._theirs.cpu + theirs.cpu, self._theirs.wall + theirs.wall)
        if self._taken % self._steps == 0:
            self.rounds.append((Clock.now().since(self._began).since(self._theirs), self._theirs))
            self._began, self._theirs = Clock.now(), Clock()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["digits", "dcgan-32"], choices=sorted(PRESETS))
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=600, help=f"steps in each round, a multiple of {_BLOCK}")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.steps > _BLOCK and arguments.steps % _BLOCK:
        parser.error(f"--steps must be a multiple of {_BLOCK} (got {arguments.steps})")
    torch.set_num_threads(arguments.threads)
    records = [compare(name, arguments.rounds, arguments.steps, arguments.threads) for name in arguments.presets]
    print("| preset | ours, samples/CPU s | bare, samples/CPU s | ratio, CPU time | ratio, wall time |")
    print("|---|---|---|---|---|")
    for record in records:
        ours, bare = record["ours_per_cpu_s"], record["bare_per_cpu_s"]
        ratios = " | ".join(
            f"{record[f'{kind}_ratio']:.3f} ± {record[f'{kind}_error']:.3f}" for kind in ("cpu", "wall")
        )
        print(f"| {record['preset']} | {ours:.0f} | {bare:.0f} | {ratios} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(records, indent=1) + "\n")


def compare(name: str, rounds: int, steps: int, threads: int) -> dict[str, Any]:
    config = PRESETS[name]
    alternation = Alternation(BareLoop(config).run, steps)
    run_step = Trainer.run_step

    def run_and_alternate(trainer: Trainer) -> Any:
        measures = run_step(trainer)
        alternation.step_done()
        return measures

    with tempfile.TemporaryDirectory() as folder, mock.patch.object(Trainer, "run_step", run_and_alternate):
        longer = replace(config, steps=(rounds + 1) * steps)
        train(longer, Path(folder) / "run", device="cpu", threads=threads, console=Console(file=io.StringIO()))
    measured = alternation.rounds[1:]  # the first warms both up
    samples = rounds * steps * config.batch_size
    record = {"preset": name, "rounds": rounds, "steps": steps, "threads": threads, "batch_size": config.batch_size}
    for kind in ("cpu", "wall"):
        ours, bare = ([getattr(one[index], kind) for one in measured] for index in (0, 1))
        ratios = [b / a for a, b in zip(ours, bare, strict=True)]
        error = statistics.stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else 0.0
        record |= {
            f"ours_per_{kind}_s": samples / sum(ours),
            f"bare_per_{kind}_s": samples / sum(bare),
            f"{kind}_ratio": sum(bare) / sum(ours),
            f"{kind}_error": error,
            f"all_{kind}_ratios": ratios,
        }
    return record


if __name__ == "__main__":
    main()
