"""Send ten times as many requests as the server can answer, and measure what it still answers.

    python benchmarks/serving/overload.py [--rounds 3] [--seconds 60] [--times 10] [--shared-cores] [--json FILE]

First the peak: 8 requests of 64 samples in flight, closed loop. Then one process sends requests of 64 samples at
`--times` that rate, each with a deadline of a minute, without waiting for answers. Peak and overload alternate. It
reports answers by status code, samples/s of the good answers (goodput), latencies, and the server's memory every
second. Goals: goodput of at least 0.9 of the mean of the peaks before and after, no statuses but OK and
RESOURCE_EXHAUSTED, bounded memory. The queue holds 4,096 samples.

Server and sender have half of the cores each, like two machines: otherwise sending ten times as many requests would
take CPU time from the server. With `--shared-cores` they share all cores, and the sender's extra CPU time is reported.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import uvloop
from common import load, machine, memory_mib, server
from packages import write_generator_package

from ganserve.v1 import gan_service_pb2, gan_service_pb2_grpc

MODEL, COUNT, QUEUE = "g32", 64, 4096
_OPTIONS = [("grpc.max_receive_message_length", -1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--times", type=float, default=10.0)
    parser.add_argument("--shared-cores", action="store_true", help="server and sender share all cores")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    half = len(cores) if arguments.shared_cores else len(cores) // 2
    own = cores[:half] or cores
    peaks, floods = [], []
    with tempfile.TemporaryDirectory() as folder:
        write_generator_package(Path(folder), MODEL)
        os.sched_setaffinity(0, own)  # its child processes inherit them
        with server(Path(folder), ["--max-queued-samples", str(QUEUE)]) as (process, address):
            os.sched_setaffinity(0, cores[half:] or cores)
            load(address, MODEL, COUNT, 8, 1.0)
            peaks.append(load(address, MODEL, COUNT, 8, min(10.0, arguments.seconds)))
            for _ in range(arguments.rounds):
                before = memory_mib(process.pid)
                rate = arguments.times * peaks[-1]["requests"] / peaks[-1]["seconds"]
                done = uvloop.run(flood(address, process.pid, rate, arguments.seconds))
                floods.append(done | {"before_mib": before, "after_mib": memory_mib(process.pid)})
                peaks.append(load(address, MODEL, COUNT, 8, min(10.0, arguments.seconds)))
    report = {"machine": machine(), "command": sys.argv, "server_cores": len(own), "peaks": peaks, "floods": floods}
    for index, done in enumerate(floods):
        between = peaks[index : index + 2]
        peak = statistics.mean(one["samples"] / one["seconds"] for one in between)
        done["part"] = done["goodput"] / peak
        sending = statistics.mean(one["cpu_s"] / one["seconds"] for one in between)
        done["more_cpu"] = (done["sender_cpu"] - sending) / len(cores)
        tell(done, peak)
    print(f"\ngoodput {statistics.median(done['part'] for done in floods):.2f} of the peak in the median")
    if arguments.shared_cores:
        left = statistics.median(done["part"] / (1 - done["more_cpu"]) for done in floods)
        more = statistics.median(done["more_cpu"] for done in floods)
        print(f"the sender took {more:.3f} of the machine more than at the peak; without that {left:.2f}")
    else:
        print(f"the server had {len(own)} of {len(cores)} cores, the sender the others")
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    if unexpected := {code for done in floods for code in done["codes"]} - {"OK", "RESOURCE_EXHAUSTED"}:
        sys.exit(f"unexpected: {sorted(unexpected)}")


def tell(done: dict[str, Any], peak: float) -> None:
    codes = ", ".join(f"{count:,} {code}" for code, count in sorted(done["codes"].items()))
    print(f"\npeak {peak:,.0f} samples/s; offered {done['offered']:,.0f} ({done['offered'] / peak:.1f} times)")
    print(f"goodput {done['goodput']:,.0f} samples/s ({done['part']:.2f} of the peak); {codes}")
    print(f"latency of answers: p50 {done['p50_ms']:,.0f} ms, p99 {done['p99_ms']:,.0f} ms")
    print(f"latency of refusals: p50 {done['refused_p50_ms']:,.1f} ms, p99 {done['refused_p99_ms']:,.1f} ms")
    memory = done["before_mib"], max(done["memory_mib"]), done["after_mib"]
    print("memory {:.0f} MiB before, at most {:.0f}, {:.0f} after".format(*memory))


async def flood(address: str, pid: int, rate: float, seconds: float) -> dict[str, Any]:
    """Send `rate` requests a second without waiting for answers, then wait for all of them."""
    codes: collections.Counter[str] = collections.Counter()
    latencies: dict[str, list[float]] = collections.defaultdict(list)
    memory: list[float] = []
    good = 0

    async def one(stub: gan_service_pb2_grpc.GanServiceAsyncStub, seed: int) -> None:
        nonlocal good
        request = gan_service_pb2.SampleRequest(model=MODEL, count=COUNT, seed=seed, label_indices=[0])
        began = time.perf_counter()
        try:
            await stub.Sample(request, timeout=60)
            code = "OK"
            good += COUNT if time.perf_counter() - start < seconds else 0
        except grpc.aio.AioRpcError as error:
            code = error.code().name
        codes[code] += 1
        latencies[code].append((time.perf_counter() - began) * 1e3)

    channels = [grpc.aio.insecure_channel(address, options=_OPTIONS) for _ in range(4)]
    stubs = [gan_service_pb2_grpc.GanServiceStub(channel) for channel in channels]
    tasks: set[asyncio.Task[None]] = set()
    cpu_s = time.process_time()
    start, sent, noted = time.perf_counter(), 0, 0.0
    while (now := time.perf_counter() - start) < seconds:
        while sent < now * rate:
            task = asyncio.create_task(one(stubs[sent % len(stubs)], sent))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            sent += 1
        if now - noted >= 1:
            noted = now
            memory.append(memory_mib(pid))
        await asyncio.sleep(0.005)
    cpu_s = time.process_time() - cpu_s
    await asyncio.gather(*tasks)
    await asyncio.gather(*(channel.close() for channel in channels))
    percentiles = {code: np.percentile(values, (50, 99)) for code, values in latencies.items()}
    answered, refused = (percentiles.get(code, (float("nan"),) * 2) for code in ("OK", "RESOURCE_EXHAUSTED"))
    return {
        "offered": sent * COUNT / seconds,
        "goodput": good / seconds,
        "sender_cpu": cpu_s / seconds,
        "codes": dict(codes),
        "p50_ms": answered[0],
        "p99_ms": answered[1],
        "refused_p50_ms": refused[0],
        "refused_p99_ms": refused[1],
        "memory_mib": memory or [memory_mib(pid)],
    }


if __name__ == "__main__":
    main()
