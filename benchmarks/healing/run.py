"""Train runs that are set up to fail, with and without healing, and judge their samples.

    python benchmarks/healing/run.py [--kinds NAME ...] [--seeds 0 1 2 3 4] [--answers heal continue] [--out FILE]

Each run is `ganserve train` with one thread, then `ganserve evaluate`. A run ends good if its samples look like their
labels (GAN-test), a judge can learn from them (GAN-train) and they reach the data's variety (recall); GOOD has the
bounds. Results are appended to --out after each run; runs that it already has are skipped.
"""

import argparse
import itertools
import json
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from commands import ganserve  # noqa: E402

GOOD = {"gan_test": 0.9, "gan_train": 0.8, "recall": 0.4}
_RATE = "--optimisers.{}.learning-rate.{}"


def rates(generator: float, critic: float) -> list[str]:
    values = {"generator": generator, "critic": critic}
    ends = [(player, end) for player in values for end in ("start", "end")]
    return [word for player, end in ends for word in (_RATE.format(player, end), str(values[player]))]


def gammas(weight: float) -> list[str]:
    flags = [f"--regularisers.r{number}-gamma.{end}" for number in (1, 2) for end in ("start", "end")]
    return [word for flag in flags for word in (flag, str(weight))]


DIGITS = ["digits", "--steps", "1000", "--diagnosis.every-steps", "20"]
MNIST_16 = ["digits", "--data.source", "mnist", "--data.size", "16", "--steps", "1000", "--diagnosis.every-steps", "20"]
KINDS = {
    # Both players far too fast: the critic swings or its loss runs away.
    "fast": [*DIGITS, *rates(0.05, 0.05)],
    # A saturating loss under a critic that is fast and has three turns for one: the gradient vanishes.
    "saturated": [
        *DIGITS, "--loss.name", "minimax", *gammas(0.0), *rates(3e-3, 6e-2), "--schedule.critic-steps", "3",
    ],
    # A generator with five turns for one, and no penalties: it collapses.
    "greedy": [
        *DIGITS, "--loss.name", "modified-minimax", *gammas(0.0), *rates(1e-2, 1e-3), "--schedule.generator-steps", "5",
    ],
    # A Wasserstein critic whose weights are clipped so wide that its scores run away.
    "unbounded": [
        *DIGITS, "--loss.name", "wasserstein", "--regularisers.weight-clip", "1", *gammas(0.0), *rates(3e-3, 3e-3),
        "--schedule.critic-steps", "3",
    ],
    # The preset of 8 x 8 pixels as it is on digits of 16 x 16.
    "preset-16": MNIST_16,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=tuple(KINDS), default=tuple(KINDS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--answers", nargs="+", choices=("heal", "continue"), default=("heal", "continue"))
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "healing.json")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = json.loads(arguments.out.read_text()) if arguments.out.exists() else []
    had = {(each["kind"], each["seed"], each["answer"]) for each in results}
    jobs = itertools.product(arguments.kinds, arguments.seeds, arguments.answers)
    with ThreadPoolExecutor(arguments.processes) as pool:
        for result in pool.map(lambda job: trial(*job), [job for job in jobs if job not in had]):
            results.append(result)
            arguments.out.write_text(json.dumps(results, indent=1) + "\n")
            sys.stderr.write(f"{result['kind']} seed {result['seed']} {result['answer']}: {result['figures']}\n")
    sys.stdout.write(table(results))


def trial(kind: str, seed: int, answer: str) -> dict[str, Any]:
    """Train and judge one run."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["train", *KINDS[kind], "--seed", str(seed), "--on-trouble", answer, "--threads", "1", "--out", folder]
        trained, cpu_seconds = ganserve([*words, "--json"])
        metrics = ["gan-train-test", "precision-recall"]
        judged, _ = ganserve(["evaluate", folder, "--metrics", *metrics, "--samples", "1500", "--json"])
        pictures = sorted(Path(folder, "samples").glob("*.png"))
        kept = os.environ.get("PICTURES")
        if kept and pictures:
            Path(kept, f"{kind}-{seed}-{answer}.png").write_bytes(pictures[-1].read_bytes())
    figures = {name: judged.get("metrics", {}).get(name) for name in GOOD}
    good = all(figures[name] is not None and figures[name] >= least for name, least in GOOD.items())
    cures = [f"{cure['kind']} at {cure['step']} from {cure['back_to']}" for cure in trained.get("cures", [])]
    return {
        "kind": kind, "seed": seed, "answer": answer, "good": good, "figures": figures, "cures": cures,
        "cpu_seconds": round(cpu_seconds, 1),
    }  # fmt: skip


def table(results: list[dict[str, Any]]) -> str:
    """Return a Markdown table with a row for each kind and answer."""
    heads = ["kind", "answer", "good", "GAN-test", "GAN-train", "recall", "cures", "CPU s"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for kind, answer in dict.fromkeys((each["kind"], each["answer"]) for each in results):
        rows = [each for each in results if (each["kind"], each["answer"]) == (kind, answer)]
        columns = [
            ", ".join("-" if each["figures"][name] is None else f"{each['figures'][name]:.2f}" for each in rows)
            for name in GOOD
        ]
        cures = ", ".join(str(len(each["cures"])) for each in rows)
        cpu = ", ".join(f"{each['cpu_seconds']:.0f}" for each in rows)
        good = f"{sum(each['good'] for each in rows)} of {len(rows)}"
        lines.append(f"| {kind} | {answer} | {good} | {' | '.join(columns)} | {cures} | {cpu} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
