"""Count the modes that each method finds: ring of 8, grid of 25, stacked digits and stacked MNIST with 1,000.

    python benchmarks/mode_coverage/run.py best           the presets ring, grid, stacked-digits and stacked-mnist
    python benchmarks/mode_coverage/run.py literature     from minimax to RpGAN + R1 + R2, with the same small networks
    python benchmarks/mode_coverage/run.py unrolled       the ring with 0, 1, 5 and 10 unrolled steps, as published
    python benchmarks/mode_coverage/run.py stacked        stacked digits: DCGAN, WGAN-GP, PacGAN, R3GAN's ablation
    python benchmarks/mode_coverage/run.py stacked-mnist  stacked MNIST: the same and unrolling, in the papers' order
      [--data ring|grid|stacked-digits|stacked-mnist]... [--methods NAME]... [--trials 5] [--processes 2]
      [--share 0.1] [--out RESULTS.json] [--pictures FOLDER]

Protocol: PacGAN's (Lin et al. 2018), see README.md. Trial i trains with `ganserve_training.train` and seed i in one
process of one thread, then draws 2,500 samples (1,000 modes: 26,000) from the averaged generator. Results are
appended to --out after each trial; trials that it already has are skipped. --pictures draws samples of each new trial,
and joins those of a method's seeds side by side.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganserve_training.config import TrainConfig
    from ganserve_training.evaluation.metrics.mode_coverage import ModeCoverage

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from seed_pictures import join_seeds  # noqa: E402

SAMPLES = {"ring": 2500, "grid": 2500, "stacked-digits": 26_000, "stacked-mnist": 26_000}
DRAW_SEED = 40_000_003  # far from the trials' seeds
POINTS = 1000  # of a picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=("best", "literature", "unrolled", "stacked", "stacked-mnist"))
    parser.add_argument("--data", nargs="+", choices=tuple(SAMPLES))
    parser.add_argument("--methods", nargs="+", help="rows to run")
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--share", type=float, default=1.0, help="share of each method's steps, for short trials")
    parser.add_argument("--out", type=Path, help="default: results/SUITE.json beside this file")
    parser.add_argument("--pictures", type=Path, help="folder for pictures of samples; default: none")
    arguments = parser.parse_args()
    out = arguments.out or HERE / "results" / f"{arguments.suite}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = json.loads(out.read_text())["trials"] if out.exists() else []
    jobs = [
        job
        for job in _jobs(arguments.suite, arguments.trials, arguments.share)
        if (not arguments.data or job["data"] in arguments.data)
        and (not arguments.methods or job["method"] in arguments.methods)
        and not any(_key(job) == _key(result) for result in results)
    ]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.processes, mp_context=context) as pool:
        for future in as_completed([pool.submit(run_trial, job, arguments.pictures) for job in jobs]):
            results.append(future.result())
            print(json.dumps(results[-1]), file=sys.stderr, flush=True)
            record = {"suite": arguments.suite, "machine": _machine(), "trials": sorted(results, key=_key)}
            out.write_text(json.dumps(record, indent=1) + "\n")
    if arguments.pictures:
        for data, method in {(job["data"], job["method"]) for job in jobs}:
            join_seeds(arguments.pictures, _name(data, method), side_by_side=True)
    print(table(results))


def _jobs(suite: str, trials: int, share: float) -> list[dict[str, Any]]:
    from methods import SUITES

    methods = SUITES[suite]()
    return [
        {"suite": suite, "method": method.name, "data": data, "seed": seed, "steps": round(config.steps * share)}
        for seed in range(trials)
        for method in methods
        for data, config in method.configs.items()
    ]


def run_trial(job: dict[str, Any], pictures: Path | None = None) -> dict[str, Any]:
    """Train one method with one seed, measure it, and draw samples into the folder `pictures`."""
    from methods import SUITES
    from rich.console import Console

    from ganserve_training import draw_samples, load_trained, train
    from ganserve_training.evaluation.metrics.mode_coverage import mode_coverage
    from ganserve_training.evaluation.modes import modes_of

    method = next(item for item in SUITES[job["suite"]]() if item.name == job["method"])
    config = _shortened(replace(method.configs[job["data"]], seed=job["seed"]), job["steps"])
    result, modes = dict(job), modes_of(config.data)
    assert modes is not None
    if method.draw is not None:
        return result | _figures(mode_coverage(method.draw(job["data"], np.random.default_rng(job["seed"])), modes))
    cpu, wall = time.process_time(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        try:
            train(config, run, device="cpu", threads=1, console=Console(file=io.StringIO()))
        except Exception as error:  # noqa: BLE001 - a method that diverges is a result
            return result | {"failed": str(error).splitlines()[0]}
        seconds = {"cpu_s": round(time.process_time() - cpu, 1), "wall_s": round(time.perf_counter() - wall, 1)}
        model = load_trained(run, "latest")
        samples = draw_samples(model.generator, model.prior, model.data, None, SAMPLES[job["data"]], DRAW_SEED)
        if pictures is not None:
            _draw(pictures / f"{_name(job['data'], job['method'])}-{job['seed']}.png", samples, config)
    return result | _figures(mode_coverage(samples, modes)) | seconds


def _name(data: str, method: str) -> str:
    return f"{data}-{method.replace(' ', '-')}"


def _draw(path: Path, samples: NDArray[Any], config: TrainConfig) -> None:
    """Write a picture of some samples: vectors over real ones, or five rows of images."""
    from ganserve_training import load_split
    from ganserve_training.pictures.grids import save_picture, save_sample_grid
    from ganserve_training.pictures.scatter import ScatterView

    if samples.ndim == 2:
        real = load_split(config.data, "train").read(np.arange(POINTS))
        save_picture(path, ScatterView(real).draw(samples[:POINTS]).reduce(2), generated=False)
    else:
        save_sample_grid(path, samples[:25], 5, generated=True)


def _shortened(config: TrainConfig, steps: int) -> TrainConfig:
    """Return a run of that many steps whose values fall over the same share of it."""
    burn_in = max(1, round(config.schedule.burn_in_steps * steps / config.steps))
    return replace(config, steps=steps, schedule=replace(config.schedule, burn_in_steps=burn_in))


def _figures(coverage: ModeCoverage) -> dict[str, Any]:
    return {
        "modes": coverage.modes,
        "high_quality": round(coverage.high_quality, 4),
        "reverse_kl": round(coverage.reverse_kl, 5),
    }


def _key(record: dict[str, Any]) -> tuple[Any, ...]:
    return record["data"], record["method"], record["seed"], record["steps"]


def table(results: list[dict[str, Any]]) -> str:
    """Return Markdown with a row for each method and data set: mean and standard error over the trials."""
    lines = ["| data | method | trials | steps | modes | high quality % | reverse KL | CPU s |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result in results:
        groups.setdefault((result["data"], result["method"]), []).append(result)
    for (data, method), trials in groups.items():
        done = [trial for trial in trials if "failed" not in trial]
        cells = [data, method, f"{len(done)} of {len(trials)}", str(trials[0]["steps"])]
        if done:
            quality = [100 * trial["high_quality"] for trial in done]
            cells += [
                _mean([trial["modes"] for trial in done], 1),
                "-" if data.startswith("stacked") else _mean(quality, 1),
                _mean([trial["reverse_kl"] for trial in done], 3),
                f"{statistics.mean(trial['cpu_s'] for trial in done):.0f}" if "cpu_s" in done[0] else "-",
            ]
        else:
            cells += ["diverged", "", "", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(values: list[float], digits: int) -> str:
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.{digits}f} ± {error:.{digits}f}"


def _machine() -> dict[str, Any]:
    import torch

    return {
        "date": time.strftime("%Y-%m-%d"),
        "cores": len(os.sched_getaffinity(0)),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    main()
