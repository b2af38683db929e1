"""onnxruntime's sessions of one graph, with their truth: which execution provider they got, and for which nodes.

`PlainSession` runs batches of any size; `BoundSession` runs a few fixed ones, from and to memory that stays where it
is. On the CPU a plain session is the quicker one (by 1 to 4 %, 2 cores, onnxruntime 1.31); on a GPU a new batch size
costs seconds, and CUDA graphs need fixed addresses. N = batch.
"""

from __future__ import annotations

import bisect
import collections
import contextlib
import dataclasses
import logging
import statistics
import threading
import time
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnxruntime

from ganserve_server.engine.captures import Captures
from ganserve_server.engine.providers import CPU, CUDA, TENSORRT
from ganserve_server.errors import EngineError, MemoryFullError, PackageError, ProviderError
from ganserve_server.models.onnx_files import precision_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Feed = Mapping[str, NDArray[np.generic]]

ConvSearch = Literal["measure", "heuristic", "exhaustive", "default"]
ConvLayout = Literal["measure", "nchw", "nhwc"]
Switch = Literal["auto", "on", "off"]

_DTYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int64)": np.int64}
# What onnxruntime, CUDA, cuDNN and cuBLAS say when memory has run out.
_OUT_OF_MEMORY = ("failed to allocate", "out of memory", "alloc_failed", "allocation_failed", "available memory of")
_SEARCHES, _LAYOUTS = ("heuristic", "exhaustive"), ("nchw", "nhwc")
_TRIALS = 5
_RUNS_BEFORE_CAPTURE = 2
_captures = Captures()
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SessionConfig:
    """How a graph is run."""

    provider: str
    """onnxruntime's name of the execution provider, from `providers.choose_provider`."""
    threads: int
    """Threads of one call on the CPU."""
    spinning: bool = False
    """Whether these threads burn their cores while they wait for more."""
    buckets: tuple[int, ...] = ()
    """The batch sizes that calls are padded to, ascending; none: calls have any size."""
    cuda_graphs: Switch = "auto"
    """Whether calls are replayed as CUDA graphs. auto: where all nodes are CUDA's."""
    conv_search: ConvSearch = "measure"
    """How cuDNN chooses a convolution's algorithm: by its heuristics A, B ("exhaustive", as onnxruntime calls them) or
    as what works everywhere ("default"). measure: A or B, whichever is quicker for the largest bucket."""
    conv_layout: ConvLayout = "measure"
    """Whether convolutions run channels last. measure: as is quicker for the largest bucket."""
    tf32: bool = False
    """Whether float32 may be rounded to TF32, with 10 bits of mantissa, inside matrix products and convolutions."""
    gpu_memory_limit_mib: int = 0
    """Most memory of each session's arena. 0: no limit."""


def bucket_of(buckets: Sequence[int], count: int) -> int:
    """Return the smallest bucket that holds `count` samples, which is at most the largest one."""
    return buckets[bisect.bisect_left(buckets, count)]


def trial_failure(device: str, count: int, error: EngineError | MemoryFullError) -> PackageError:
    """Return why a model cannot be loaded whose graph was tried out with `count` samples and failed."""
    if isinstance(error, MemoryFullError):
        return PackageError(
            f"a trial run with {count} samples found no memory left on {device}: lower --max-batch-size, raise "
            "--gpu-memory-limit-mib where it is set, or serve fewer models there"
        )
    return PackageError(f"a trial run with {count} samples failed: {error}")


class PlainSession:
    """A session on the CPU; may be called from several threads at once."""

    cuda_graphs = False
    per_thread = False

    def __init__(
        self, file: str, content: bytes, config: SessionConfig, output_names: Sequence[str], device: int
    ) -> None:
        """Make the session. See `BoundSession`."""
        self.file = file
        self.device = f"cpu:{device}" if device else "cpu"
        self.session = _make_session(file, content, config, [(CPU, {})])
        self.nodes_by_provider = _nodes_by_provider(self.session)
        self._output_names = list(output_names)
        self._options = onnxruntime.RunOptions()  # else it makes one for every call

    def run(self, feed: Feed) -> list[NDArray[np.generic]]:
        """Return the outputs.

        Raises:
            EngineError: The execution failed.
        """
        try:
            results: list[NDArray[np.generic]] = self.session.run(self._output_names, feed, self._options)
        except Exception as error:
            raise _failure(self.file, error) from error
        return results


class BoundSession:
    """A session whose inputs and outputs stay in place, one set a bucket. Its calls wait for each other.

    onnxruntime keeps CUDA graphs by thread: the first call of a bucket in a thread captures one, for which all other
    calls on the device must wait.
    """

    def __init__(
        self, file: str, content: bytes, config: SessionConfig, output_names: Sequence[str], device: int
    ) -> None:
        """Make the session.

        Args:
            file: Name of the graph's file, for messages.
            content: The ONNX file.
            config: How to run it.
            output_names: The outputs to compute.
            device: Which of the devices.

        Raises:
            ProviderError: The execution provider cannot be had.
            PackageError: Onnxruntime cannot load the graph, or not run the largest bucket.
        """
        self.file = file
        self._device = ("cpu", 0) if config.provider == CPU else ("cuda", device)
        self.device = "cpu" if config.provider == CPU else f"cuda:{device}"
        self._buckets = config.buckets
        self._output_names = list(output_names)
        self._lock = threading.Lock()
        self._bound: dict[int, _Bound] = {}
        chosen = self._choose(content, config, device)
        self.session, self.cuda_graphs = chosen.session, chosen.graphs
        # What graphs were captured with stays: they read and write its memory for ever.
        self._bound = chosen.bound
        self.nodes_by_provider = _nodes_by_provider(self.session)

    @property
    def per_thread(self) -> bool:
        """Whether each thread that is to call it should have called it with each bucket before."""
        return self.cuda_graphs

    def run(self, feed: Feed) -> list[NDArray[np.generic]]:
        """Return the outputs for the feed's N samples; N is at most the largest bucket.

        Raises:
            MemoryFullError: The device had no memory left for it.
            EngineError: The execution failed.
        """
        count = len(next(iter(feed.values())))
        with self._lock:
            try:
                return self._run(self.session, feed, bucket_of(self._buckets, count), count)
            except Exception as error:
                raise _failure(self.file, error) from error

    def _choose(self, content: bytes, config: SessionConfig, device: int) -> _Choice:
        """Return the quickest session, the only one if there is but one way to make it."""
        layouts: Sequence[str] = _LAYOUTS if config.conv_layout == "measure" else [config.conv_layout]
        searches: Sequence[str] = _SEARCHES if config.conv_search == "measure" else [config.conv_search]
        if config.provider != CUDA:  # what is not CUDA's has no such choice
            layouts, searches = layouts[:1], searches[:1]
        compare = len(layouts) * len(searches) > 1
        best = self._try(content, config, device, (searches[0], layouts[0]), compare=compare)
        # One factor at a time: each session takes seconds to make.
        for layout in layouts[1:]:
            best = self._quicker(best, content, config, device, (searches[0], layout))
        for search in searches[1:]:
            best = self._quicker(best, content, config, device, (search, best.way[1]))
        if compare:
            _log.info("%s on %s: %s, %.3f ms a call", self.file, self.device, ", ".join(best.way), best.seconds * 1e3)
        return best

    def _quicker(
        self, best: _Choice, content: bytes, config: SessionConfig, device: int, way: tuple[str, str]
    ) -> _Choice:
        """Return the quicker one of the best so far and another, which may fail."""
        try:
            other = self._try(content, config, device, way, compare=True)
        except PackageError as error:
            _log.info("%s on %s cannot run by %s: %s", self.file, self.device, ", ".join(way), error)
            return best
        return min(best, other, key=lambda one: one.seconds)

    def _try(
        self, content: bytes, config: SessionConfig, device: int, way: tuple[str, str], *, compare: bool
    ) -> _Choice:
        self._bound = {}
        session, graphs = self._make(content, config, device, way)
        seconds = self._measure(session) if compare else 0.0
        return _Choice(seconds=seconds, way=way, session=session, graphs=graphs, bound=self._bound)

    def _make(
        self, content: bytes, config: SessionConfig, device: int, way: tuple[str, str]
    ) -> tuple[onnxruntime.InferenceSession, bool]:
        wanted = config.provider == CUDA and config.cuda_graphs != "off"
        try:
            providers = _providers(content, config, device, way, graphs=wanted)
            session = _make_session(self.file, content, config, providers)
            if wanted:
                self._measure(session)  # captures
            return session, wanted
        except PackageError as error:
            # onnxruntime refuses graphs whose nodes are not all CUDA's, and some that it takes cannot be captured.
            if not wanted or config.cuda_graphs == "on":
                raise
            self._bound.clear()
            _log.info("%s on %s runs without CUDA graphs: %s", self.file, self.device, error)
            providers = _providers(content, config, device, way, graphs=False)
            return _make_session(self.file, content, config, providers), False

    def _measure(self, session: onnxruntime.InferenceSession) -> float:
        """Return the seconds of one call with the largest bucket, zeros for inputs."""
        bucket = self._buckets[-1]
        feed = {
            port.name: np.zeros((bucket, *port.shape[1:]), _DTYPES.get(port.type, np.float32))
            for port in session.get_inputs()
        }
        seconds = []
        for _ in range(_TRIALS + 2):  # the first ones search, allocate and capture
            start = time.perf_counter()
            try:
                self._run(session, feed, bucket, bucket)
            except Exception as error:
                raise trial_failure(self.device, bucket, _failure(self.file, error)) from error
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds[2:])

    def _run(
        self, session: onnxruntime.InferenceSession, feed: Feed, bucket: int, count: int
    ) -> list[NDArray[np.generic]]:
        bound = self._bound.get(bucket)
        if bound is None:
            number = self._buckets.index(bucket)
            # The first run takes seconds where cuDNN searches: the captures that follow wait for it, calls do not.
            with _captures.none():
                bound = self._bound[bucket] = _Bound(session, feed, bucket, number, self._output_names, self._device)
        with _captures.none() if bound.known_here else _captures.alone():
            return bound.run(session, feed, count)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Choice:
    """A session that can be had."""

    seconds: float
    """Of a call with the largest bucket; 0 if there was nothing to compare it with."""
    way: tuple[str, str]
    """cuDNN's search, and the layout."""
    session: onnxruntime.InferenceSession
    graphs: bool
    """Whether it replays CUDA graphs."""
    bound: dict[int, _Bound]
    """The memory of the buckets that it has run."""


class _Bound:
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
        ports = {port.name: port for port in session.get_outputs()}
        for name in output_names:
            shape = [bucket, *ports[name].shape[1:]]
            if all(isinstance(extent, int) for extent in shape):
                value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, _DTYPES[ports[name].type], *device)
                self._binding.bind_ortvalue_output(name, value)
            else:  # a graph that leaves extents open gets its memory at each call, and no CUDA graph
                self._binding.bind_output(name, *device)
        self._options = onnxruntime.RunOptions()
        # One captured graph a bucket; 0 means the one of sessions that know no numbers.
        self._options.add_run_config_entry("gpu_graph_id", str(number + 1))
        self._threads = threading.local()
        if device[0] == "cuda":
            self.allocate(session)

    @property
    def known_here(self) -> bool:
        """Whether this thread has run it, and so captured what is to be captured."""
        return hasattr(self._threads, "ran")

    def allocate(self, session: onnxruntime.InferenceSession) -> None:
        """Has the session take what memory a call needs: while a graph is captured, it cannot.

        onnxruntime's own runs before a capture do not always (microsoft/onnxruntime#14942), as the arena takes no more
        than is asked for.
        """
        options = onnxruntime.RunOptions()
        options.add_run_config_entry("gpu_graph_id", "-1")  # neither captured nor replayed
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


def _make_session(
    file: str, content: bytes, config: SessionConfig, providers: list[tuple[str, dict[str, Any]]]
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # Fatal errors alone: others are raised, warnings are about the exporter's leftovers, and its lines are no JSON.
    options.log_severity_level = 4
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if config.spinning else "0")
    # On a GPU the CPU's threads only run the few nodes that CUDA has no kernel for.
    options.intra_op_num_threads = config.threads if config.provider == CPU else 1
    try:
        with _captures.none() if config.provider != CPU else contextlib.nullcontext():
            session = onnxruntime.InferenceSession(content, options, providers=providers)
    except Exception as error:
        raise PackageError(f"{file}: onnxruntime {onnxruntime.__version__} cannot load it: {error}") from error
    if session.get_providers()[0] != config.provider:
        raise ProviderError(
            f"{file}: asked onnxruntime for {config.provider} and got {', '.join(session.get_providers())} "
            "(its log says more)"
        )
    return session


def may_round(content: bytes, config: SessionConfig) -> bool:
    """Return whether float32 may be rounded to TF32: where it is allowed, and in graphs of half precision anyway.

    Without it onnxruntime uses no tensor cores in convolutions, not even for float16, which is three times as slow.
    """
    return config.provider != CPU and (config.tf32 or precision_of(content) in ("float16", "bfloat16"))


def _providers(
    content: bytes, config: SessionConfig, device: int, way: tuple[str, str], *, graphs: bool
) -> list[tuple[str, dict[str, Any]]]:
    if config.provider == CPU:
        return [(CPU, {})]
    search, layout = way
    cuda = {
        "device_id": str(device),
        "cudnn_conv_algo_search": search.upper(),
        "arena_extend_strategy": "kSameAsRequested",
        "prefer_nhwc": "1" if layout == "nhwc" else "0",
        "use_tf32": "1" if may_round(content, config) else "0",
        "enable_cuda_graph": "1" if graphs else "0",
    }
    if config.gpu_memory_limit_mib:
        cuda["gpu_mem_limit"] = str(config.gpu_memory_limit_mib * 2**20)
    if config.provider == TENSORRT:
        return [(TENSORRT, {"device_id": str(device)}), (CUDA, cuda), (CPU, {})]
    return [(CUDA, cuda), (CPU, {})]


def _nodes_by_provider(session: onnxruntime.InferenceSession) -> dict[str, int]:
    counts: collections.Counter[str] = collections.Counter()
    for subgraph in session.get_provider_graph_assignment_info():
        counts[subgraph.ep_name] += len(subgraph.get_nodes())
    return dict(counts)


def _failure(file: str, error: Exception) -> EngineError | MemoryFullError:
    text = str(error).lower()
    if any(sign in text for sign in _OUT_OF_MEMORY):
        return MemoryFullError(f"{file}: the device has no memory left for this call: ask for less, or later")
    return EngineError(f"{file} could not be executed: {error}")
