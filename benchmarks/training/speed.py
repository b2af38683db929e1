"""Compare the samples/s of `ganserve train` with those of a bare loop.

    python benchmarks/training/speed.py [--presets digits mnist dcgan] [--rounds 4] [--steps 200] [--json FILE]
    python benchmarks/training/speed.py --backend inductor  # beside a compiled loop

Ours: a run of `ganserve_training.train` with the preset's log, pictures, checkpoints and diagnosis. Bare: bare.py, the
same networks, losses, penalties, optimisers and average on the same data, in a process of its own. With --backend its
networks, losses and penalties are compiled by torch.compile. They take turns of 20 steps, so that other programs affect
both alike: on a shared machine the same work may take 1.4 times as much CPU time a minute later. A round is `--steps`
steps of each, after a round of warm-up. The ratio is that of all rounds together, with the error of their mean.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from rich.console import Console

from ganserve_training import PRESETS, train
from ganserve_training.run.training_step import Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


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

    def plus(self, other: Clock) -> Clock:
        return Clock(self.cpu + other.cpu, self.wall + other.wall)


class Alternation:
    """Let the bare loop run blocks between the steps of a run, and time both.

    `bare` takes a number of steps and returns their times.
    """

    def __init__(self, bare: Callable[[int], Clock], steps: int) -> None:
        self._bare, self._steps, self._taken = bare, steps, 0
        self._began, self._waited, self._theirs = Clock.now(), Clock(), Clock()
        self.rounds: list[tuple[Clock, Clock]] = []
        """Times of ours and of the bare loop in each round."""

    def step_done(self) -> None:
        self._taken += 1
        if self._taken % min(_BLOCK, self._steps):
            return
        began = Clock.now()
        self._theirs = self._theirs.plus(self._bare(min(_BLOCK, self._steps)))
        self._waited = self._waited.plus(Clock.now().since(began))
        if self._taken % self._steps == 0:
            self.rounds.append((Clock.now().since(self._began).since(self._waited), self._theirs))
            self._began, self._waited, self._theirs = Clock.now(), Clock(), Clock()


@contextmanager
def bare_process(preset: str, threads: int, backend: str) -> Iterator[Callable[[int], Clock]]:
    """Start bare.py; yield a function that lets it take steps and returns their times."""
    script = [sys.executable, str(Path(__file__).with_name("bare.py")), preset]
    script += ["--threads", str(threads), "--backend", backend]
    with subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def run(steps: int) -> Clock:
            print(steps, file=process.stdin, flush=True)
            cpu, wall = process.stdout.readline().split()
            return Clock(float(cpu), float(wall))

        try:
            yield run
        finally:
            process.stdin.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["digits", "mnist", "dcgan"], choices=sorted(PRESETS))
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=200, help=f"steps in each round, a multiple of {_BLOCK}")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--backend", default="", help="backend of torch.compile for the bare loop, such as inductor")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.steps > _BLOCK and arguments.steps % _BLOCK:
        parser.error(f"--steps must be a multiple of {_BLOCK} (got {arguments.steps})")
    torch.set_num_threads(arguments.threads)
    how = arguments.rounds, arguments.steps, arguments.threads, arguments.backend
    records = [compare(name, *how) for name in arguments.presets]
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


def compare(name: str, rounds: int, steps: int, threads: int, backend: str = "") -> dict[str, Any]:
    config = PRESETS[name]
    run_step = Trainer.run_step

    def run_and_alternate(trainer: Trainer) -> Any:
        measures = run_step(trainer)
        alternation.step_done()
        return measures

    with (
        bare_process(name, threads, backend) as bare,
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(Trainer, "run_step", run_and_alternate),
    ):
        alternation = Alternation(bare, steps)
        looks = replace(config.diagnosis, every_steps=config.look_interval)  # as often as in the whole run
        longer = replace(config, steps=(rounds + 1) * steps, diagnosis=looks)
        train(longer, Path(folder) / "run", device="cpu", threads=threads, console=Console(file=io.StringIO()))
    measured = alternation.rounds[1:]  # the first warms both up
    samples = rounds * steps * config.batch_size
    record = {"preset": name, "rounds": rounds, "steps": steps, "threads": threads, "batch_size": config.batch_size}
    record["backend"] = backend
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
