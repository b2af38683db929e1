"""Measure generators, the whole server and training on this machine's GPU, in at most eight minutes.

    python benchmarks/gpu/run.py [--device cuda] [--sections generators server training] [--minutes 8] [--json FILE]

README.md says what is measured. Figures are written after each part: to the --json file, and as a table into a file
with the suffix .md beside it. `--device cpu` is a dry run with tiny networks, in less than 90 seconds: its figures mean
nothing.
"""
# ruff: noqa: E402 - the other benchmarks' folders come first

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

for _folder in ("serving", "training"):
    sys.path.append(str(Path(__file__).parents[1] / _folder))

import generators
import several_processes
import trainings
import whole_server
from context import Context
from environment import describe
from subjects import SUBJECTS
from time_budget import Budget

if TYPE_CHECKING:
    from collections.abc import Sequence

# Name: the section, and its share of the time. Time that one does not use goes to the next.
SECTIONS = {
    "generators": (generators, 0.45),
    "server": (whole_server, 0.2),
    "processes": (several_processes, 0.15),
    "training": (trainings, 0.2),
}
MINUTES = {"cuda": 8.0, "cpu": 1.2}
ROUNDS = {"cuda": 2, "cpu": 1}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=sorted(SUBJECTS), default="cuda")
    parser.add_argument("--sections", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--minutes", type=float, help="for all sections together (cuda: 8, cpu: 1.2)")
    parser.add_argument("--networks", nargs="+", help="the generators to measure")
    parser.add_argument("--rounds", type=int, help="rounds of the sections server and training (cuda: 2, cpu: 1)")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args(argv)
    subjects = tuple(one for one in SUBJECTS[arguments.device] if one.name in (arguments.networks or [one.name]))
    if not subjects:
        known = ", ".join(one.name for one in SUBJECTS[arguments.device])
        parser.error(f"--networks {' '.join(arguments.networks)}: there is no such network. Use: {known}")
    if arguments.device == "cuda":
        prepare_cuda(parser)
    else:
        torch.set_num_threads(1)  # more threads would wait for each other on busy cores
    report: dict[str, Any] = {"environment": describe(arguments.device), "command": sys.argv, "sections": {}}

    def save() -> None:
        if arguments.json:
            arguments.json.write_text(json.dumps(report, indent=1) + "\n")
            arguments.json.with_suffix(".md").write_text(table(report))

    whole = Budget((arguments.minutes or MINUTES[arguments.device]) * 60)
    names = [name for name in SECTIONS if name in arguments.sections]
    for index, name in enumerate(names):
        section, share = SECTIONS[name]
        budget = whole.part(share / sum(SECTIONS[later][1] for later in names[index:]))
        record: dict[str, Any] = {}
        report["sections"][name] = record
        with tempfile.TemporaryDirectory() as folder:
            context = Context(
                device=arguments.device,
                subjects=subjects,
                budget=budget,
                folder=Path(folder),
                save=save,
                rounds=arguments.rounds or ROUNDS[arguments.device],
            )
            try:
                section.measure(context, record)
            except Exception:  # noqa: BLE001 - measure the other sections all the same
                record["error"] = traceback.format_exc()
        record["seconds"] = budget.seconds - budget.left_s
        save()
    sys.stdout.write(table(report))
    return 1 if any("error" in record for record in report["sections"].values()) else 0


def prepare_cuda(parser: argparse.ArgumentParser) -> None:
    """Refuse to continue where onnxruntime or PyTorch would silently compute on the CPU."""
    from ganserve_server.engine.providers import cuda_obstacle

    if (obstacle := cuda_obstacle()) is not None:
        parser.error(f"--device cuda: onnxruntime cannot use CUDA: {obstacle}. For a dry run: --device cpu")
    if not torch.cuda.is_available():
        parser.error(f"--device cuda: torch {torch.__version__} finds no GPU. For a dry run: --device cpu")


def table(report: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    known = report["environment"]
    where = known.get("card") or f"{known['cpu']}, {known['cores']} cores: a dry run, not a measurement"
    lines = [f"{known['date']}, {where}", ""]
    versions = ("nvidia_smi", "torch", "cuda", "cudnn", "onnxruntime", "triton", "onnx", "grpcio", "protobuf", "python")
    lines += [", ".join(f"{name} {known[name]}" for name in versions if known.get(name)), ""]
    for name, record in report["sections"].items():
        section = SECTIONS[name][0]
        lines += [f"## {name}, {record.get('seconds', 0.0):.0f} s", ""]
        if "error" in record:
            lines += ["Failed:", "", "```", record["error"].rstrip(), "```", ""]
        if not any(record.get(part) for part in ("cells", "networks", "rows")):
            continue
        lines += [*section.table(record), ""]
        goals = [_goal(*goal) for goal in section.goals(record)]
        if known["device"] == "cuda":
            lines += ["| goal | at least | measured |", "|---|---|---|", *goals, ""]
    return "\n".join(lines) + "\n"


def _goal(text: str, value: float | None, least: float) -> str:
    result = "not measured" if value is None else f"{value:.2f}, {'met' if value >= least else '**missed**'}"
    return f"| {text} | {least:g} | {result} |"


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # A CUDA driver that unloads in the wrong order must not turn a measurement into a failure.
    os._exit(code)
