"""Runs one ONNX graph with onnxruntime on the execution provider that was chosen. N = batch."""

from __future__ import annotations

import collections
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from ganserve_server.core.errors import EngineError, PackageError, ProviderError
from ganserve_server.core.providers import CPU, CUDA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_ORT_DTYPES = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(int64)": np.dtype(np.int64),
}


_CUDA_OPTIONS = {
    # The default benchmarks every convolution again for each new batch size, which takes seconds.
    "cudnn_conv_algo_search": "HEURISTIC",
    "arena_extend_strategy": "kSameAsRequested",
    # The manifest says float32; TF32, the default, has 10 bits of mantissa.
    "use_tf32": "0",
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EngineConfig:
    """How graphs are run."""

    provider: str
    """onnxruntime's name of the execution provider, from `providers.choose_provider`."""
    threads: int
    """Threads of one call on the CPU."""


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
    """One graph, loaded and checked. `run` may be called from several threads at once."""

    def __init__(
        self,
        file: str,
        content: bytes,
        config: EngineConfig,
        inputs: Sequence[TensorPort],
        outputs: Sequence[TensorPort],
    ) -> None:
        """Makes the session; takes seconds, so not on an event loop.

        Args:
            file: Name of the graph's file, for messages.
            content: The ONNX file.
            config: How to run it.
            inputs: The inputs that the graph must have, and no others.
            outputs: The outputs that the graph must have; it may have more.

        Raises:
            ProviderError: CUDA was asked for and cannot be had.
            PackageError: onnxruntime cannot load the graph, or its inputs or outputs are others.
        """
        self.file = file
        self._outputs = outputs
        self._output_names = [port.name for port in outputs]
        self._session = _make_session(file, content, config)
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())
        self.nodes_by_provider = _nodes_by_provider(self._session)
        _check_ports(file, "input", self._session.get_inputs(), inputs, exact=True)
        _check_ports(file, "output", self._session.get_outputs(), outputs, exact=False)

    def run(self, feed: Mapping[str, NDArray[np.generic]]) -> list[NDArray[np.generic]]:
        """Runs the graph; releases the GIL meanwhile.

        Args:
            feed: Each input by name, [N, ...].

        Returns:
            The outputs that were asked for at construction, in that order, [N, ...].

        Raises:
            EngineError: The execution failed, or an output has another shape or type than it must have.
        """
        try:
            results: list[NDArray[np.generic]] = self._session.run(self._output_names, feed)
        except Exception as error:
            raise EngineError(f"{self.file} could not be executed: {error}") from error
        count = len(next(iter(feed.values())))
        for port, result in zip(self._outputs, results, strict=True):
            if result.shape != (count, *port.sample_shape) or result.dtype != port.dtype:
                raise EngineError(
                    f"{self.file} gave {port.name} as {result.dtype} {list(result.shape)}; "
                    f"expected {port.dtype} {[count, *port.sample_shape]}"
                )
        return results

    def try_out(self, feed: Mapping[str, NDArray[np.generic]]) -> list[NDArray[np.generic]]:
        """Runs the graph as `run` does, and distrusts it: what fails or is not finite condemns the package.

        Raises:
            PackageError: The execution fails, or an output has another shape or type or numbers that are not finite.
        """
        count = len(next(iter(feed.values())))
        try:
            results = self.run(feed)
        except EngineError as error:
            raise PackageError(f"a trial run with {count} samples failed: {error}") from error
        for port, result in zip(self._outputs, results, strict=True):
            if result.dtype.kind == "f" and not np.isfinite(result).all():
                raise PackageError(f"a trial run with {count} samples: {self.file} gave {port.name} that is not finite")
        return results


def _make_session(file: str, content: bytes, config: EngineConfig) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; they are raised too, warnings are about the exporter's leftovers
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # On a GPU the CPU's threads only run the few nodes that CUDA has no kernel for.
    options.intra_op_num_threads = 1 if config.provider == CUDA else config.threads
    providers = [(CUDA, _CUDA_OPTIONS), (CPU, {})] if config.provider == CUDA else [(CPU, {})]
    try:
        session = onnxruntime.InferenceSession(content, options, providers=providers)
    except Exception as error:
        raise PackageError(f"{file}: onnxruntime {onnxruntime.__version__} cannot load it: {error}") from error
    if session.get_providers()[0] != config.provider:
        raise ProviderError(
            f"{file}: asked onnxruntime for {config.provider} and got {', '.join(session.get_providers())} "
            "(its log says more)"
        )
    return session


def _nodes_by_provider(session: onnxruntime.InferenceSession) -> dict[str, int]:
    counts: collections.Counter[str] = collections.Counter()
    for subgraph in session.get_provider_graph_assignment_info():
        counts[subgraph.ep_name] += len(subgraph.get_nodes())
    return dict(counts)


def _check_ports(file: str, kind: str, found: Sequence[Any], expected: Sequence[TensorPort], *, exact: bool) -> None:
    """Compares a graph's inputs or outputs, as onnxruntime describes them, with those that it must have."""
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
