"""Run a graph in bare onnxruntime with IOBinding, in different ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnxruntime
from grouped_convolutions import merge_groups

if TYPE_CHECKING:
    from collections.abc import Sequence

    from subjects import Subject


@dataclass(frozen=True)
class Way:
    """Options of onnxruntime on CUDA; without effect on the CPU."""

    precision: Literal["float32", "tf32", "float16"]
    graphs: bool = True
    nhwc: bool = False
    search: Literal["heuristic", "exhaustive", "default"] = "heuristic"
    group_channels: int = 0
    """Merge the groups of convolutions until each has so many channels; 0: leave them."""
    tensorrt: bool = False

    def __str__(self) -> str:
        parts = ["TensorRT"] if self.tensorrt else []
        parts += [f"onnxruntime {self.precision}", "CUDA graphs" if self.graphs else "no graphs"]
        parts += [*(["NHWC"] if self.nhwc else []), self.search]
        return ", ".join([*parts, *([f"groups of {self.group_channels}"] if self.group_channels else [])])

    @property
    def half(self) -> bool:
        return self.precision == "float16"

    def providers(self, device: str) -> list[tuple[str, dict[str, str]]]:
        cpu: tuple[str, dict[str, str]] = ("CPUExecutionProvider", {})
        if device == "cpu":
            return [cpu]
        options = {
            # Without it onnxruntime uses no tensor cores in convolutions, not even for float16.
            "use_tf32": str(int(self.precision != "float32")),
            "enable_cuda_graph": str(int(self.graphs)),
            "prefer_nhwc": str(int(self.nhwc)),
            "cudnn_conv_algo_search": self.search.upper(),
            "arena_extend_strategy": "kSameAsRequested",  # as the server has it
        }
        cuda = ("CUDAExecutionProvider", options)
        if not self.tensorrt:
            return [cuda, cpu]
        # TensorRT captures a graph of its own, and then CUDA must not.
        own = {"trt_cuda_graph_enable": options["enable_cuda_graph"], "trt_fp16_enable": str(int(self.half))}
        return [
            ("TensorrtExecutionProvider", own),
            ("CUDAExecutionProvider", options | {"enable_cuda_graph": "0"}),
            cpu,
        ]


class Bare:
    """A session with inputs and outputs bound to the device's memory for each batch size."""

    def __init__(self, subject: Subject, way: Way, device: str, batches: Sequence[int]) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # failures are raised
        options.intra_op_num_threads = 1
        content = subject.onnx(half=way.half)
        if way.group_channels:
            content = merge_groups(content, way.group_channels)
        self._session = onnxruntime.InferenceSession(content, options, providers=way.providers(device))
        wanted = way.providers(device)[0][0]
        if self._session.get_providers()[0] != wanted:
            raise RuntimeError(f"asked onnxruntime for {wanted} and got {self._session.get_providers()}")
        self.way = way
        self._subject, self._device, self._batches = subject, device, tuple(batches)
        self._bound: dict[int, _Bound] = {}

    def call(self, batch: int) -> None:
        """Compute a batch on the device and wait for it."""
        self._memory(batch).run(self._session)

    def call_with_copies(self, batch: int) -> None:
        """Compute a batch with copies from and to the host, which a server always needs."""
        self._memory(batch).run_with_copies(self._session)

    def _memory(self, batch: int) -> _Bound:
        # Bound at the first call, so that a size too large for the card does not prevent the others.
        if batch not in self._bound:
            number = self._batches.index(batch)
            self._bound[batch] = _Bound(self._session, self._subject, self._device, batch, number)
        return self._bound[batch]


class _Bound:
    def __init__(self, session: Any, subject: Subject, device: str, batch: int, number: int) -> None:
        self._host = {name: value.numpy() for name, value in subject.inputs(batch).items()}
        self._inputs = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(value, device, 0) for name, value in self._host.items()
        }
        output = onnxruntime.OrtValue.ortvalue_from_shape_and_type([batch, *subject.sample_shape], np.uint8, device, 0)
        self._binding = session.io_binding()
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        self._binding.bind_ortvalue_output("samples", output)
        self._options = onnxruntime.RunOptions()
        self._options.add_run_config_entry("gpu_graph_id", str(number + 1))  # one captured graph a batch size
        # Allocate memory before capturing a graph, as the server does.
        before = onnxruntime.RunOptions()
        before.add_run_config_entry("gpu_graph_id", "-1")
        for _ in range(2):
            session.run_with_iobinding(self._binding, before)

    def run(self, session: Any) -> None:
        session.run_with_iobinding(self._binding, self._options)
        self._binding.synchronize_outputs()

    def run_with_copies(self, session: Any) -> None:
        for name, value in self._host.items():
            self._inputs[name].update_inplace(value)
        self.run(session)
        self._binding.copy_outputs_to_cpu()
