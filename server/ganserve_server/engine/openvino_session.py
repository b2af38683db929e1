"""Run graphs by OpenVINO, on the CPU: in float32 or, where the CPU has it, in bfloat16. N = batch.

This calls OpenVINO directly, because its plugin `onnxruntime-ep-openvino` (1.8) offers only Intel's devices (none on an
AMD EPYC), and with the plugin `openvino_graph` could not rewrite the graph.

Calls have any size. OpenVINO compiles kernels at the first call of each size, which takes some milliseconds; padding to
buckets would cost more in each call.

Import this module only if OpenVINO was requested; see `openvino_library`.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganserve_server.engine.openvino_graph import split_transposed_convolutions
from ganserve_server.engine.openvino_library import DEVICE, core, openvino, read_model
from ganserve_server.engine.providers import OPENVINO
from ganserve_server.engine.sessions import EngineConfig, Feed, run_failure
from ganserve_server.errors import PackageError

# onnxruntime's names of OpenVINO's element types.
_TYPES = {"f32": "tensor(float)", "u8": "tensor(uint8)", "i64": "tensor(int64)"}
_VERSION = openvino.__version__.split("-")[0]


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
            model = read_model(content)
            self.inputs: Sequence[_Tensor] = [_described(port) for port in model.inputs]
            self.outputs: Sequence[_Tensor] = [_described(port) for port in model.outputs]
            split_transposed_convolutions(model)
            self._compiled = core().compile_model(model, DEVICE, _properties(config))
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
