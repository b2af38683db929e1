"""Train presets with several seeds, judge their samples, and draw them.

    python benchmarks/presets/run.py [PRESET ...] [--seeds 0 1 2 3 4] [--runs FOLDER] [--out FILE] [--pictures FOLDER]

Each run is `ganserve train PRESET` with one thread, then `ganserve evaluate`; nothing but the seed differs. A model
with labels is good if, of a judge's own accuracy on held-out real samples, it reaches 0.95 in GAN-test and 0.88 in
GAN-train. One without is good if its recall is at least 0.5, and its label balance too: the judge finds each label
between half and twice as often as in the data. The picture of a preset has two rows of samples for each seed; labelled
samples stand in the order of their labels. Results are written to --out after each run; runs that it already has are
skipped. It prints a table of presets and one of their figures, as docs/results.md has them.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganserve_training import PRESETS
from ganserve_training.pictures.grids import save_sample_grid
from ganserve_training.run.trained_model import draw_samples, load_trained

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from seed_pictures import join_seeds  # noqa: E402

from commands import ganserve  # noqa: E402

PICTURE_PRESETS = tuple(name for name in PRESETS if PRESETS[name].data.source in ("mnist", "fashion"))
LEAST = {"gan_test": 0.95, "gan_train": 0.88}
LEAST_WITHOUT_LABELS = {"recall": 0.5, "label_balance": 0.5}
COLUMNS, ROWS = 10, 2
DRAW_SEED = 0
JUDGED = 2000
Result = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", metavar="PRESET", default=PICTURE_PRESETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--runs", type=Path, help="folder for the runs, which are kept; default: a temporary one")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "presets.json")
    parser.add_argument("--pictures", type=Path, default=HERE / "pictures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    results: list[Result] = json.loads(arguments.out.read_text()) if arguments.out.exists() else []
    had = {(each["preset"], each["seed"]) for each in results}
    jobs = [job for job in itertools.product(arguments.presets, arguments.seeds) if job not in had]
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(arguments.processes) as pool:
        folder = arguments.runs or Path(temporary)
        for result in pool.map(lambda job: trial(*job, folder, arguments.pictures), jobs):
            results.append(result)
            results.sort(key=lambda each: (each["preset"], each["seed"]))
            arguments.out.write_text(json.dumps(results, indent=1) + "\n")
            sys.stderr.write(f"{result['preset']} seed {result['seed']}: {result['figures']}\n")
    for preset in dict.fromkeys(each["preset"] for each in results):
        join_seeds(arguments.pictures, preset, side_by_side=False)
    sys.stdout.write(table(results))
    sys.stdout.write(f"\n{seeds_table(results)}")


def trial(preset: str, seed: int, folder: Path, pictures: Path) -> Result:
    """Train, judge and draw one run."""
    run = folder / f"{preset}-{seed}"
    trained, cpu_seconds = ganserve(
        ["train", preset, "--seed", str(seed), "--threads", "1", "--out", str(run), "--json"]
    )
    labelled = PRESETS[preset].data.labels == "use"
    metrics = ["fid", "precision-recall", "gan-train-test" if labelled else "label-balance"]
    judged, _ = ganserve(["evaluate", str(run), "--metrics", *metrics, "--samples", str(JUDGED), "--json"])
    if not trained or not judged:
        raise SystemExit(f"{preset}, seed {seed}: ganserve failed, as it says above")
    figures = {name: found["model"] for name, found in judged["beside_real"].items()}
    real = {name: found["real"] for name, found in judged["beside_real"].items()}
    verdicts = {name: found["verdict"] for name, found in judged["beside_real"].items()}
    if labelled:
        good = all(figures[name] >= least * judged["metrics"]["judge_accuracy"] for name, least in LEAST.items())
    else:
        good = all(figures[name] >= least for name, least in LEAST_WITHOUT_LABELS.items())
    samples, names = draw(run, COLUMNS * ROWS)
    save_sample_grid(picture(pictures, preset, seed), samples, COLUMNS, generated=True)
    return {
        "preset": preset, "seed": seed, "good": good, "verdict": judged["verdict"], "figures": figures, "real": real,
        "verdicts": verdicts,
        "cures": [f"{cure['kind']} at {cure['step']}" for cure in trained.get("cures", [])],
        "labels": names, "cpu_seconds": round(cpu_seconds), "date": datetime.date.today().isoformat(),
    }  # fmt: skip


def draw(run: Path, count: int) -> tuple[NDArray[np.uint8], list[str]]:
    """Return samples, uint8 [count, H, W, C], in the order of their labels, and the labels' names."""
    model = load_trained(run)
    names = model.label_names
    labels = np.arange(count) * len(names) // count if names else None
    return draw_samples(model.generator, model.prior, model.data, labels, count, DRAW_SEED), list(names)


HEADS = {
    "gan_test": "GAN-test", "gan_train": "GAN-train", "fid": "FID", "precision": "precision", "recall": "recall",
    "label_balance": "label balance",
}  # fmt: skip


def table(results: list[Result]) -> str:
    """Return a Markdown table with a row for each preset."""
    lines = ["| preset | date | CPU s | goal met | `evaluate` says | cures |", "|---" * 6 + "|"]
    for preset in dict.fromkeys(each["preset"] for each in results):
        rows = [each for each in results if each["preset"] == preset]
        cpu = f"{min(each['cpu_seconds'] for each in rows)} to {max(each['cpu_seconds'] for each in rows)}"
        cures = ", ".join(str(len(each["cures"])) for each in rows)
        good = f"{sum(each['good'] for each in rows)} of {len(rows)}"
        counts = Counter(each["verdict"] for each in rows)
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        date = max(each["date"] for each in rows)
        lines.append(f"| `{preset}` | {date} | {cpu} | {good} | {verdicts} | {cures} |")
    return "\n".join(lines) + "\n"


def seeds_table(results: list[Result]) -> str:
    """Return a Markdown table with a row for each figure of `ganserve evaluate`: each seed with its verdict."""
    seeds = sorted({each["seed"] for each in results})
    heads = [f"seed {seed}" for seed in seeds]
    lines = [f"| preset | figure | {' | '.join(heads)} | real samples |", "|---" * (len(seeds) + 3) + "|"]
    for preset in dict.fromkeys(each["preset"] for each in results):
        rows = {each["seed"]: each for each in results if each["preset"] == preset}
        real = next(iter(rows.values()))["real"]
        for name in [name for name in HEADS if name in real]:
            cells = [
                f"{_short(rows[seed]['figures'].get(name))} {rows[seed]['verdicts'].get(name, '')}"
                if seed in rows
                else "-"
                for seed in seeds
            ]
            lines.append(f"| `{preset}` | {HEADS[name]} | {' | '.join(cells)} | {_short(real[name])} |")
    return "\n".join(lines) + "\n"


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def picture(folder: Path, preset: str, seed: int) -> Path:
    return folder / f"{preset}-{seed}.png"


if __name__ == "__main__":
    main()
