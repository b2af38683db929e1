"""Change versions under load: no request may fail, and memory must stay flat.

    python benchmarks/serving/reload.py [--swaps 200] [--json FILE]

A process keeps 8 requests of 4 samples and 2 streams in flight. Meanwhile each swap publishes the next version, removes
the one before the last, and calls AdminService.ReloadRepository; the server runs with `--newest-versions 1 --poll-s 0`.
It loads and checks the new version, switches to it, and drains the old one. Every answer must arrive complete, from a
published version, with exactly the samples of its version and seed (all versions have the same weights).
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import multiprocessing
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import uvloop
from common import machine, memory_mib, server
from google.protobuf import json_format
from packages import write_generator_package

from ganserve.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    gan_service_pb2,
    gan_service_pb2_grpc,
    model_spec_pb2,
)

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Event

MODEL = "conv8"
REQUESTS, STREAMS, COUNT, STREAMED = 8, 2, 4, 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=int, default=200)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        write_generator_package(models, MODEL)
        with server(models, ["--newest-versions", "1", "--poll-s", "0", "--log-level", "warning"]) as (
            process,
            address,
        ):
            report = {"machine": machine(), "command": sys.argv} | measure(
                models, address, process.pid, arguments.swaps
            )
    seen, memory = report["load"], report["memory_mib"]
    print(f"{arguments.swaps} swaps in {report['seconds']:.0f} s, {report['swap_ms']:.0f} ms each (median)")
    print(f"{seen['answers']:,} answers and {seen['streams']:,} streams from {seen['versions']} versions")
    print(f"failures: {seen['failures'] or 'none'}")
    tenth = len(memory) // 10 or 1
    print(
        "memory MiB, means of tenths: "
        + ", ".join(f"{statistics.mean(memory[i : i + tenth]):.0f}" for i in range(0, len(memory) - tenth + 1, tenth))
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    if seen["failures"]:
        sys.exit(1)


def measure(models: Path, address: str, pid: int, swaps: int) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    ours, theirs = context.Pipe()
    other = context.Process(target=keep_asking, args=(address, stop, theirs))
    other.start()
    memory, durations = [], []
    try:
        with grpc.insecure_channel(address) as channel:
            admin = admin_service_pb2_grpc.AdminServiceStub(channel)
            time.sleep(2)
            began = time.perf_counter()
            for version in range(2, swaps + 2):
                publish(models, version)
                if version > 2:
                    shutil.rmtree(models / MODEL / str(version - 2))
                start = time.perf_counter()
                reply = admin.ReloadRepository(admin_service_pb2.ReloadRepositoryRequest(), timeout=60)
                durations.append((time.perf_counter() - start) * 1e3)
                if reply.models[0].latest != version:
                    raise RuntimeError(f"version {version} was not taken up: {reply.models[0]}")
                memory.append(memory_mib(pid))
            seconds = time.perf_counter() - began
    finally:
        stop.set()
    load: dict[str, Any] = ours.recv()
    other.join()
    return {"load": load, "memory_mib": memory, "swap_ms": statistics.median(durations), "seconds": seconds}


def publish(models: Path, version: int) -> None:
    """Copy the version before under the next number and rename it into place, as `ganserve export-onnx` does."""
    staging = models / MODEL / f".{version}"
    shutil.copytree(models / MODEL / str(version - 1), staging)
    manifest = staging / "manifest.json"
    spec = json_format.Parse(manifest.read_text(), model_spec_pb2.ModelSpec())
    spec.version = version
    manifest.write_text(json_format.MessageToJson(spec, preserving_proto_field_name=True))
    staging.rename(models / MODEL / str(version))


def keep_asking(address: str, stop: Event, pipe: Connection) -> None:
    pipe.send(uvloop.run(ask(address, stop)))


async def ask(address: str, stop: Event) -> dict[str, Any]:
    failures: collections.Counter[str] = collections.Counter()
    versions: set[int] = set()
    counts = {"answers": 0, "streams": 0}
    async with grpc.aio.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)]) as channel:
        stub = gan_service_pb2_grpc.GanServiceStub(channel)
        request = gan_service_pb2.SampleRequest(model=MODEL, count=STREAMED, seed=1, label_indices=[3])
        streamed = gan_service_pb2.StreamSamplesRequest(request=request)
        expected = b"".join([one.chunk.samples.tensor.data async for one in stub.StreamSamples(streamed)])
        single = gan_service_pb2.SampleRequest(model=MODEL, count=COUNT, seed=1, label_indices=[3])
        first = expected[: COUNT * len(expected) // STREAMED]

        async def one_request() -> None:
            response = await stub.Sample(single, timeout=60)
            versions.add(response.version)
            counts["answers"] += 1
            if response.samples.tensor.data != first:
                failures["other samples"] += 1

        async def one_stream() -> None:
            chunks = [response.chunk async for response in stub.StreamSamples(streamed, timeout=60)]
            counts["streams"] += 1
            if b"".join(chunk.samples.tensor.data for chunk in chunks) != expected:
                failures["other samples in a stream"] += 1
            if len({chunk.version for chunk in chunks}) != 1:
                failures["several versions in a stream"] += 1

        async def loop(one: Any) -> None:
            while not stop.is_set():
                try:
                    await one()
                except grpc.aio.AioRpcError as error:
                    failures[f"{error.code().name}: {error.details()}"] += 1

        await asyncio.gather(*[loop(one_request) for _ in range(REQUESTS)], *[loop(one_stream) for _ in range(STREAMS)])
    return counts | {"versions": len(versions), "failures": dict(failures)}


if __name__ == "__main__":
    main()
