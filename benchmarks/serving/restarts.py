"""Restart servers under load behind a proxy that balances connections: no call may fail.

    python benchmarks/serving/restarts.py [--restarts 20] [--json FILE]

Two servers run behind `balancer.py`. Each restart starts a new one, then ends the oldest with SIGTERM, while four kinds
of clients call: the SDK with single calls and with streams, and plain gRPC with its own retries (a service
configuration that retries UNAVAILABLE and CANCELLED), single calls and streams. Each server has a stream that its
client does not read.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from balancer import GOAWAY, Balancer
from common import machine
from packages import write_generator_package

from ganserve import AsyncClient
from ganserve.v1 import gan_service_pb2, gan_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

DRAIN_DELAY_S, DRAIN_TIMEOUT_S = 1.0, 4.0
_RETRIES = {
    "methodConfig": [
        {
            "name": [{"service": "ganserve.v1.GanService"}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.05s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ]
}


class Load:
    """Calls of several kinds through one address, each kind in a loop until `stop`."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._stopped = asyncio.Event()
        self.answered: collections.Counter[str] = collections.Counter()
        self.failures: list[str] = []

    async def run(self) -> None:
        """Call until `stop`."""
        options = [("grpc.service_config", json.dumps(_RETRIES)), ("grpc.use_local_subchannel_pool", 1)]
        async with (
            AsyncClient(self._address) as client,
            grpc.aio.insecure_channel(self._address, options=options) as channel,
        ):
            plain = gan_service_pb2_grpc.GanServiceStub(channel)
            request = gan_service_pb2.SampleRequest(count=3)
            streamed = gan_service_pb2.StreamSamplesRequest(
                request=gan_service_pb2.SampleRequest(count=300), chunk_size=30
            )

            async def sdk_stream() -> None:
                assert sum([len(chunk) async for chunk in client.stream(300, chunk_size=30)]) == 300

            async def plain_stream() -> None:
                responses = [response async for response in plain.StreamSamples(streamed, timeout=60)]
                assert sum(len(response.chunk.label_indices) for response in responses) == 300

            await asyncio.gather(
                self._repeat("SDK", lambda: client.sample(3)),
                self._repeat("SDK stream", sdk_stream),
                self._repeat("gRPC", lambda: plain.Sample(request, timeout=60)),
                self._repeat("gRPC stream", plain_stream),
            )

    def stop(self) -> None:
        """End the loops after their calls."""
        self._stopped.set()

    async def _repeat(self, kind: str, call: Callable[[], Awaitable[Any]]) -> None:
        while not self._stopped.is_set():
            try:
                await call()
                self.answered[kind] += 1
            except Exception as error:  # noqa: BLE001 - each counts
                self.failures.append(f"{kind}: {type(error).__name__}: {error}"[:300])
            await asyncio.sleep(0.005)


class Server:
    """A server process."""

    async def start(self, models: Path) -> Server:
        """Start it and wait until it serves."""
        flags = ("--drain-delay-s", str(DRAIN_DELAY_S), "--drain-timeout-s", str(DRAIN_TIMEOUT_S))
        command = ("-m", "ganserve_server", "--models", str(models), "--port", "0", *flags)
        self._process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=-1, stderr=-3)
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if line.startswith(b"serving on "):
                self.address = line.split()[-1].decode()
                break
        # An unread stream, on a connection of its own.
        self._channel = grpc.aio.insecure_channel(self.address)
        request = gan_service_pb2.SampleRequest(count=2**40)
        stub = gan_service_pb2_grpc.GanServiceStub(self._channel)
        self._stream = stub.StreamSamples(gan_service_pb2.StreamSamplesRequest(request=request))
        await self._stream.read()
        return self

    async def end(self) -> None:
        """End it with SIGTERM and wait for its end."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        await self._process.wait()
        await self._channel.close()


async def measure(restarts: int, models: Path) -> dict[str, Any]:
    """Restart servers under load and return what happened."""
    write_generator_package(models, "tiny")
    balancer, servers = Balancer(), [await Server().start(models) for _ in range(2)]
    async with balancer.running():
        balancer.servers = [server.address for server in servers]
        load = Load(balancer.address)
        running = asyncio.create_task(load.run())
        started = time.monotonic()
        for _ in range(restarts):
            servers.append(await Server().start(models))
            balancer.servers.append(servers[-1].address)
            oldest = servers.pop(0)
            await oldest.end()
            balancer.servers.remove(oldest.address)
        seconds = time.monotonic() - started
        load.stop()
        await running
    for server in servers:
        await server.end()
    told = len({server for server, kind in balancer.frames if kind == GOAWAY})
    return {
        "restarts": restarts,
        "seconds": round(seconds, 1),
        "answered": dict(load.answered),
        "failed": len(load.failures),
        "failures": load.failures[:20],
        "servers_that_sent_goaway": told,
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(arguments.restarts, Path(folder)))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    answered = ", ".join(f"{count} of {kind}" for kind, count in figures["answered"].items())
    print(f"{figures['restarts']} restarts in {figures['seconds']} s: answered {answered}; failed {figures['failed']}")
    for failure in figures["failures"]:
        print(f"  {failure}")


if __name__ == "__main__":
    main()
