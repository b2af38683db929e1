"""Measure the generators alone, one factor at a time, and PyTorch on the same device."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import torch
from onnx_ways import Bare, Way
from time_budget import call_seconds, speed
from torch_ways import TorchRunner, TorchWay

if TYPE_CHECKING:
    from collections.abc import Callable

    from context import Context
    from subjects import Subject

HALF, FLOAT = Way("float16"), Way("float32")
HALF_LAST, HALF_SEARCHED = Way("float16", nhwc=True), Way("float16", search="exhaustive")
COMPILED = TorchWay(torch.bfloat16, compiled=True)
# For networks with grouped convolutions alone.
MERGED = tuple(Way("float16", nhwc=True, group_channels=channels) for channels in (64, 32, 128))
TENSORRT = Way("float16", tensorrt=True)
# The most important first: when the time is over, the rest is left out.
STEPS: tuple[tuple[Way | TorchWay, tuple[int, ...]], ...] = (
    (HALF, (64, 1)),
    (HALF_LAST, (64, 1)),
    (COMPILED, (64,)),  # compiling takes longest: the other sizes come last
    *((way, (64, 1)) for way in MERGED),
    (TENSORRT, (64, 1)),
    (FLOAT, (64, 1)),
    (Way("float32", graphs=False), (1, 64)),
    (Way("float16", graphs=False), (1, 64)),
    (HALF_SEARCHED, (64, 1)),
    (Way("float16", nhwc=True, search="exhaustive"), (64, 1)),
    (Way("tf32"), (64, 1)),
    (Way("tf32", nhwc=True), (64, 1)),
    (TorchWay(torch.bfloat16), (64, 1)),
    (TorchWay(torch.float32), (64, 1)),
    (Way("tf32", search="exhaustive"), (64, 1)),
    (Way("float32", nhwc=True), (64, 1)),
    (Way("float32", search="exhaustive"), (64, 1)),
    (HALF, (8, 256)),
    (HALF_LAST, (8, 256)),
    (FLOAT, (8, 256)),
    (Way("tf32"), (8, 256)),
    (TorchWay(torch.float32), (8, 256)),
    (TorchWay(torch.bfloat16), (8, 256)),
    (Way("float32", graphs=False), (8, 256)),
    (Way("float16", graphs=False), (8, 256)),
    (Way("float16", search="default"), (64, 1)),
    (Way("float32", search="default"), (64, 1)),
    (COMPILED, (1, 256, 8)),
)


def measure(context: Context, record: dict[str, Any]) -> None:
    """Fill `record` with the cells measured, failed and left out."""
    record |= {"cells": [], "failed": [], "left_out": []}
    for way, batches in STEPS:
        sizes = context.sizes(batches)
        for subject in context.subjects:
            if way in MERGED and not subject.grouped:
                continue
            cells = [{"network": subject.name, "way": str(way), "batch": batch} for batch in sizes]
            if record["cells"] and context.budget.left_s <= 0:
                record["left_out"] += cells
                continue
            run = None
            for cell in cells:
                try:
                    run = run or runner(subject, way, context.device, sizes)
                    taken = call_seconds(run(cell["batch"]), context.cell_s)
                    record["cells"].append(cell | speed(taken, cell["batch"]))
                except Exception as error:  # noqa: BLE001 - a way that this card or build lacks is a result
                    record["failed"].append(cell | {"error": (str(error).splitlines() or [repr(error)])[0][:300]})
            run = None
            gc.collect()
            if context.device == "cuda":
                torch.cuda.empty_cache()
        context.save()


def runner(
    subject: Subject, way: Way | TorchWay, device: str, batches: tuple[int, ...]
) -> Callable[[int], Callable[[], None]]:
    """Return a function that makes, for a batch size, a call that computes a batch and waits for it."""
    if isinstance(way, TorchWay):
        return TorchRunner(subject, way, device).calls
    bare = Bare(subject, way, device, batches)
    return lambda batch: lambda: bare.call(batch)


def find(record: dict[str, Any], network: str, way: Way | TorchWay, batch: int) -> float | None:
    """Return the samples/s of a cell, or None if it was not measured."""
    rates = (
        cell["samples_per_s"]
        for cell in record["cells"]
        if (cell["network"], cell["way"], cell["batch"]) == (network, str(way), batch)
    )
    return next(rates, None)


def table(record: dict[str, Any]) -> list[str]:
    """Return Markdown with a row for each network and way, and a column for each batch size."""
    batches = sorted({cell["batch"] for cell in record["cells"]})
    lines = ["| network | way | " + " | ".join(f"N={batch}, samples/s (ms)" for batch in batches) + " |"]
    lines.append("|---|---|" + "---|" * len(batches))
    rows: dict[tuple[str, str], dict[int, str]] = {}
    for cell in record["cells"]:
        row = rows.setdefault((cell["network"], cell["way"]), {})
        row[cell["batch"]] = f"{cell['samples_per_s']:,.0f} ({cell['ms']:.3f})"
    for (network, way), row in sorted(rows.items(), key=lambda item: item[0][0]):
        lines.append(f"| {network} | {way} | " + " | ".join(row.get(batch, "-") for batch in batches) + " |")
    lines += [
        f"\n{failed['network']}, {failed['way']}, N={failed['batch']} failed: {failed['error']}"
        for failed in record["failed"]
    ]
    if record["left_out"]:
        lines.append(f"\n{len(record['left_out'])} more were left out for lack of time; the JSON file names them.")
    return lines


def goals(record: dict[str, Any]) -> list[tuple[str, float | None, float]]:
    """Return the goals: text, measured value, least value."""
    names = sorted({cell["network"] for cell in record["cells"]})
    found: list[tuple[str, float | None, float]] = []
    for name in names:
        if name.startswith("dcgan"):
            for precision in ("float32", "float16"):
                pair = (find(record, name, Way(precision, graphs=graphs), 1) for graphs in (True, False))
                found.append((f"{name}, N=1, {precision}: CUDA graphs compared with none", _ratio(*pair), 1.5))
        # The server also takes the fastest layout and search.
        rates = [find(record, name, way, 64) for way in (HALF, HALF_LAST, HALF_SEARCHED)]
        pair = max((rate for rate in rates if rate), default=None), find(record, name, COMPILED, 64)
        found.append((f"{name}, N=64: float16 package compared with torch.compile bfloat16", _ratio(*pair), 0.9))
    return found


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or theirs is None else ours / theirs
