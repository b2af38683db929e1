"""Measure whether a call that runs alone is faster on all cores of the CPU. N = batch.

Under load, one call of one thread on each core has the highest throughput. While the other workers are idle, a call of
few samples leaves cores unused; so a second session of the same graph runs it on all of them, if that is faster and
gives the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ganserve_server.engine.sessions import EngineConfig, Feed

# Shorter calls are not worth a session, and larger graphs not the memory: it has its own copy of the weights.
_WORTH_S, _MOST_BYTES = 0.5e-3, 256 * 2**20
_MOST_SAMPLES = 16
_FASTER, _SPINNING_FASTER = 0.9, 0.8  # spinning threads suffer from other programs, so they must be much faster
_TRIALS, _ENOUGH_S = 7, 0.3


class Session(Protocol):
    """A graph on one device."""

    cuda_graphs: bool
    device: str
    providers: tuple[str, ...]
    nodes_by_provider: dict[str, int]
    inputs: Sequence[Any]
    """Described as onnxruntime does: name, type, shape."""
    outputs: Sequence[Any]

    def __init__(
        self, file: str, content: bytes, config: EngineConfig, output_names: Sequence[str], device: int, /
    ) -> None: ...

    def run(self, feed: Feed, outputs: int | None = None, /) -> list[NDArray[np.generic]]:
        """Return the first `outputs` outputs, or all, for the feed's N samples."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class LoneCalls:
    """A faster way to run a call alone."""

    session: Session
    threads: int
    samples: int
    """Most samples of such a call."""


def measure_lone_calls(
    make: Callable[[EngineConfig], Session], usual: Session, config: EngineConfig, full: Feed, size_bytes: int
) -> LoneCalls | None:
    """Return a faster way to run a call alone; None if there is none.

    `make` makes a session, `usual` is that of calls beside others, `full` a feed of the largest batch, and `size_bytes`
    that of the graph. Takes a second for a large graph.
    """
    if config.lone_threads <= config.threads or size_bytes > _MOST_BYTES:
        return None
    usual_s = _fastest_s([usual], _first(full, 1))[0]
    if usual_s < _WORTH_S:
        return None
    best, best_s = None, _FASTER * usual_s
    for spinning in dict.fromkeys((config.spinning, True)):
        session = make(replace(config, threads=config.lone_threads, calls=1, spinning=spinning))
        if not _same(usual, session, _first(full, 1)):
            return None
        session_s = _fastest_s([usual, session], _first(full, 1))[1]
        if session_s < best_s:
            best, best_s = session, _SPINNING_FASTER * session_s
    if best is None:
        return None
    samples = _most_samples(best, usual, config.calls, full)
    return LoneCalls(session=best, threads=config.lone_threads, samples=samples)


def _most_samples(lone: Session, usual: Session, calls: int, full: Feed) -> int:
    """Return the most samples, at least 1, that one call on all cores computes faster than all workers together."""
    most = 1
    while 2 * most <= min(_MOST_SAMPLES, _count(full)):
        shared_s = _fastest_s([usual], _first(full, math.ceil(2 * most / calls)))[0]
        lone_s = _fastest_s([lone], _first(full, 2 * most))[0]
        sizes = range(most + 1, 2 * most + 1)
        if lone_s > _FASTER * shared_s or not all(_same(usual, lone, _first(full, size)) for size in sizes):
            break
        most *= 2
    return most


def _fastest_s(sessions: Sequence[Session], feed: Feed) -> list[float]:
    """Return the time of each session's fastest call; they take turns, as other programs disturb all of them alike."""
    fastest = [math.inf for _ in sessions]
    began = time.perf_counter()
    for trial in range(_TRIALS + 1):
        for index, session in enumerate(sessions):
            start = time.perf_counter()
            session.run(feed)
            if trial:  # the first one warms up
                fastest[index] = min(fastest[index], time.perf_counter() - start)
        if trial and time.perf_counter() - began > _ENOUGH_S:
            break
    return fastest


def _same(one: Session, other: Session, feed: Feed) -> bool:
    return all(
        np.array_equal(ours, theirs, equal_nan=True)
        for ours, theirs in zip(one.run(feed), other.run(feed), strict=True)
    )


def _first(feed: Feed, count: int) -> Feed:
    return {name: values[:count] for name, values in feed.items()}


def _count(feed: Feed) -> int:
    return len(next(iter(feed.values())))
