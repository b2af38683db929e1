"""Run a graph with a few fixed batch sizes, from and to memory that stays in place, and replay CUDA graphs.

N = batch.
"""

from __future__ import annotations

import bisect
import hashlib
import logging
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ganserve_server.engine.choices import CHOICES
from ganserve_server.engine.providers import CPU, CUDA
from ganserve_server.engine.sessions import (
    CAPTURE_LOCK,
    DTYPES,
    EngineConfig,
    Feed,
    make_session,
    nodes_by_provider,
    provider_options,
    run_failure,
    trial_failure,
)
from ganserve_server.errors import PackageError

_SEARCHES, _LAYOUTS = ("heuristic", "exhaustive"), ("nchw", "nhwc")
_TRIALS = 5
_RUNS_BEFORE_CAPTURE = 2
_log = logging.getLogger(__name__)


def bucket_of(buckets: Sequence[int], count: int) -> int:
    """Return the smallest bucket that holds `count` samples, which is at most the largest bucket."""
    return buckets[bisect.bisect_left(buckets, count)]


class BoundSession:
    """A session with fixed memory for each bucket. Its calls wait for each other.

    onnxruntime keeps CUDA graphs by thread: a thread's first call of a bucket captures one, and all other calls on the
    device wait for that.
    """

    def __init__(
        self, file: str, content: bytes, config: EngineConfig, output_names: Sequence[str], device: int
    ) -> None:
        """Make the session; `file` is the name in messages, and `output_names` are the outputs to compute.

        Raises ProviderError, or PackageError if onnxruntime cannot load the graph or run the largest bucket.
        """
        self.file = file
        self._device = ("cpu", 0) if config.provider == CPU else ("cuda", device)
        self.device = "cpu" if config.provider == CPU else f"cuda:{device}"
        self._buckets = config.buckets
        self._output_names = list(output_names)
        self._lock = threading.Lock()
        self._memory: dict[int, _BucketMemory] = {}
        chosen = self._choose(content, config, device)
        self.session, self.cuda_graphs = chosen.session, chosen.graphs
        # Captured graphs keep reading and writing this memory, so never free it.
        self._memory = chosen.memory
        self.nodes_by_provider = nodes_by_provider(self.session)
        self.providers = tuple[str, ...](self.session.get_providers())
        self.inputs, self.outputs = self.session.get_inputs(), self.session.get_outputs()

    def run(self, feed: Feed, outputs: int | None = None) -> list[NDArray[np.generic]]:
        """Return the first `outputs` outputs, or all, for the feed's N samples, at most the largest bucket."""
        count = len(next(iter(feed.values())))
        with self._lock:
            try:
                # A captured graph computes all of them.
                return self._run(self.session, feed, bucket_of(self._buckets, count), count)[:outputs]
            except Exception as error:
                raise run_failure(self.file, error) from error

    def _choose(self, content: bytes, config: EngineConfig, device: int) -> _Candidate:
        """Return the fastest session; the only one if there is nothing to compare."""
        layouts: Sequence[str] = _LAYOUTS if config.conv_layout == "measure" else [config.conv_layout]
        searches: Sequence[str] = _SEARCHES if config.conv_search == "measure" else [config.conv_search]
        if config.provider != CUDA:  # other providers have no such options
            layouts, searches = layouts[:1], searches[:1]
        if len(layouts) * len(searches) == 1:
            return self._try(content, config, device, (searches[0], layouts[0]), compare=False)
        fastest: list[_Candidate] = []

        def choose() -> tuple[str, str]:
            fastest.append(self._fastest(content, config, device, layouts, searches))
            return fastest[0].way

        # Algorithms differ in the last bits, so all processes of a server use the same one.
        key = "way", hashlib.sha256(content).hexdigest(), replace(config, devices=())
        way = CHOICES.make(key, choose)
        return fastest[0] if fastest else self._try(content, config, device, way, compare=False)

    def _fastest(
        self, content: bytes, config: EngineConfig, device: int, layouts: Sequence[str], searches: Sequence[str]
    ) -> _Candidate:
        best = self._try(content, config, device, (searches[0], layouts[0]), compare=True)
        # Vary one factor at a time: each session takes seconds to make.
        for layout in layouts[1:]:
            best = self._faster(best, content, config, device, (searches[0], layout))
        for search in searches[1:]:
            best = self._faster(best, content, config, device, (search, best.way[1]))
        _log.info("%s on %s: %s, %.3f ms a call", self.file, self.device, ", ".join(best.way), best.seconds * 1e3)
        return best

    def _faster(
        self, best: _Candidate, content: bytes, config: EngineConfig, device: int, way: tuple[str, str]
    ) -> _Candidate:
        """Return the faster one of the best session so far and a new one; the new one may fail."""
        try:
            other = self._try(content, config, device, way, compare=True)
        except PackageError as error:
            _log.info("%s on %s cannot run by %s: %s", self.file, self.device, ", ".join(way), error)
            return best
        return min(best, other, key=lambda one: one.seconds)

    def _try(
        self, content: bytes, config: EngineConfig, device: int, way: tuple[str, str], *, compare: bool
    ) -> _Candidate:
        self._memory = {}
        session, graphs = self._make(content, config, device, way)
        seconds = self._measure(session) if compare else 0.0
        return _Candidate(seconds=seconds, way=way, session=session, graphs=graphs, memory=self._memory)

    def _make(
        self, content: bytes, config: EngineConfig, device: int, way: tuple[str, str]
    ) -> tuple[onnxruntime.InferenceSession, bool]:
        wanted = config.provider == CUDA and config.cuda_graphs != "off"
        try:
            providers = provider_options(content, config, device, way, graphs=wanted)
            session = make_session(self.file, content, config, providers)
            if wanted:
                self._measure(session)  # captures
            return session, wanted
        except PackageError as error:
            # onnxruntime refuses graphs with nodes outside CUDA, and some that it accepts cannot be captured.
            if not wanted or config.cuda_graphs == "on":
                raise
            self._memory.clear()
            _log.info("%s on %s runs without CUDA graphs: %s", self.file, self.device, error)
            providers = provider_options(content, config, device, way, graphs=False)
            return make_session(self.file, content, config, providers), False

    def _measure(self, session: onnxruntime.InferenceSession) -> float:
        """Return the seconds of one call with the largest bucket and zeros as inputs."""
        bucket = self._buckets[-1]
        feed = {
            tensor.name: np.zeros((bucket, *tensor.shape[1:]), DTYPES.get(tensor.type, np.float32))
            for tensor in session.get_inputs()
        }
        seconds = []
        for _ in range(_TRIALS + 2):  # the first two search, allocate and capture
            start = time.perf_counter()
            try:
                self._run(session, feed, bucket, bucket)
            except Exception as error:
                raise trial_failure(self.device, bucket, run_failure(self.file, error)) from error
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds[2:])

    def _run(
        self, session: onnxruntime.InferenceSession, feed: Feed, bucket: int, count: int
    ) -> list[NDArray[np.generic]]:
        memory = self._memory.get(bucket)
        if memory is None:
            number = self._buckets.index(bucket)
            # cuDNN's search makes the first run take seconds: captures wait for it, calls do not.
            with CAPTURE_LOCK.shared():
                memory = _BucketMemory(session, feed, bucket, number, self._output_names, self._device)
                self._memory[bucket] = memory
        with CAPTURE_LOCK.shared() if memory.known_here else CAPTURE_LOCK.exclusive():
            return memory.run(session, feed, count)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Candidate:
    """A session made in one way."""

    seconds: float
    """Time of a call with the largest bucket; 0 if it was not measured."""
    way: tuple[str, str]
    """cuDNN's search, and the layout."""
    session: onnxruntime.InferenceSession
    graphs: bool
    """True if it replays CUDA graphs."""
    memory: dict[int, _BucketMemory]
    """The memory of the buckets that have run."""


class _BucketMemory:
    """The memory of one bucket: inputs on the host and on the device, outputs on the device."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        feed: Feed,
        bucket: int,
        number: int,
        output_names: Sequence[str],
        device: tuple[str, int],
    ) -> None:
        self._host = {name: np.zeros((bucket, *array.shape[1:]), array.dtype) for name, array in feed.items()}
        self._inputs = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(array, *device) for name, array in self._host.items()
        }
        self._binding = session.io_binding()
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        tensors = {tensor.name: tensor for tensor in session.get_outputs()}
        for name in output_names:
            shape = [bucket, *tensors[name].shape[1:]]
            if all(isinstance(extent, int) for extent in shape):
                dtype = DTYPES[tensors[name].type].type
                value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, dtype, *device)
                self._binding.bind_ortvalue_output(name, value)
            else:  # a graph with open extents gets its memory at each call, and no CUDA graph
                self._binding.bind_output(name, *device)
        self._options = onnxruntime.RunOptions()
        # Each bucket has its own captured graph. Number 0 is onnxruntime's default graph.
        self._options.add_run_config_entry("gpu_graph_id", str(number + 1))
        self._threads = threading.local()
        if device[0] == "cuda":
            self.allocate(session)

    @property
    def known_here(self) -> bool:
        """True if this thread has run it before, and so captured its graph."""
        return hasattr(self._threads, "ran")

    def allocate(self, session: onnxruntime.InferenceSession) -> None:
        """Make the session allocate the memory of a call, which it cannot do during a capture.

        onnxruntime's own runs before a capture do not always allocate enough (microsoft/onnxruntime#14942), because
        its arena takes only what is requested.
        """
        options = onnxruntime.RunOptions()
        options.add_run_config_entry("gpu_graph_id", "-1")  # neither capture nor replay
        for _ in range(_RUNS_BEFORE_CAPTURE):
            session.run_with_iobinding(self._binding, options)

    def run(self, session: onnxruntime.InferenceSession, feed: Feed, count: int) -> list[NDArray[np.generic]]:
        for name, array in feed.items():
            self._host[name][:count] = array
            self._inputs[name].update_inplace(self._host[name])
        session.run_with_iobinding(self._binding, self._options)
        outputs: list[NDArray[np.generic]] = self._binding.copy_outputs_to_cpu()
        self._threads.ran = True
        return [output[:count] for output in outputs]
