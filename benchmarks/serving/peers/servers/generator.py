"""Draw samples with a generator, for the servers of this folder; it needs numpy and onnxruntime alone.

N = samples, Z = latent values, H, W, C = height, width and channels. A request has a number of samples, a label and a
seed. Protocols whose batches are tensors carry it as n rows of (seed, label, index), index 0 to n-1.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MAX_BATCH_SIZE = 64
ROW = 3


class Generator:
    """Run a generator's graph with as many threads as this process has cores, which wait without spinning."""

    def __init__(self, file: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._dimension = next(port.shape[1] for port in self._session.get_inputs() if port.name == "latents")
        self.sample_shape: tuple[int, ...] = tuple(self._session.get_outputs()[0].shape[1:])

    def samples(self, requests: Sequence[tuple[int, int, int]]) -> list[NDArray[np.uint8]]:
        """Return samples [n, H, W, C] for each request (n, label, seed); one call computes at most 64 samples."""
        counts = [n for n, _, _ in requests]
        latents = np.concatenate([self._latents(seed, n) for n, _, seed in requests])
        labels = np.repeat(np.array([label for _, label, _ in requests], np.int64), counts)
        samples = self._run(latents, labels)
        return [samples[end - n : end] for n, end in zip(counts, np.cumsum(counts), strict=True)]

    def samples_of_rows(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return samples [N, H, W, C] for rows [N, 3] of one or more requests, or parts of requests."""
        starts = np.flatnonzero(np.diff(rows[:, 0], prepend=-1) | (np.diff(rows[:, 2], prepend=-1) - 1))
        latents = [
            self._latents(int(rows[start, 0]), int(rows[end - 1, 2]) + 1)[rows[start, 2] :]
            for start, end in zip(starts, [*starts[1:], len(rows)], strict=True)
        ]
        return self._run(np.concatenate(latents), rows[:, 1])

    def _run(self, latents: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.uint8]:
        parts = [
            self._session.run(["samples"], {"latents": latents[i:end], "labels": labels[i:end]})[0]
            for i, end in ((i, i + MAX_BATCH_SIZE) for i in range(0, len(labels), MAX_BATCH_SIZE))
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _latents(self, seed: int, n: int) -> NDArray[np.float32]:
        return np.random.Generator(np.random.Philox(seed)).standard_normal((n, self._dimension), np.float32)


class JoiningQueue:
    """Join the requests that wait into one call, for servers that have no batching; runs on the event loop."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._waiting: asyncio.Queue[tuple[tuple[int, int, int], asyncio.Future[NDArray[np.uint8]]]] = asyncio.Queue()
        self._worker = asyncio.get_running_loop().create_task(self._work())

    async def samples(self, n: int, label: int, seed: int) -> NDArray[np.uint8]:
        drawn: asyncio.Future[NDArray[np.uint8]] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait(((n, label, seed), drawn))
        return await drawn

    async def _work(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            while not self._waiting.empty() and sum(request[0] for request, _ in batch) < MAX_BATCH_SIZE:
                batch.append(self._waiting.get_nowait())
            parts = self._generator.samples([request for request, _ in batch])
            for (_, drawn), part in zip(batch, parts, strict=True):
                if not drawn.done():
                    drawn.set_result(part)


def free_ports(count: int) -> list[int]:
    """Return ports on which nothing listens now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
