"""Measure the start of a server, and its memory while it is idle.

    python benchmarks/serving/start.py [--rounds 5] [--serve-flags "--demo --provider cpu"] [--beside PATH]

Prints the seconds until "serving on", the CPU seconds until then of the server's process and of its children, and its
resident memory a second later; medians. --beside is another checkout, measured by turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from common import cpu_seconds, memory_mib


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve-flags", default="--demo --provider cpu", help="flags for `ganserve serve`")
    parser.add_argument("--beside", type=Path, help="another checkout")
    arguments = parser.parse_args()
    checkouts = [Path(__file__).parents[2], *([arguments.beside] if arguments.beside else [])]
    measured: dict[Path, list[tuple[float, ...]]] = {checkout: [] for checkout in checkouts}
    for _ in range(arguments.rounds):
        for checkout, starts in measured.items():
            starts.append(start(checkout, arguments.serve_flags.split()))
    sys.stdout.write("| checkout | start s | server CPU s | children CPU s | idle MiB |\n|---|---|---|---|---|\n")
    for checkout, starts in measured.items():
        middle = [statistics.median(values) for values in zip(*starts, strict=True)]
        sys.stdout.write(f"| {checkout} | {' | '.join(f'{value:.2f}' for value in middle)} |\n")


def start(checkout: Path, flags: list[str]) -> tuple[float, ...]:
    """Start and stop a server; return the four figures."""
    path = os.pathsep.join(str(checkout / folder) for folder in ("client_sdk", "server"))
    command = [sys.executable, "-m", "ganserve", "serve", "--port", "0", *flags]
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    try:
        assert process.stdout is not None
        if not any(line.startswith("serving on ") for line in process.stdout):
            raise RuntimeError("the server ended before it served")
        seconds, own = time.perf_counter() - began, cpu_seconds(process.pid)
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        children = (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
        time.sleep(1)
        return seconds, own, children, memory_mib(process.pid)
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
