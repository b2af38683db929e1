"""Runs one ONNX graph on its sessions: one or several, on one device or several. N = batch."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from ganserve_server.engine.providers import CPU
from ganserve_server.engine.sessions import BoundSession, PlainSession, SessionConfig, may_round, trial_failure
from ganserve_server.errors import EngineError, MemoryFullError, PackageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_TRIALS = 5
_ORT_DTYPES = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(int64)": np.dtype(np.int64),
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EngineConfig(SessionConfig):
    """How graphs are run."""

    devices: tuple[int, ...] = (0,)
    """GPUs, by CUDA's numbers."""
    instances: int = 1
    """Sessions of each graph on each device."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TensorPort:
    """An input or output that a graph must have."""

    name: str
    dtype: np.dtype[np.generic]
    sample_shape: tuple[int, ...]
    """Shape without the batch axis."""

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join(['N', *map(str, self.sample_shape)])}]"


class Engine:
    """One graph, loaded and checked. Calls of different workers may run at once."""

    def __init__(
        self,
        file: str,
        content: bytes,
        config: EngineConfig,
        inputs: Sequence[TensorPort],
        outputs: Sequence[TensorPort],
    ) -> None:
        """Make the sessions; takes seconds, so not on an event loop.

        Args:
            file: Name of the graph's file, for messages.
            content: The ONNX file.
            config: How to run it.
            inputs: The inputs that the graph must have, and no others.
            outputs: The outputs that the graph must have; it may have more.

        Raises:
            ProviderError: CUDA was asked for and cannot be had.
            PackageError: Onnxruntime cannot load the graph, or its inputs or outputs are others.
        """
        self.file = file
        self.config = config
        self._outputs = outputs
        names = [port.name for port in outputs]
        kind = BoundSession if config.buckets else PlainSession
        devices = (0,) if config.provider == CPU else config.devices
        self._sessions = [
            kind(file, content, config, names, device) for device in devices for _ in range(config.instances)
        ]
        self.tf32 = may_round(content, config)
        """Whether float32 may be rounded to TF32 in it."""
        described = self._sessions[0].session
        _check_ports(file, "input", described.get_inputs(), inputs, exact=True)
        _check_ports(file, "output", described.get_outputs(), outputs, exact=False)

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers of its sessions, first choice first."""
        return tuple(self._sessions[0].session.get_providers())

    @property
    def nodes_by_provider(self) -> dict[str, int]:
        """How many nodes each execution provider runs."""
        return self._sessions[0].nodes_by_provider

    @property
    def instances(self) -> list[str]:
        """The device of each session, such as "cuda:1"."""
        return [session.device for session in self._sessions]

    @property
    def cuda_graphs(self) -> bool:
        """Whether calls are replayed as CUDA graphs."""
        return any(session.cuda_graphs for session in self._sessions)

    def run(self, feed: Mapping[str, NDArray[np.generic]], worker: int = 0) -> list[NDArray[np.generic]]:
        """Run the graph; releases the GIL meanwhile.

        Args:
            feed: Each input by name, [N, ...].
            worker: Who calls: workers share the sessions out among them by this number.

        Returns:
            The outputs that were asked for at construction, in that order, [N, ...].

        Raises:
            MemoryFullError: The device had no memory left for it.
            EngineError: The execution failed, or an output has another shape or type than it must have.
        """
        return self._checked(feed, self._sessions[worker % len(self._sessions)].run(feed))

    def warm_up(self, feeds: Sequence[Mapping[str, NDArray[np.generic]]]) -> list[list[NDArray[np.generic]]]:
        """Try the graph out on every session, and returns the first one's outputs for each feed.

        Raises:
            PackageError: It fails, or gives what it must not.
        """
        tried = [[self._try_out(session, feed) for feed in feeds] for session in self._sessions]
        return tried[0]

    def prepare(self, feeds: Sequence[Mapping[str, NDArray[np.generic]]], worker: int) -> None:
        """Run what a worker's thread must have run before requests wait for it; called in that thread.

        Raises:
            PackageError: It fails.
        """
        session = self._sessions[worker % len(self._sessions)]
        if session.per_thread:
            for feed in feeds:
                self._try_out(session, feed)

    def quick_samples(
        self, alone: Mapping[str, NDArray[np.generic]], full: Mapping[str, NDArray[np.generic]], limit_s: float
    ) -> int:
        """Return how many samples a call computes in less than a time, at most those of the full batch.

        Args:
            alone: A feed of one sample, tried out before.
            full: A feed of a full batch, tried out before.
            limit_s: The time; 0: nothing is measured.
        """
        if not limit_s:
            return 0
        most = _count(full)
        one_s, all_s = self._quickest_s(alone, limit_s), self._quickest_s(full, limit_s)
        if all_s < limit_s:
            return most
        if one_s >= limit_s:
            return 0
        return 1 + int((limit_s - one_s) / (all_s - one_s) * (most - 1))

    def _quickest_s(self, feed: Mapping[str, NDArray[np.generic]], enough_s: float) -> float:
        """Return the time of a call: the least of a few, or the first that is quick enough."""
        quickest_s = math.inf
        for _ in range(_TRIALS):
            start = time.perf_counter()
            self._sessions[0].run(feed)
            quickest_s = min(quickest_s, time.perf_counter() - start)
            if quickest_s < enough_s:
                break
        return quickest_s

    def _try_out(
        self, session: PlainSession | BoundSession, feed: Mapping[str, NDArray[np.generic]]
    ) -> list[NDArray[np.generic]]:
        count = _count(feed)
        try:
            results = self._checked(feed, session.run(feed))
        except (EngineError, MemoryFullError) as error:
            raise trial_failure(session.device, count, error) from error
        for port, result in zip(self._outputs, results, strict=True):
            if result.dtype.kind == "f" and not np.isfinite(result).all():
                raise PackageError(f"a trial run with {count} samples: {self.file} gave {port.name} that is not finite")
        return results

    def _checked(
        self, feed: Mapping[str, NDArray[np.generic]], results: list[NDArray[np.generic]]
    ) -> list[NDArray[np.generic]]:
        count = _count(feed)
        for port, result in zip(self._outputs, results, strict=True):
            if result.shape != (count, *port.sample_shape) or result.dtype != port.dtype:
                raise EngineError(
                    f"{self.file} gave {port.name} as {result.dtype} {list(result.shape)}; "
                    f"expected {port.dtype} {[count, *port.sample_shape]}"
                )
        return results


def _count(feed: Mapping[str, NDArray[np.generic]]) -> int:
    return len(next(iter(feed.values())))


def _check_ports(file: str, kind: str, found: Sequence[Any], expected: Sequence[TensorPort], *, exact: bool) -> None:
    """Compare a graph's inputs or outputs, as onnxruntime describes them, with those that it must have."""
    by_name = {argument.name: argument for argument in found}
    missing = [str(port) for port in expected if port.name not in by_name]
    surplus = sorted(by_name.keys() - {port.name for port in expected}) if exact else []
    if missing or surplus:
        raise PackageError(f"{file} has the {kind}s {sorted(by_name)}; expected {', '.join(map(str, expected))}")
    for port in expected:
        argument = by_name[port.name]
        dtype = _ORT_DTYPES.get(argument.type)
        # A symbolic extent is a string or None; onnxruntime leaves the shape out where the graph does.
        shape = list(argument.shape)
        fits = len(shape) == 1 + len(port.sample_shape) and all(
            extent == wanted if isinstance(extent, int) else kind == "output"
            for extent, wanted in zip(shape[1:], port.sample_shape, strict=True)
        )
        if dtype != port.dtype or not fits:
            raise PackageError(f"{file}: {kind} {port.name} is {argument.type} {shape}; expected {port}")
        if isinstance(shape[0], int):
            raise PackageError(
                f"{file}: {kind} {port.name} is fixed to batches of {shape[0]}; export it with a symbolic batch axis"
            )
