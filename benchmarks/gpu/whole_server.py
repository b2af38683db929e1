"""Measure the whole server over gRPC on loopback, bare onnxruntime, and the server's stages."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import cpu_seconds, load, serving
from onnx_ways import Bare, Way
from packages import write_package
from server_stages import Stages, between
from time_budget import call_seconds, speed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from context import Context
    from subjects import Subject

HERE = Path(__file__).parent
WAY = Way("float16")
WAYS = (WAY, Way("float16", nhwc=True))
BATCH = 64


@dataclass(frozen=True)
class Load:
    """The requests of the clients."""

    count: int
    """Samples in a request, or in the stream."""
    concurrency: int
    """Requests in flight, over all clients; 0: one stream."""
    clients: int = 1
    """Client processes."""

    def __str__(self) -> str:
        if not self.concurrency:
            return f"a stream of {self.count:,}"
        return f"n={self.count} C={self.concurrency}" + (f", {self.clients} clients" if self.clients > 1 else "")


# One Python client can be slower than the server, so several clients send the same load too.
LOADS = (Load(64, 8), Load(64, 8, 4), Load(1, 64), Load(1, 64, 4), Load(100_000, 0))
PARTS = ("queue", "latents", "copy", "compute", "encode", "server, other", "transport")
SMALL_LOADS = (Load(4, 2, 2), Load(1, 2), Load(200, 0))


def measure(context: Context, record: dict[str, Any]) -> None:
    """Fill `record` with rounds of each network's loads and of bare onnxruntime, and with the loads left out."""
    record |= {"way": str(WAY), "networks": {}, "left_out": []}
    subjects = [context.subjects[0], context.subjects[-1]] if len(context.subjects) > 1 else list(context.subjects)
    loads = SMALL_LOADS if context.small else LOADS
    batch = 4 if context.small else BATCH
    models, file = context.folder / "models", context.folder / "stages"
    for subject in subjects:
        write_package(
            models, subject.name, subject.onnx(half=True), subject.sample_shape, subject.networks.latent_dim, half=True
        )
    stages = Stages(file, make=True)
    flags = ["--provider", context.device, "--max-batch-size", str(batch)]
    if context.small:
        flags += ["--batch-buckets", "1"]
        flags += ["--conv-search", "heuristic"] if context.device == "cuda" else []
    command = [str(HERE / "timed_server.py"), str(file), "--models", str(models), "--port", "0", *flags]
    with serving(command) as (process, address):
        bares = {subject.name: quickest(subject, context, batch) for subject in subjects}
        # 30 % of the time is a reserve for loads that take longer than planned.
        seconds = (
            0.2 if context.small else max(1.0, 0.7 * context.budget.left_s / (context.rounds * (len(loads) + 1) * 2))
        )
        for index in range(context.rounds):
            for subject in subjects:
                if index and context.budget.left_s <= 0:
                    record["left_out"].append({"round": index, "network": subject.name})
                    continue
                one = {"bare": bare_speeds(bares[subject.name], batch, seconds, context), "loads": {}}
                for asked in loads:
                    time.sleep(2 * Stages.WRITES_S)  # until the counts of the load before are written
                    used, before = cpu_seconds(process.pid), stages.read()
                    done = ask(address, subject, asked, seconds)
                    done["server_cpu"] = (cpu_seconds(process.pid) - used) / done["seconds"]
                    time.sleep(2 * Stages.WRITES_S)
                    done["stages"] = between(before, stages.read(), done["seconds"])
                    one["loads"][str(asked)] = done
                known = {"bytes_per_sample": subject.bytes_per_sample, "batch": batch, "rounds": []}
                known["bare_way"] = str(bares[subject.name].way)
                record["networks"].setdefault(subject.name, known)["rounds"].append(one)
            context.save()


def quickest(subject: Subject, context: Context, batch: int) -> Bare:
    """Return bare onnxruntime in the faster layout, which the server chooses too."""
    ways = (WAY,) if context.small else WAYS
    bares = [Bare(subject, way, context.device, (batch,)) for way in ways]
    return min(bares, key=lambda bare: min(call_seconds(lambda: bare.call_with_copies(batch), 0.1)))


def bare_speeds(bare: Bare, batch: int, seconds: float, context: Context) -> dict[str, dict[str, float]]:
    """Measure bare onnxruntime while the server is idle, with and without copies to and from the host."""
    warm = 1 if context.small else 3
    return {
        "device": speed(call_seconds(lambda: bare.call(batch), seconds / 2, warm=warm), batch),
        "copies": speed(call_seconds(lambda: bare.call_with_copies(batch), seconds / 2, warm=warm), batch),
    }


def ask(address: str, subject: Subject, asked: Load, seconds: float) -> dict[str, Any]:
    """Keep requests in flight, or draw a stream, from client processes."""
    if not asked.concurrency:
        command = [sys.executable, str(HERE / "stream_client.py"), address, subject.name]
        command += map(str, (asked.count, 2 * seconds))
        stream = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return {"clients": [stream], "seconds": stream["seconds"]} | _rates([stream], subject, 2)
    share = asked.concurrency // asked.clients
    with ThreadPoolExecutor(asked.clients) as pool:
        jobs = [pool.submit(load, address, subject.name, asked.count, share, seconds) for _ in range(asked.clients)]
        clients = [job.result() for job in jobs]
    # Clients start and end at slightly different times; take the longest.
    whole = {"clients": clients, "seconds": max(client["seconds"] for client in clients)}
    return whole | _rates(clients, subject, asked.concurrency)


def _rates(clients: list[dict[str, float]], subject: Subject, in_flight: int) -> dict[str, float]:
    rate = sum(client["samples"] / client["seconds"] for client in clients)
    requests = sum(client["requests"] / client["seconds"] for client in clients)
    return {
        "samples_per_s": rate,
        "gb_per_s": rate * subject.bytes_per_sample / 1e9,
        "latency_ms": in_flight / max(requests, 1e-9) * 1e3,  # Little's law; a stream has two chunks in flight
    }


def shares(done: dict[str, Any]) -> dict[str, float]:
    """Return the share of each stage in a request's time, as its client sees it. The shares add up to 1."""
    felt = {stage: part["felt_ms"] for stage, part in done["stages"].items()}
    copies = felt["copy in"] + felt["copy out"]
    inside = felt["queue"] + felt["latents"] + copies + felt["compute"] + felt["encode"]
    # The rest of the server's time goes to waking threads and to the event loop.
    other = max(0.0, felt["request"] - inside)
    transport = max(0.0, done["latency_ms"] - inside - other - felt["serialise"])
    parts = {
        "queue": felt["queue"],
        "latents": felt["latents"],
        "copy": copies,
        "compute": felt["compute"],
        "encode": felt["encode"] + felt["serialise"],
        "server, other": other,
        "transport": transport,
    }
    whole = max(sum(parts.values()), 1e-9)
    return {name: value / whole for name, value in parts.items()}


def table(record: dict[str, Any]) -> list[str]:
    """Return Markdown with a row for each network and load: medians of the rounds."""
    head = ("network", "load", "samples/s", "GB/s", "of bare", "GPU busy", "server, clients: cores", *PARTS)
    lines = [f"Package: {record['way']}. Bare: onnxruntime with IOBinding and copies from and to the host.", ""]
    lines += [_row(head), "|" + "---|" * len(head)]
    for name, network in record["networks"].items():
        rounds = network["rounds"]
        for kind, label in (("device", "bare, without copies"), ("copies", "bare, with copies")):
            rate = statistics.median(one["bare"][kind]["samples_per_s"] for one in rounds)
            gb = rate * network["bytes_per_sample"] / 1e9
            blank = ["-"] * (len(head) - 4)
            lines.append(
                _row(
                    [
                        name,
                        f"{label}, N={network['batch']}{', NHWC' * ('NHWC' in network['bare_way'])}",
                        f"{rate:,.0f}",
                        f"{gb:.2f}",
                        *blank,
                    ]
                )
            )
        for asked in rounds[0]["loads"]:
            runs = [one["loads"][asked] for one in rounds]
            rate, gb = (statistics.median(run[key] for run in runs) for key in ("samples_per_s", "gb_per_s"))
            busy = statistics.median(run["stages"]["compute"]["busy"] for run in runs)
            cores = [statistics.median(values) for values in zip(*map(_cores, runs), strict=True)]
            parts = [f"{statistics.median(shares(run)[part] for run in runs):.0%}" for part in PARTS]
            figures = [f"{rate:,.0f}", f"{gb:.2f}", f"{of_bare(rounds, asked):.2f}", f"{busy:.0%}"]
            lines.append(_row([name, asked, *figures, f"{cores[0]:.1f}, {cores[1]:.1f}", *parts]))
    return lines


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cores(done: dict[str, Any]) -> tuple[float, float]:
    """Return how many cores the server and its clients kept busy."""
    return done["server_cpu"], sum(client["cpu_s"] / client["seconds"] for client in done["clients"])


def of_bare(rounds: list[dict[str, Any]], asked: str) -> float:
    """Return a load's samples/s divided by those of bare onnxruntime with copies: the median of the rounds."""
    return statistics.median(
        one["loads"][asked]["samples_per_s"] / one["bare"]["copies"]["samples_per_s"] for one in rounds
    )


def goals(record: dict[str, Any]) -> list[tuple[str, float | None, float]]:
    """Return the goals: text, measured value, least value."""
    network = record["networks"].get("r3gan-256")
    asked = [str(one) for one in LOADS if one.count == BATCH]
    best = max((of_bare(network["rounds"], one) for one in asked), default=None) if network else None
    return [("r3gan-256, server at n=64 C=8 compared with bare onnxruntime with IOBinding", best, 0.9)]
