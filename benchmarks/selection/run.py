"""Measure whether selection by the critic improves an under-trained generator's samples, and what it costs.

    python benchmarks/selection/run.py [--steps 30] [--critic-steps 8] [--seeds 0 … 7] [--samples 1500] [--out FILE]

For each seed, run `ganserve train digits --steps STEPS --schedule.critic-steps CRITIC_STEPS --seed SEED` (a whole
training has 4,000 steps with one critic update each), export the run, and serve the package in this process
(`ganserve_server.service`, without a network). Each row draws the same labels, each equally often, from the same
sampling seed. Figures are means over the seeds ± standard error; README.md explains the columns.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
DRAW_SEED = 40_000_003  # far from the seeds of training


@dataclass(frozen=True)
class Row:
    """One way to draw samples."""

    name: str
    method: int = 0
    most: int = 0
    truncation: float | None = None


ROWS = [
    Row("none"),
    Row("truncation 1.0", truncation=1.0),
    Row("truncation 0.7", truncation=0.7),
    *[Row(f"best of {most}", method=1, most=most) for most in (2, 4, 8, 16)],
    *[Row(f"rejection, at most {most}", method=2, most=most) for most in (4, 16, 64)],
]
FIGURES = {
    "gan_test": "GAN-test",
    "gan_train": "GAN-train",
    "precision": "precision",
    "density": "density",
    "recall": "recall",
    "coverage": "coverage",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30, help="training steps; a whole training has 4,000")
    parser.add_argument("--critic-steps", type=int, default=8, help="critic updates in each step")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(8)), help="training seeds")
    parser.add_argument("--samples", type=int, default=1500, help="samples in each row")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    arguments = parser.parse_args()
    trials = []
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as folder:
            trials += trial(Path(folder), seed, arguments)
        report = {
            "machine": machine(),
            "command": sys.argv[1:],
            "steps": arguments.steps,
            "critic_steps": arguments.critic_steps,
            "trials": trials,
        }
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    print(table(trials))


def trial(folder: Path, seed: int, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Train and export one generator, and measure every row."""
    from rich.console import Console

    from ganserve_export import export_run
    from ganserve_server.engine.sessions import EngineConfig
    from ganserve_server.models.repository import Repository
    from ganserve_server.queue.options import BatchConfig
    from ganserve_server.service import GanService
    from ganserve_training import PRESETS, load_split, train
    from ganserve_training.evaluation.evaluate import balanced_labels
    from ganserve_training.evaluation.features import classifier_features

    preset = PRESETS["digits"]
    schedule = replace(preset.schedule, critic_steps=arguments.critic_steps)
    config = replace(preset, seed=seed, steps=arguments.steps, schedule=schedule)
    train(config, folder / "run", device="cpu", threads=1, console=Console(file=io.StringIO()))
    exported = export_run(folder / "run", folder / "models" / "digits")
    assert exported.calibration is not None
    held_out = load_split(config.data, "held_out")
    real = load_split(config.data, "train")
    features, _ = classifier_features(real, held_out)
    labels = balanced_labels(arguments.samples, len(real.info.label_names))
    repository = Repository(
        folder / "models",
        EngineConfig(provider="CPUExecutionProvider", threads=1),
        BatchConfig(max_batch_size=64, max_queued_samples=65536, workers=1),
    )
    repository.load()
    gan = GanService(repository)
    try:
        measured = [measure(gan, row, labels, real, held_out, features) for row in ROWS]
    finally:
        repository.close()
    critic = {"auc": exported.calibration.auc, "log_loss": exported.calibration.log_loss}
    for one in measured:
        print(json.dumps({"seed": seed, **one}), file=sys.stderr, flush=True)
    return [{"seed": seed, "critic": critic, **one} for one in measured]


def measure(gan: Any, row: Row, labels: Any, real: Any, held_out: Any, features: Any) -> dict[str, Any]:
    """Draw the samples of a row and judge them."""
    from ganserve.v1 import gan_service_pb2
    from ganserve_training.evaluation.judge import judge_samples
    from ganserve_training.evaluation.metrics import density_coverage, precision_recall

    request = gan_service_pb2.SampleRequest(
        count=len(labels), seed=DRAW_SEED, label_indices=labels.tolist(), truncation=row.truncation
    )
    if row.method:
        request.selection.method = row.method
        request.selection.max_proposals_per_sample = row.most
        # Warm up: the first call has one-time costs.
        warm = gan_service_pb2.SampleRequest()
        warm.CopyFrom(request)
        del warm.label_indices[1:]
        warm.count = 1
        asyncio.run(gan.sample(warm))
    start = time.process_time()
    response = asyncio.run(gan.sample(request))
    cpu_s = time.process_time() - start
    samples = np.frombuffer(response.samples.tensor.data, np.uint8).reshape(tuple(response.samples.tensor.shape))
    judged = judge_samples(samples, labels, real, held_out)
    ours, theirs = (features.extract(part) for part in (samples, real.read(np.arange(len(real)))))
    neighbours = precision_recall(ours, theirs), density_coverage(ours, theirs)
    proposed = response.selection.proposed or len(labels)
    return {
        "row": row.name,
        "gan_test": judged.gan_test,
        "gan_train": judged.gan_train,
        **asdict(neighbours[0]),
        **asdict(neighbours[1]),
        "proposals": proposed / len(labels),
        "accepted": response.selection.accepted / len(labels) if row.method else None,
        "cpu_us_a_sample": cpu_s / len(labels) * 1e6,
    }


def table(trials: list[dict[str, Any]]) -> str:
    """Return Markdown: mean and standard error over the seeds."""
    heads = ["selection", *FIGURES.values(), "proposals a sample", "accepted", "CPU µs a sample"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in ROWS:
        of_row = [trial for trial in trials if trial["row"] == row.name]
        cells = [row.name, *[_mean([trial[name] for trial in of_row]) for name in FIGURES]]
        accepted = [trial["accepted"] for trial in of_row]
        cells += [
            f"{statistics.fmean(trial['proposals'] for trial in of_row):.1f}",
            "" if None in accepted else f"{statistics.fmean(accepted):.2f}",
            f"{statistics.fmean(trial['cpu_us_a_sample'] for trial in of_row):.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(values: list[float]) -> str:
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.3f} ± {error:.3f}"


def machine() -> str:
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return f"{names[0]}, {len(os.sched_getaffinity(0))} cores, {platform.system()}"


if __name__ == "__main__":
    main()
