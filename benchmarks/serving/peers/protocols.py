"""Speak the protocols of the servers: each function opens connections and returns functions that request samples.

n = samples a request, H, W, C = height, width and channels. gRPC has up to four channels; HTTP/1.1 has one kept-open
connection for each request in flight, since it carries one request at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import numpy as np
from client import CHANNELS, OPTIONS, sample_call

if TYPE_CHECKING:
    from aiohttp import ClientSession


_CONNECT_S = 20.0


class Samples(NamedTuple):
    """An answer; so is ganserve's tensor."""

    shape: tuple[int, ...]
    """[n, H, W, C], or [n] where a sample is one element"""
    data: bytes
    """uint8, row-major"""


Call = Callable[[int], Awaitable[Any]]
"""Request samples with a seed; return their `Samples`, or a message with the same fields."""


@contextlib.asynccontextmanager
async def ganserve(address: str, model: str, n: int, concurrency: int, label: int) -> AsyncIterator[list[Call]]:
    """Connect to `ganserve.v1.GanService`: ours, the sketch, and Ray Serve, which proxies any service."""
    async with _channels(address, concurrency) as channels:
        yield [sample_call(channel, model, n, label=label) for channel in channels]


@contextlib.asynccontextmanager
async def open_inference(address: str, _model: str, n: int, concurrency: int, label: int) -> AsyncIterator[list[Call]]:
    """Connect to the Open Inference Protocol by gRPC: Triton, KServe, MLServer. Tensors are raw."""
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    rows = _rows(n, label)

    def opened(channel: grpc.aio.Channel) -> Call:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)

        async def call(seed: int) -> Samples:
            rows[:, 0] = seed
            request = service_pb2.ModelInferRequest(model_name="gan", raw_input_contents=[rows.tobytes()])
            request.inputs.add(name="rows", datatype="INT64", shape=rows.shape)
            response = await stub.ModelInfer(request)
            output, raw = response.outputs[0], response.raw_output_contents[0]
            if output.datatype == "BYTES":  # a length of four bytes before each sample
                raw = np.frombuffer(raw, np.uint8).reshape(output.shape[0], -1)[:, 4:].tobytes()
            return Samples(tuple(output.shape), raw)

        return call

    async with _channels(address, concurrency) as channels:
        yield [opened(channel) for channel in channels]


@contextlib.asynccontextmanager
async def litserve(address: str, _model: str, n: int, concurrency: int, label: int) -> AsyncIterator[list[Call]]:
    """Connect to LitServe: JSON in, bytes out. Without `identity` it compresses every answer."""
    async with _session(concurrency) as session:

        async def call(seed: int) -> Samples:
            request = {"n": n, "label": label, "seed": seed}
            headers = {"Accept-Encoding": "identity"}
            async with session.post(f"http://{address}/predict", json=request, headers=headers) as response:
                response.raise_for_status()
                shape = tuple(map(int, response.headers["X-Shape"].split(",")))
                return Samples(shape, await response.read())

        yield [call]


@contextlib.asynccontextmanager
async def bentoml(address: str, _model: str, n: int, concurrency: int, label: int) -> AsyncIterator[list[Call]]:
    """Connect to BentoML: JSON in, bytes out."""
    async with _session(concurrency) as session:

        async def call(seed: int) -> Samples:
            request = {"rows": [(seed, label, index) for index in range(n)]}
            async with session.post(f"http://{address}/sample", json=request) as response:
                response.raise_for_status()
                return Samples((n,), await response.read())

        yield [call]


PROTOCOLS = {"ganserve": ganserve, "open inference": open_inference, "litserve": litserve, "bentoml": bentoml}


def _rows(n: int, label: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return rows of (seed, label, index) for n samples; a call fills in the seed."""
    rows = np.empty((n, 3), np.int64)
    rows[:, 1], rows[:, 2] = label, np.arange(n)
    return rows


@contextlib.asynccontextmanager
async def _channels(address: str, concurrency: int) -> AsyncIterator[list[grpc.aio.Channel]]:
    async with contextlib.AsyncExitStack() as stack:
        opened = [grpc.aio.insecure_channel(address, options=OPTIONS) for _ in range(min(CHANNELS, concurrency))]
        channels = [await stack.enter_async_context(channel) for channel in opened]
        await asyncio.gather(*(asyncio.wait_for(channel.channel_ready(), _CONNECT_S) for channel in channels))
        yield channels


@contextlib.asynccontextmanager
async def _session(concurrency: int) -> AsyncIterator[ClientSession]:
    import aiohttp

    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(60)) as session:
        yield session
