"""Run graphs by OpenVINO, on the CPU: in float32 or, where the CPU has it, in bfloat16. N = batch.

This calls OpenVINO directly, because its plugin `onnxruntime-ep-openvino` (1.8) offers only Intel's devices (none on an
AMD EPYC), and with the plugin `openvino_graph` could not rewrite the graph.

Calls have any size. OpenVINO compiles kernels at the first call of each size, which takes some milliseconds; padding to
buckets would cost more in each call.

Import this module only if OpenVINO was requested: that takes a quarter of a second and 40 MiB.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import io
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganserve_server.engine.providers import OPENVINO
from ganserve_server.engine.sessions import EngineConfig, Feed, run_failure
from ganserve_server.errors import PackageError


@contextlib.contextmanager
def _without_converters() -> Iterator[None]:
    """Keep `import openvino` from importing its tools, which send usage reports."""
    name = "openvino.tools.ovc"
    if name in sys.modules:  # somebody else's import
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment] # an import of it raises ImportError, which openvino expects
    try:
        yield
    finally:
        del sys.modules[name]


with _without_converters():
    import openvino
    from openvino.frontend import FrontEnd, FrontEndManager

    from ganserve_server.engine.openvino_graph import split_transposed_convolutions

_DEVICE = "CPU"
# onnxruntime's names of OpenVINO's element types.
_TYPES = {"f32": "tensor(float)", "u8": "tensor(uint8)", "i64": "tensor(int64)"}
# Flags of /proc/cpuinfo: OpenVINO also emulates bfloat16, slowly.
_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
_VERSION = openvino.__version__.split("-")[0]
_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tensor:
    """An input or output, described as onnxruntime does."""

    name: str
    type: str
    shape: list[int | None]


class OpenVinoSession:
    """A graph compiled by OpenVINO. Several threads may call it at once."""

    cuda_graphs = False
    device = "cpu"
    providers: tuple[str, ...] = (OPENVINO,)

    def __init__(
        self, file: str, content: bytes, config: EngineConfig, output_names: Sequence[str], _device: int
    ) -> None:
        """Compile the graph; see `BoundSession`.

        Raises:
            PackageError: OpenVINO cannot read or compile the graph.
        """
        self.file = file
        try:
            model = _read(content)
            self.inputs: Sequence[_Tensor] = [_described(port) for port in model.inputs]
            self.outputs: Sequence[_Tensor] = [_described(port) for port in model.outputs]
            split_transposed_convolutions(model)
            self._compiled = _core().compile_model(model, _DEVICE, _properties(config))
            nodes = len(self._compiled.get_runtime_model().get_ops())
        except Exception as error:
            reason = " ".join(str(error).split())
            raise PackageError(
                f"{file}: OpenVINO {_VERSION} cannot compile it: {reason}. To run it by onnxruntime: --provider cpu"
            ) from error
        self.nodes_by_provider = {OPENVINO: nodes}
        names = {tensor.name: index for index, tensor in enumerate(self.outputs)}
        # An output that is missing is reported by the engine's checks.
        self._wanted = [names[name] for name in output_names if name in names]
        # A request holds the memory of a call, and runs one call at a time.
        self._requests: collections.deque[openvino.InferRequest] = collections.deque()

    def run(self, feed: Feed, outputs: int | None = None) -> list[NDArray[np.generic]]:
        """Return the first `outputs` outputs, or all; raise EngineError if the graph fails to run."""
        try:
            request = self._requests.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        try:
            request.infer(feed, share_inputs=True, share_outputs=True)
            # The next call overwrites its memory.
            return [request.get_output_tensor(index).data.copy() for index in self._wanted[:outputs]]
        except Exception as error:
            raise run_failure(self.file, error) from error
        finally:
            self._requests.append(request)


def has_bfloat16() -> bool:
    """Return True if the CPU computes in bfloat16."""
    if "BF16" not in _core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES"):
        return False
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return True
    return not _BFLOAT16_FLAGS.isdisjoint(words)


def load_libraries(identity_graph: bytes) -> None:
    """Load all libraries that calls need, which a process may be forbidden to do later."""
    _core().compile_model(_read(identity_graph), _DEVICE)


@functools.cache  # making one searches for devices
def _core() -> openvino.Core:
    return openvino.Core()


@functools.cache  # making one opens files, which a trial may not
def _frontend() -> FrontEnd:
    return FrontEndManager().load_by_framework("onnx")


def _read(content: bytes) -> openvino.Model:
    """Return the graph of an ONNX file. `Core.read_model` would also read the other formats that OpenVINO knows."""
    with _lock:
        return _frontend().convert(_frontend().load(io.BytesIO(content)))


def _described(port: openvino.Output) -> _Tensor:
    shape = port.get_partial_shape()
    extents = [] if shape.rank.is_dynamic else [None if one.is_dynamic else one.get_length() for one in shape]
    kind = port.get_element_type().get_type_name()
    return _Tensor(name=port.get_any_name(), type=_TYPES.get(kind, kind), shape=extents)


def _properties(config: EngineConfig) -> dict[str, object]:
    return {
        # Else OpenVINO rounds to bfloat16 wherever the CPU has it.
        "INFERENCE_PRECISION_HINT": "bf16" if config.bfloat16 else "f32",
        "NUM_STREAMS": config.calls,
        "INFERENCE_NUM_THREADS": config.calls * config.threads,
        "ENABLE_CPU_PINNING": False,
    }
