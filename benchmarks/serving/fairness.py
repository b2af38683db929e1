"""Measure how long small requests wait while another client streams 100,000 samples.

    python benchmarks/serving/fairness.py [--model g32] [--samples 100000] [--rounds 3] [--json FILE]

One client requests one sample at a time, first alone, then while a second process streams from the same model. The
latencies are the first client's. A batch is the time of a model call of 64 samples on one core, measured alone. The
goal: the 99th percentile grows by at most 3 batches.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from common import machine, server
from overhead import BATCH, bare
from packages import write_generator_package

from ganserve.v1 import gan_service_pb2, gan_service_pb2_grpc

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

GOAL_BATCHES = 3.0
_OPTIONS = [("grpc.max_receive_message_length", -1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=100_000, help="samples in the stream")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve-flags", default="", help="flags for `ganserve serve`, in one string")
    parser.add_argument("--model", choices=("g32", "conv8"), default="g32")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        package = write_generator_package(Path(folder), arguments.model)
        batch_ms = BATCH / bare(package, 1, 1, spinning=False)(2.0).samples_per_s * 1e3
        with server(Path(folder), arguments.serve_flags.split()) as (_, address):
            rounds = [measure(address, arguments.samples) for _ in range(arguments.rounds)]
    growth = statistics.median((one["streaming"]["p99_ms"] - one["alone"]["p99_ms"]) / batch_ms for one in rounds)
    report = {"machine": machine(), "command": sys.argv, "batch_ms": batch_ms, "growth": growth, "rounds": rounds}
    print(f"a batch of {BATCH} takes {batch_ms:.1f} ms\n")
    print("| n=1, C=1 | requests | p50 ms | p99 ms | longest ms |\n|---|---|---|---|---|")
    for one in rounds:
        for name in ("alone", "streaming"):
            seen = one[name]
            figures = f"{seen['p50_ms']:.1f} | {seen['p99_ms']:.1f} | {seen['longest_ms']:.1f}"
            print(f"| {name} | {seen['requests']} | {figures} |")
    met = "met" if growth <= GOAL_BATCHES else "missed"
    print(f"\np99 grows by {growth:.2f} batches (median of {len(rounds)}; goal: at most {GOAL_BATCHES:g}): {met}")
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


def measure(address: str, samples: int) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    started, ended = context.Event(), context.Event()
    alone = latencies(address, lambda begun: time.perf_counter() - begun > 10)
    other = context.Process(target=stream, args=(address, samples, started, ended))
    other.start()
    if not started.wait(60):
        raise RuntimeError("the stream did not begin within 60 s")
    streaming = latencies(address, lambda _: ended.is_set())
    other.join()
    return {"alone": alone, "streaming": streaming}


def stream(address: str, samples: int, started: Event, ended: Event) -> None:
    with grpc.insecure_channel(address, options=_OPTIONS) as channel:
        request = gan_service_pb2.SampleRequest(count=samples, seed=1, label_indices=[0])
        drawn = 0
        for response in gan_service_pb2_grpc.GanServiceStub(channel).StreamSamples(
            gan_service_pb2.StreamSamplesRequest(request=request)
        ):
            started.set()
            drawn += response.chunk.samples.tensor.shape[0]
            if samples - drawn < samples // 50:  # ignore the end of the stream
                ended.set()
    if drawn != samples:
        raise RuntimeError(f"the stream ended after {drawn} of {samples} samples")


def latencies(address: str, over: Any) -> dict[str, float]:
    seen = []
    with grpc.insecure_channel(address, options=_OPTIONS) as channel:
        stub = gan_service_pb2_grpc.GanServiceStub(channel)
        stub.Sample(gan_service_pb2.SampleRequest(count=1), timeout=60)
        begun = time.perf_counter()
        while not seen or not over(begun):
            start = time.perf_counter()
            stub.Sample(gan_service_pb2.SampleRequest(count=1, label_indices=[0]), timeout=60)
            seen.append((time.perf_counter() - start) * 1e3)
    median, tail = np.percentile(seen, (50, 99))
    return {"requests": len(seen), "p50_ms": median, "p99_ms": tail, "longest_ms": max(seen)}


if __name__ == "__main__":
    main()
