"""Let a server run under everything at once, and watch its memory and its good clients.

    python benchmarks/serving/soak.py [--minutes 30] [--limit-mib 512] [--json FILE]

Good clients of another address make single calls and streams through the SDK and plain gRPC. Meanwhile versions are
published and reloaded every few seconds, clients vanish in the middle of streams and uploads (SIGKILL), and hostile
callers take turns: those of memory_attack.py, fields of 100,000 entries, and a flood of 1,400 calls. The goals: no
good call fails, and the server's memory stays flat: over the last two thirds, the highest of the means of twelfths of
the run exceeds the first one by at most 5 %.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import itertools
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
from caller_fairness import flood
from common import HERE, machine, memory_mib
from memory_attack import ATTACKS as MEMORY_ATTACKS
from memory_attack import check_running
from packages import write_generator_package
from reload import publish

sys.path.insert(0, str(HERE.parents[1] / "tests" / "support"))
from ganserve import AsyncClient, GanserveError
from ganserve.v1 import admin_service_pb2, admin_service_pb2_grpc, gan_service_pb2, gan_service_pb2_grpc
from growing_requests import RPCS, growing_fields
from relay import relay
from server_process import running_server
from stubs import OPTIONS
from tiny_packages import TinyModel, build_tiny_package

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

MOST_GROWTH = 0.05
_MODEL = "conv8"  # its versions are reloaded
_ATTACK_S, _SWAP_S, _SAMPLE_S, _PARTS = 10.0, 3.0, 1.0, 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--limit-mib", type=int, default=512)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder)
        write_generator_package(models, _MODEL)
        build_tiny_package(models, "tiny")
        build_tiny_package(models, "large", model=TinyModel(shape=(128, 128, 3), label_names=()))
        flags = ("--memory-limit-mib", str(arguments.limit_mib), "--stall-timeout-s", "5", "--poll-s", "0")
        with running_server(models, *flags, "--newest-versions", "1") as server:
            seen = asyncio.run(soak(server.process.pid, server.address, models, arguments.minutes * 60))
            ended = server.process.poll()
            errors = [line for line in server.log.splitlines() if " ERROR " in line]
    memory = seen["memory_mib"]
    part = max(1, len(memory) // _PARTS)
    means = [statistics.mean(memory[at : at + part]) for at in range(0, len(memory) - part + 1, part)]
    late = means[len(means) // 3 :]
    growth = max(late) / late[0] - 1
    good = ", ".join(f"{count:,} {kind}" for kind, count in sorted(seen["answered"].items()))
    print(
        f"{arguments.minutes:g} minutes, {seen['swaps']} versions, {seen['vanished']} clients vanished; answered {good}"
    )
    print(f"failed: {seen['failed'] or 'none'}; errors in the server's log: {len(errors)}", *errors[:5], sep="\n")
    print("memory MiB, means of twelfths: " + ", ".join(f"{mean:.0f}" for mean in means) + f"; most {max(memory):.0f}")
    met = ended is None and growth <= MOST_GROWTH and not seen["failed"] and not errors
    print(f"memory grows by {growth:.1%} over the last two thirds: {'met' if met else 'missed'}")
    if arguments.json:
        report = {"machine": machine(), "command": sys.argv, "growth": growth, "means_mib": means, "errors": errors}
        arguments.json.write_text(json.dumps(report | seen, indent=1) + "\n")
    if not met:
        sys.exit(1)


async def soak(pid: int, address: str, models: Path, seconds: float) -> dict[str, Any]:
    """Run everything for this long, and return what was seen."""
    answered: collections.Counter[str] = collections.Counter()
    failed: collections.Counter[str] = collections.Counter()
    memory: list[float] = []
    over = asyncio.Event()
    async with relay(address) as other:
        tasks = [
            asyncio.create_task(work)
            for work in (
                sdk_calls(other, over, answered, failed),
                sdk_streams(other, over, answered, failed),
                plain_calls(other, over, answered, failed),
                attacks(address, over),
                vanishing_clients(address, over),
                swaps(models, address, over),
            )
        ]
        end = time.monotonic() + seconds
        while time.monotonic() < end and not any(task.done() for task in tasks):
            memory.append(memory_mib(pid))
            await asyncio.sleep(_SAMPLE_S)
        over.set()
        *_, vanished, swapped = await asyncio.gather(*tasks)
    return {
        "answered": dict(answered),
        "failed": dict(failed),
        "memory_mib": memory,
        "vanished": vanished,
        "swaps": swapped,
    }


async def sdk_calls(address: str, over: asyncio.Event, answered: Any, failed: Any) -> None:
    async with AsyncClient(address, timeout_s=60) as client:
        while not over.is_set():
            try:
                batch = await client.sample(2, 0, model="tiny")
                await client.score(batch, model="tiny")
                await client.sample(1, 3, model=_MODEL)
                answered["SDK calls"] += 3
            except GanserveError as error:
                failed[f"SDK call: {type(error).__name__}: {error.message[:120]}"] += 1
            await asyncio.sleep(0.05)


async def sdk_streams(address: str, over: asyncio.Event, answered: Any, failed: Any) -> None:
    async with AsyncClient(address, timeout_s=120) as client:
        while not over.is_set():
            try:
                drawn = sum([len(batch) async for batch in client.stream(300, 1, model=_MODEL)])
                answered["SDK streams"] += 1
                if drawn != 300:
                    failed[f"SDK stream: {drawn} samples"] += 1
            except GanserveError as error:
                failed[f"SDK stream: {type(error).__name__}: {error.message[:120]}"] += 1
            await asyncio.sleep(0.2)


async def plain_calls(address: str, over: asyncio.Event, answered: Any, failed: Any) -> None:
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        stub = gan_service_pb2_grpc.GanServiceStub(channel)
        while not over.is_set():
            try:
                await stub.Sample(gan_service_pb2.SampleRequest(model="tiny", count=1), timeout=60)
                answered["plain calls"] += 1
            except grpc.aio.AioRpcError as error:
                failed[f"plain call: {error.code().name}: {str(error.details())[:120]}"] += 1
            await asyncio.sleep(0.05)


def growing(address: str, over: Event) -> None:
    """Send requests with up to 100,000 entries to all methods but those that unload models."""
    rpcs = [rpc for rpc in RPCS if "Admin" not in rpc and "RepositoryModel" not in rpc]
    fields = [field for rpc in rpcs for field in growing_fields(rpc)]
    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        for field in itertools.cycle(fields):
            data = field.request(100_000, fitting=True)
            if over.is_set():
                return
            with contextlib.suppress(grpc.RpcError):
                list(channel.stream_stream(field.rpc)(iter([data]), timeout=20))


def crowd(address: str, over: Event) -> None:
    """Keep 1,400 calls in flight."""
    flood(address, 1400, 4, multiprocessing.get_context("spawn").Event(), over, "tiny")


ATTACKS = (*MEMORY_ATTACKS, growing, crowd)


async def attacks(address: str, over: asyncio.Event) -> None:
    context = multiprocessing.get_context("spawn")
    for attack in itertools.cycle(ATTACKS):
        done = context.Event()
        process = context.Process(target=attack, args=(address, done), name=attack.__name__, daemon=True)
        process.start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), _ATTACK_S)
        check_running(process)
        done.set()
        await asyncio.to_thread(process.join, 5)
        process.kill()
        if over.is_set():
            return


def vanish(address: str, _over: Event) -> None:
    """Begin streams and calls; never end."""
    request = gan_service_pb2.SampleRequest(model="large", count=5000, seed=1)
    channel = grpc.insecure_channel(address, options=OPTIONS)
    stub = gan_service_pb2_grpc.GanServiceStub(channel)
    streams = [stub.StreamSamples(gan_service_pb2.StreamSamplesRequest(request=request)) for _ in range(3)]
    for stream in itertools.cycle(streams):
        with contextlib.suppress(grpc.RpcError, StopIteration):
            next(stream)


async def vanishing_clients(address: str, over: asyncio.Event) -> int:
    context = multiprocessing.get_context("spawn")
    never = context.Event()  # kept: a new process finds it only while this one holds it
    count = 0
    while not over.is_set():
        process = context.Process(target=vanish, args=(address, never), name=vanish.__name__, daemon=True)
        process.start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), 4)
        check_running(process)
        process.kill()
        await asyncio.to_thread(process.join)
        count += 1
    return count


async def swaps(models: Path, address: str, over: asyncio.Event) -> int:
    """Publish a version every few seconds, reload, and remove the one before the last; return how many."""
    async with grpc.aio.insecure_channel(address) as channel:
        admin = admin_service_pb2_grpc.AdminServiceStub(channel)
        for version in itertools.count(2):
            publish(models, version)
            if version > 2:
                shutil.rmtree(models / _MODEL / str(version - 2))
            with contextlib.suppress(grpc.aio.AioRpcError):  # an attack may have all of this caller's memory and calls
                await admin.ReloadRepository(admin_service_pb2.ReloadRepositoryRequest(), timeout=60)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), _SWAP_S)
            if over.is_set():
                return version - 1
    raise AssertionError("versions have no end")


if __name__ == "__main__":
    main()
