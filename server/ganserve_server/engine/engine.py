"""Run one ONNX graph on its sessions, on one device or several. N = batch."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_server.engine.bound_session import BoundSession
from ganserve_server.engine.lone_calls import LoneCalls, Session, measure_lone_calls
from ganserve_server.engine.providers import ON_CPU, OPENVINO
from ganserve_server.engine.sessions import DTYPES, EngineConfig, Feed, PlainSession, trial_failure, uses_tf32
from ganserve_server.error_text import counted, listed, shown
from ganserve_server.errors import EngineError, MemoryFullError, PackageError

_TRIALS, _FAR = 5, 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorSpec:
    """An input or output of a graph."""

    name: str
    dtype: np.dtype[np.generic]
    sample_shape: tuple[int, ...] = ()
    """Shape without the batch axis."""

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample."""
        return math.prod(self.sample_shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join(['N', *map(str, self.sample_shape)])}]"


class Engine:
    """A graph, loaded and checked. Calls of different workers may run at once."""

    def __init__(
        self,
        file: str,
        content: bytes,
        config: EngineConfig,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        more_outputs: Sequence[TensorSpec] = (),
    ) -> None:
        """Make the sessions; takes seconds, so never call it on an event loop.

        The graph must have exactly these inputs; it may have more outputs. Calls return `outputs`, and `more_outputs`
        only if they are asked for. `file` is its name in messages.

        Raises:
            ProviderError: The requested execution provider is not available.
            PackageError: onnxruntime cannot load the graph, or its inputs or outputs differ.
        """
        self.file = file
        self.config = config
        self._outputs = [*outputs, *more_outputs]
        self._usual = len(outputs)
        names = [tensor.name for tensor in self._outputs]
        kind = _session_type(config)
        devices = (0,) if config.provider in ON_CPU else config.devices
        numbers = [device for device in devices for _ in range(config.instances)]
        self._sessions = [kind(file, content, config, names, device) for device in numbers]
        self.lone_calls: LoneCalls | None = None
        """Session for calls that run alone; None: they run like others."""
        self.tf32 = uses_tf32(content, config)
        """True if float32 may be rounded to TF32."""
        self.cuda_graphs = any(session.cuda_graphs for session in self._sessions)
        """True if calls replay CUDA graphs."""
        self.instances = [session.device for session in self._sessions]
        """The device of each session, such as "cuda:1"."""
        self.nodes_by_provider = self._sessions[0].nodes_by_provider
        """Number of nodes that each execution provider runs."""
        first = self._sessions[0]
        self.providers = first.providers
        """The execution providers of its sessions, first choice first."""
        _check_tensors(file, "input", first.inputs, inputs, exact=True)
        _check_tensors(file, "output", first.outputs, self._outputs, exact=False)

    def run(self, feed: Feed, worker: int = 0, *, more: bool = False) -> list[NDArray[np.generic]]:
        """Run the graph on the worker's session; return the outputs chosen at construction, [N, ...].

        `more` asks for those that only some calls need. Worker -1 stands for a call that runs alone. The GIL is
        released meanwhile.

        Raises:
            MemoryFullError: The device had no memory left.
            EngineError: The graph failed to run, or an output has a wrong shape or type.
        """
        outputs, lone = None if more else self._usual, self.lone_calls
        session = self._sessions[worker % len(self._sessions)] if worker >= 0 or lone is None else lone.session
        return self._checked(feed, session.run(feed, outputs))

    def measure_lone_calls(self, content: bytes, full: Feed) -> None:
        """Find out whether calls that run alone are faster on all cores; `full` is a feed of the largest batch."""
        names = [tensor.name for tensor in self._outputs]

        def make(config: EngineConfig) -> Session:
            return _session_type(config)(self.file, content, config, names, 0)

        self.lone_calls = measure_lone_calls(make, self._sessions[0], self.config, full, len(content))

    def warm_up(self, feeds: Sequence[Feed]) -> list[list[NDArray[np.generic]]]:
        """Run the feeds on every session and return all outputs of the first session for each feed.

        A run that fails, or gives a wrong shape or values that are not finite, raises PackageError.
        """
        tried = [[self._try(session, feed) for feed in feeds] for session in self._sessions]
        return tried[0]

    def prepare(self, feeds: Sequence[Feed], worker: int) -> None:
        """Run the feeds that a worker's thread must run before requests wait for it; called in that thread."""
        session = self._sessions[worker % len(self._sessions)]
        if session.cuda_graphs:  # each thread captures its own
            for feed in feeds:
                self._try(session, feed)

    def quick_samples(self, alone: Feed, full: Feed, limit_s: float) -> int:
        """Return how many samples a call computes within `limit_s`, at most a full batch.

        Both feeds have run before: one sample `alone`, and a `full` batch. A limit of 0 gives 0 without measuring.
        """
        if not limit_s:
            return 0
        most = _count(full)
        one_s, all_s = self._fastest_s(alone, limit_s), self._fastest_s(full, limit_s)
        if all_s < limit_s:
            return most
        if one_s >= limit_s:
            return 0
        return 1 + int((limit_s - one_s) / (all_s - one_s) * (most - 1))

    def _fastest_s(self, feed: Feed, enough_s: float) -> float:
        """Return the time of the fastest of a few calls, or of the first that is fast enough or far from it."""
        fastest_s = math.inf
        for trial in range(_TRIALS):
            start = time.perf_counter()
            self._sessions[0].run(feed, self._usual)
            fastest_s = min(fastest_s, time.perf_counter() - start)
            # Once may have been a disturbance, twice is not.
            if fastest_s < enough_s or (trial and fastest_s > _FAR * enough_s):
                break
        return fastest_s

    def _try(self, session: Session, feed: Feed) -> list[NDArray[np.generic]]:
        count = _count(feed)
        try:
            results = self._checked(feed, session.run(feed))
        except (EngineError, MemoryFullError) as error:
            raise trial_failure(session.device, count, error) from error
        for tensor, result in zip(self._outputs, results, strict=True):
            if result.dtype.kind == "f" and not np.isfinite(result).all():
                name = tensor.name
                raise PackageError(
                    f"a trial run with {counted(count, 'sample')}: {self.file} gave {name} that is not finite"
                )
        return results

    def _checked(self, feed: Feed, results: list[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
        count = _count(feed)
        for tensor, result in zip(self._outputs, results, strict=False):
            if result.shape != (count, *tensor.sample_shape) or result.dtype != tensor.dtype:
                raise EngineError(
                    f"{self.file} gave {tensor.name} as {result.dtype} {list(result.shape)}; "
                    f"expected {tensor.dtype} {[count, *tensor.sample_shape]}"
                )
        return results


def _session_type(config: EngineConfig) -> type[Session]:
    if config.provider == OPENVINO:
        from ganserve_server.engine.openvino_session import OpenVinoSession

        return OpenVinoSession
    return BoundSession if config.buckets else PlainSession


def _count(feed: Feed) -> int:
    return len(next(iter(feed.values())))


def _check_tensors(file: str, kind: str, given: Sequence[Any], expected: Sequence[TensorSpec], *, exact: bool) -> None:
    """Compare a graph's inputs or outputs, as onnxruntime describes them, with the expected ones."""
    by_name = {argument.name: argument for argument in given}
    missing = [str(tensor) for tensor in expected if tensor.name not in by_name]
    surplus = sorted(by_name.keys() - {tensor.name for tensor in expected}) if exact else []
    if missing or surplus:
        raise PackageError(
            f"{file} has the {kind}s [{listed(sorted(by_name), repr)}]; expected {', '.join(map(str, expected))}"
        )
    for tensor in expected:
        argument = by_name[tensor.name]
        dtype = DTYPES.get(argument.type)
        # A symbolic extent is a string or None; a shape that the graph leaves out is empty.
        shape = list(argument.shape)
        fits = len(shape) == 1 + len(tensor.sample_shape) and all(
            extent == wanted if isinstance(extent, int) else kind == "output"
            for extent, wanted in zip(shape[1:], tensor.sample_shape, strict=True)
        )
        if dtype != tensor.dtype or not fits:
            raise PackageError(f"{file}: {kind} {tensor.name} is {argument.type} {shown(shape)}; expected {tensor}")
        if isinstance(shape[0], int):
            raise PackageError(
                f"{file}: {kind} {tensor.name} is fixed to batches of {shape[0]}; export it with a symbolic batch axis"
            )
