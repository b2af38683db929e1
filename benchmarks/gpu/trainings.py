"""Measure training and a bare PyTorch loop, with and without torch.compile."""

from __future__ import annotations

import gc
import io
import statistics
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from bare import BareLoop
from rich.console import Console

from ganserve_training import PRESETS, load_split, train
from ganserve_training.run.devices import open_processes
from ganserve_training.run.training_step import Trainer

if TYPE_CHECKING:
    from collections.abc import Callable

    from context import Context

    from ganserve_training import TrainConfig

PRECISIONS: tuple[Literal["bfloat16", "float32"], ...] = ("bfloat16", "float32")
STEPS, TRAIN, BARE, COMPILED = "ganserve, steps alone", "ganserve train", "bare", "bare, torch.compile"


def _sized(preset: str, size: int, batch: int, width: int, most: int, **networks: Any) -> TrainConfig:
    config = PRESETS[preset]
    wide = {"generator_width": width, "critic_width": width, "max_width": most} | networks
    return replace(
        config,
        batch_size=batch,
        data=replace(config.data, size=size, count=200 if batch < 16 else 10_000),
        networks=replace(config.networks, **wide),
    )


# Widths of DCGAN (Radford et al. 2016) and of R3GAN on CIFAR-10 (Huang et al. 2024).
CONFIGS = {
    "cuda": {
        "dcgan-64": _sized("dcgan-32", 64, 128, 64, 1024),
        "r3gan-32": _sized("r3gan-32", 32, 64, 768, 768, blocks_per_level=2, group_size=16),
    },
    "cpu": {"dcgan-16": _sized("dcgan-32", 16, 4, 2, 4), "r3gan-16": _sized("r3gan-32", 16, 4, 4, 8, group_size=4)},
}


def measure(context: Context, record: dict[str, Any]) -> None:
    """Fill `record` with a row for each configuration and precision; the ways take turns."""
    record |= {"rows": [], "failed": []}
    kinds = [
        (name, replace(config, precision=precision))
        for precision in PRECISIONS
        for name, config in CONFIGS[context.device].items()
    ]
    for index, (name, config) in enumerate(kinds):
        if record["rows"] and context.budget.left_s <= 0:
            record["failed"].append({"preset": name, "precision": config.precision, "error": "no time was left"})
            continue
        try:
            record["rows"].append(compare(name, config, context, context.budget.part(1 / (len(kinds) - index))))
        except Exception as error:  # noqa: BLE001 - measure the other rows all the same
            message = (str(error).splitlines() or [repr(error)])[0][:300]
            record["failed"].append({"preset": name, "precision": config.precision, "error": message})
        gc.collect()
        context.save()


def compare(name: str, config: TrainConfig, context: Context, budget: Any) -> dict[str, Any]:
    """Time our loop and the bare one in turn, then the compiled one if time is left."""
    samples = load_split(config.data, "train")
    trainer = Trainer(config, samples, open_processes(context.device))
    bare = BareLoop(config, context.device).run
    ways: dict[str, Callable[[int], object]] = {
        STEPS: lambda count: [trainer.run_step() for _ in range(count)],
        BARE: bare,
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    step_s = max(timed(run, 2 if context.small else 10, context) for run in ways.values())
    steps = _steps(0.4 * budget.left_s / (context.rounds * len(ways)), step_s, context)
    for _ in range(context.rounds):
        for way, run in ways.items():
            seconds[way].append(timed(run, steps, context))
    row = {
        "preset": name,
        "precision": config.precision,
        "batch_size": config.batch_size,
        "steps": steps,
        "samples_per_s": {way: config.batch_size / statistics.median(taken) for way, taken in seconds.items()},
        "of_bare": statistics.median(b / a for a, b in zip(seconds[STEPS], seconds[BARE], strict=True)),
        "not_compiled": "",
    }
    row["samples_per_s"][TRAIN] = whole_train(config, context, _steps(0.3 * budget.left_s, step_s, context))
    row["train_of_bare"] = row["samples_per_s"][TRAIN] / row["samples_per_s"][BARE]
    if budget.left_s <= 0:
        return row | {"not_compiled": "no time was left for torch.compile"}
    try:
        compiled = BareLoop(config, context.device, "eager" if context.small else "inductor").run
        timed(compiled, 2 if context.small else 10, context)
        row["samples_per_s"][COMPILED] = config.batch_size / timed(compiled, min(steps, 100), context)
    except Exception as error:  # noqa: BLE001 - a network that cannot be compiled can still be trained
        row["not_compiled"] = (str(error).splitlines() or [repr(error)])[0][:300]
    return row


def _steps(seconds: float, step_s: float, context: Context) -> int:
    """Return the number of steps to time: enough that starting and stopping do not matter."""
    return 2 if context.small else max(30, min(1000, int(seconds / step_s)))


def whole_train(config: TrainConfig, context: Context, steps: int) -> float:
    """Return the samples/s of `ganserve train` with its log, diagnosis, pictures and checkpoints."""
    folder = context.folder / f"run-{time.monotonic_ns()}"
    console = Console(file=io.StringIO())
    result = train(replace(config, steps=steps), folder, device=context.device, console=console)
    return steps * config.batch_size / result.seconds


def timed(run: Callable[[int], object], steps: int, context: Context) -> float:
    """Return the mean seconds of a step."""
    wait = torch.cuda.synchronize if context.device == "cuda" else (lambda: None)
    wait()
    start = time.perf_counter()
    run(steps)
    wait()
    return (time.perf_counter() - start) / steps


def table(record: dict[str, Any]) -> list[str]:
    """Return Markdown with a row for each configuration and precision."""
    ways = (STEPS, TRAIN, BARE, COMPILED)
    lines = ["| preset | precision | batch | " + " | ".join(f"{way}, samples/s" for way in ways)]
    lines[0] += " | steps alone, of bare | train, of bare |"
    lines.append("|---|---|---|" + "---|" * (len(ways) + 2))
    for row in record["rows"]:
        rates = [f"{row['samples_per_s'][way]:,.0f}" if way in row["samples_per_s"] else "-" for way in ways]
        lines.append(
            f"| {row['preset']} | {row['precision']} | {row['batch_size']} | {' | '.join(rates)} | "
            f"{row['of_bare']:.3f} | {row['train_of_bare']:.3f} |"
        )
        if row["not_compiled"]:
            record["failed"].append({key: row[key] for key in ("preset", "precision")} | {"error": row["not_compiled"]})
    lines += [f"\n{one['preset']}, {one['precision']}: {one['error']}" for one in record["failed"]]
    return lines


def goals(record: dict[str, Any]) -> list[tuple[str, float | None, float]]:
    """Return the goals: text, measured value, least value."""
    return [
        (f"{row['preset']}, {row['precision']}: training compared with the bare loop", row["of_bare"], 0.95)
        for row in record["rows"]
    ]
