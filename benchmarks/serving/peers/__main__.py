"""Compare the server with other model servers: Triton, KServe, LitServe, MLServer, BentoML, Ray Serve.

    python benchmarks/serving/peers --prepare                     # once: makes an environment for each
    python benchmarks/serving/peers [--rounds 3] [--seconds 2] [--json FILE]
    python benchmarks/serving/peers --peers ganserve triton --server-cores 0 --client-cores 1

Each server draws samples with the same two graphs (`packages.py`) and onnxruntime on the CPU: `tiny` shows the server's
own cost, `g32` makes 32x32x3 images. A request has a number of samples n, a label and a seed; the server draws the
latents and answers uint8 images, which are checked. By turns each server starts, answers, rests, takes the loads (C
requests of n samples in flight from one process), and ends; one runs at a time. CPU time and memory are those of all
of a server's processes; what these share counts once. A server that fails gets a row without figures, and its reason
below the table.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))

import process_tree
from catalogue import NAMES, NOT_INSTALLABLE, OWN, PEERS
from common import machine
from environments import UnfitError, prepare
from packages import SHAPES, write_generator_package
from tables import tables
from trials import Conditions, FailedError, Server, chosen, trial

LOADS = ("tiny:1x1", "tiny:1x16", "tiny:1x64", "g32:1x1", "g32:1x64", "g32:64x4")
ALL = (*OWN, *NAMES)


def main() -> int:
    if sys.platform != "linux":
        raise SystemExit(f"{sys.platform}: the harness reads processes from /proc. Run it on Linux.")
    arguments = parse()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    process_tree.adopt_orphans()
    try:
        if arguments.prepare is not None:
            return prepare_all(arguments.prepare or list(NAMES))
        return compare(arguments)
    except KeyboardInterrupt:
        return 130
    finally:
        process_tree.end_all()


def compare(arguments: argparse.Namespace) -> int:
    """Measure, print the tables, also of an interrupted run, and return the exit code."""
    servers, failures = chosen(arguments.peers, arguments.serve_flags)
    report: dict[str, Any] = {
        "machine": machine(),
        "command": sys.argv,
        "cores": {"server": arguments.server_cores, "client": arguments.client_cores},
        "loads": arguments.loads,
        "rounds": 0,
        "trials": defaultdict(lambda: defaultdict(list)),
        "failures": failures,
    }
    code = 0
    try:
        measure(servers, arguments, report)
    except KeyboardInterrupt:
        code = 130
    code = code or int(bool(failures))
    if set(ALL) <= set(arguments.peers):
        failures.update(NOT_INSTALLABLE)
    sys.stdout.write(tables(report))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return code


def parse() -> argparse.Namespace:
    """Read the command line; loads become {model: [NxC, …]}, cores lists."""
    parser = argparse.ArgumentParser(
        prog="python benchmarks/serving/peers",
        description=__doc__,
        epilog="\n".join(f"{title}: {reason}." for title, reason in NOT_INSTALLABLE.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--prepare",
        nargs="*",
        choices=NAMES,
        metavar="NAME",
        help=f"make environments for all of {', '.join(NAMES)}, or for some",
    )
    parser.add_argument(
        "--peers",
        nargs="+",
        choices=ALL,
        default=list(ALL),
        metavar="NAME",
        help=f"of {', '.join(ALL)}; default: all",
    )
    parser.add_argument("--rounds", type=_positive(int), default=3)
    parser.add_argument("--seconds", type=_positive(float), default=2.0, help="length of a load")
    parser.add_argument("--loads", nargs="+", type=_load, default=LOADS, metavar="MODEL:NxC", help=" ".join(LOADS))
    parser.add_argument(
        "--serve-flags", action="append", help="flags for `ganserve serve`, in one string; repeat it for a row each"
    )
    parser.add_argument("--server-cores", type=_cores, help="cores of the servers, such as 0-3,6; default: all")
    parser.add_argument("--client-cores", type=_cores, help="cores of the client; default: all")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    if arguments.json and not arguments.json.parent.is_dir():
        parser.error(f"--json {arguments.json}: there is no folder {arguments.json.parent}")
    every = sorted(os.sched_getaffinity(0))
    arguments.server_cores = arguments.server_cores or every
    arguments.client_cores = arguments.client_cores or every
    arguments.serve_flags = arguments.serve_flags or [""]
    loads: dict[str, list[str]] = defaultdict(list)
    for load in dict.fromkeys(arguments.loads):
        model, _, size = load.partition(":")
        loads[model].append(size)
    arguments.loads = dict(loads)
    return arguments


def prepare_all(names: list[str]) -> int:
    """Make environments, say how it went, and return the exit code."""
    code = 0
    for name, peer in {peer.name: peer for peer in PEERS}.items():
        if name in names:
            try:
                done = prepare(peer)
            except UnfitError as reason:
                done, code = f"not made: {reason}", 1
            print(f"{name}: {done}", flush=True)
    if set(NAMES) <= set(names):
        for title, reason in NOT_INSTALLABLE.items():
            print(f"{title}: {reason}", flush=True)
    return code


def measure(servers: list[Server], arguments: argparse.Namespace, report: dict[str, Any]) -> None:
    """Measure by turns, and add the figures to the report as they come."""
    conditions = Conditions(
        server_cores=arguments.server_cores, client_cores=arguments.client_cores, seconds=arguments.seconds
    )
    with tempfile.TemporaryDirectory() as folder:
        packages = {model: write_generator_package(Path(folder) / model, model) for model in arguments.loads}
        for index in range(arguments.rounds):
            for model, loads in arguments.loads.items():
                for server in servers:
                    if server.title in report["failures"]:
                        continue
                    print(f"round {index + 1}: {server.title}, {model}", file=sys.stderr, flush=True)
                    pairs = [(int(n), int(concurrency)) for n, concurrency in (load.split("x") for load in loads)]
                    try:
                        figures = trial(server, packages[model], pairs, conditions)
                    except FailedError as reason:
                        report["failures"][server.title] = f"failed: {reason}"
                    else:
                        report["trials"][server.title][model].append(figures)
            report["rounds"] = index + 1


def _load(text: str) -> str:
    if not (match := re.fullmatch(r"(\w+):([1-9]\d*)x([1-9]\d*)", text)) or match[1] not in SHAPES:
        raise argparse.ArgumentTypeError(
            f"{text}: not MODEL:NxC with a model of {', '.join(SHAPES)}, such as tiny:1x64"
        )
    return text


def _cores(text: str) -> list[int]:
    """Return the cores of a list such as 0-3,6."""
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
        raise argparse.ArgumentTypeError(f"{text}: not a list of cores such as 0-3,6")
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    there = os.sched_getaffinity(0)
    if not found or not found <= there:
        raise argparse.ArgumentTypeError(f"{text}: this process may use the cores {', '.join(map(str, sorted(there)))}")
    return sorted(found)


def _positive(kind: type) -> Any:
    def read(text: str) -> Any:
        value = kind(text)
        if not 0 < value < 1e6:
            raise argparse.ArgumentTypeError(f"{text}: must be above 0")
        return value

    read.__name__ = kind.__name__
    return read


if __name__ == "__main__":
    sys.exit(main())
