"""Measure what the SDK adds to gRPC's own stub, and what importing it costs.

    python benchmarks/client/overhead.py [--rounds 12] [--seconds 1] [--imports 11] [--json FILE]

Latency: one `ganserve serve` process with its defaults, one client process, one call at a time. The ways take turns
call by call in random order, so that other programs affect all of them alike:

- stub: `GanServiceStub.Sample` with a new message for each call; the answer stays a message;
- array: the same, and the samples become a NumPy array;
- Client: `Client.sample` on its own connection;
- local: `Client.local(…).sample`, without a server process.

A figure is the median of the rounds' medians; a ratio is the median of the rounds' ratios to the stub. Generators:
`nothing` (32x32x3, computes next to nothing, so that everything else shows) and `g32` (32x32x3, a DCGAN with random
weights).

Imports: processes that take turns: Python alone, gRPC with NumPy, `import ganserve`, and `from ganserve import Client`
with a new client, which loads gRPC and NumPy. Figures are medians of the seconds of the import and of the resident
memory after it.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "benchmarks" / "serving"), str(ROOT / "tests" / "support")]

import grpc  # noqa: E402
import numpy as np  # noqa: E402
from common import Bystanders, machine, server  # noqa: E402
from packages import write_generator_package  # noqa: E402

from ganserve import Client  # noqa: E402
from ganserve.v1 import gan_service_pb2, gan_service_pb2_grpc  # noqa: E402
from tiny_packages import TinyModel, build_tiny_package  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

STUB = "stub"
MOST_BYTES = ("grpc.max_receive_message_length", 257 * 2**20)
GOALS = {"Client.sample(1)": 1.15, "Client.sample(64)": 1.05, "import_s": 0.25, "import_mib": 60.0}
IMPORTS = {
    "python alone": "pass",
    "import grpc, numpy": "import grpc, numpy",
    "import ganserve": "import ganserve",
    "from ganserve import Client; Client()": "from ganserve import Client; Client('localhost:1')",
}
TIMED = """
import sys, time
started = time.perf_counter()
{code}
elapsed = time.perf_counter() - started
with open("/proc/self/status") as status:
    kib = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
print(elapsed, kib / 1024)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12, help="rounds of each latency")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a round")
    parser.add_argument("--imports", type=int, default=11, help="processes of each import")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder)
        build_tiny_package(models, "nothing", model=TinyModel(shape=(32, 32, 3)))
        write_generator_package(models, "g32")
        latencies = measure_latencies(models, arguments.rounds, arguments.seconds)
    report = {
        "machine": machine(),
        "command": sys.argv,
        "goals": GOALS,
        "latencies": latencies,
        "imports": measure_imports(arguments.imports),
    }
    sys.stdout.write(table(report))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


def measure_latencies(models: Path, rounds: int, seconds: float) -> list[dict[str, Any]]:
    with (
        server(models, []) as (process, address),
        Client(address) as client,
        Client.local(models) as local,
        grpc.insecure_channel(address, [MOST_BYTES]) as channel,
    ):
        stub = gan_service_pb2_grpc.GanServiceStub(channel)
        cases = [
            (model, n, ways(stub, client, local, model, n))
            for model, n in (("nothing", 1), ("nothing", 64), ("g32", 1), ("g32", 64))
        ]
        measured: list[list[dict[str, float]]] = [[] for _ in cases]
        bystanders = Bystanders(process.pid)
        for _, _, calls in cases:
            one_round(calls, 0.3)  # to warm up
        for _ in range(rounds):
            for results, (_, _, calls) in zip(measured, cases, strict=True):
                results.append(one_round(calls, seconds))
        others = bystanders.share()
    return [
        {
            "model": model,
            "n": n,
            "others": others,
            "ms": {name: 1e3 * statistics.median(each[name] for each in results) for name in calls},
            "ratio": {name: statistics.median(each[name] / each[STUB] for each in results) for name in calls},
        }
        for (model, n, calls), results in zip(cases, measured, strict=True)
    ]


def ways(
    stub: gan_service_pb2_grpc.GanServiceStub, client: Client, local: Client, model: str, n: int
) -> dict[str, Callable[[], object]]:
    def ask() -> gan_service_pb2.SampleResponse:
        return stub.Sample(gan_service_pb2.SampleRequest(model=model, count=n, seed=1), timeout=60)

    def array() -> object:
        tensor = ask().samples.tensor
        return np.frombuffer(tensor.data, np.uint8).reshape(tuple(tensor.shape)).copy()

    return {
        STUB: ask,
        "array": array,
        "Client": lambda: client.sample(n, model=model, seed=1),
        "local": lambda: local.sample(n, model=model, seed=1),
    }


def one_round(calls: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Return each way's median latency in seconds."""
    latencies: dict[str, list[float]] = {name: [] for name in calls}
    turns = list(calls.items())
    gc.collect()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not latencies[STUB]:
        random.shuffle(turns)
        for name, call in turns:
            started = time.perf_counter()
            call()
            latencies[name].append(time.perf_counter() - started)
    return {name: statistics.median(each) for name, each in latencies.items()}


def measure_imports(processes: int) -> dict[str, dict[str, float]]:
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in IMPORTS}
    for turn in range(processes + 1):
        for name, code in IMPORTS.items():
            command = [sys.executable, "-c", TIMED.format(code=code)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            if turn:  # the first one may still write bytecode
                results[name].append((float(output[0]), float(output[1])))
    return {
        name: {"seconds": statistics.median(s for s, _ in each), "mib": statistics.median(mib for _, mib in each)}
        for name, each in results.items()
    }


def table(report: dict[str, Any]) -> str:
    names = list(report["latencies"][0]["ms"])
    lines = [
        "| generator | n | "
        + " | ".join(f"{name}, ms" for name in names)
        + " | "
        + " | ".join(f"{name}, ratio" for name in names[1:])
        + " |",
        "|---" * (2 * len(names) + 1) + "|",
    ]
    for case in report["latencies"]:
        cells = [case["model"], str(case["n"]), *(f"{case['ms'][name]:.3f}" for name in names)]
        cells += [f"{case['ratio'][name]:.3f}" for name in names[1:]]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        f"\nOther processes took {report['latencies'][0]['others']:.0%} of the CPU time.\n",
        "| import | s | MiB |",
        "|---|---|---|",
    ]
    lines += [f"| `{name}` | {each['seconds']:.3f} | {each['mib']:.1f} |" for name, each in report["imports"].items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
