"""Measure servers of one and of several processes on one GPU, over gRPC on loopback, by turns."""

from __future__ import annotations

import contextlib
import statistics
from typing import TYPE_CHECKING, Any

from common import server
from packages import write_package
from whole_server import Load, ask

if TYPE_CHECKING:
    from context import Context

PROCESSES = (1, 2, 4)
LOADS = (Load(1, 64, 4), Load(64, 16, 4))
SMALL_PROCESSES, SMALL_LOADS = (1, 2), (Load(1, 2, 2),)


def measure(context: Context, record: dict[str, Any]) -> None:
    """Fill `record` with rounds of the smallest network's loads for each number of processes."""
    subject = context.subjects[0]
    models = context.folder / "models"
    write_package(
        models, subject.name, subject.onnx(half=True), subject.sample_shape, subject.networks.latent_dim, half=True
    )
    numbers, loads = (SMALL_PROCESSES, SMALL_LOADS) if context.small else (PROCESSES, LOADS)
    flags = ["--provider", context.device]
    if context.small:
        flags += ["--max-batch-size", "4", "--batch-buckets", "1"]
        flags += ["--conv-search", "heuristic"] if context.device == "cuda" else []
    record |= {"network": subject.name, "rows": []}
    with contextlib.ExitStack() as stack:
        addresses = {
            number: stack.enter_context(server(models, [*flags, "--processes", str(number)]))[1] for number in numbers
        }
        runs = context.rounds * len(numbers) * len(loads)
        seconds = 0.2 if context.small else max(1.0, 0.6 * context.budget.left_s / runs)
        for index in range(context.rounds):
            for asked in loads:
                for number, address in addresses.items():
                    done = ask(address, subject, asked, seconds)
                    row = {"round": index, "load": str(asked), "processes": number}
                    record["rows"].append(row | {"samples_per_s": done["samples_per_s"]})
            context.save()


def table(record: dict[str, Any]) -> list[str]:
    """Return Markdown with a row for each load and number of processes: medians of the rounds."""
    lines = ["| network | load | processes | samples/s | of one process |", "|---|---|---|---|---|"]
    for load, number in dict.fromkeys((row["load"], row["processes"]) for row in record["rows"]):
        rate, ratio = statistics.median(_rates(record, load, number)), of_one(record, load, number)
        lines.append(f"| {record['network']} | {load} | {number} | {rate:,.0f} | {ratio:.2f} |")
    return lines


def of_one(record: dict[str, Any], load: str, number: int) -> float:
    """Return the samples/s of several processes divided by those of one: the median of the rounds."""
    both = zip(_rates(record, load, number), _rates(record, load, 1), strict=True)
    return statistics.median(several / one for several, one in both)


def _rates(record: dict[str, Any], load: str, number: int) -> list[float]:
    return [row["samples_per_s"] for row in record["rows"] if (row["load"], row["processes"]) == (load, number)]


def goals(record: dict[str, Any]) -> list[tuple[str, float | None, float]]:
    """Return the goals: text, measured value, least value."""
    most = max((row["processes"] for row in record["rows"]), default=1)
    known = [of_one(record, str(load), most) for load in LOADS if _rates(record, str(load), most)]
    return [(f"{record['network']}, {most} processes compared with one, 16 cores", max(known, default=None), 3.0)]
