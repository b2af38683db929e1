"""Bare onnxruntime with IOBinding: the ways to run a graph, and calls on memory that stays in place."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnxruntime

if TYPE_CHECKING:
    from collections.abc import Sequence

    from subjects import Subject


@dataclasses.dataclass(frozen=True)
class Way:
    """How onnxruntime runs a graph on CUDA; on the CPU the options mean nothing."""

    precision: Literal["float32", "tf32", "float16"]
    graphs: bool = True
    nhwc: bool = False
    search: Literal["heuristic", "exhaustive", "default"] = "heuristic"

    def __str__(self) -> str:
        parts = [f"onnxruntime {self.precision}", "CUDA graphs" if self.graphs else "no graphs"]
        return ", ".join([*parts, *(["NHWC"] if self.nhwc else []), self.search])

    @property
    def half(self) -> bool:
        return self.precision == "float16"

    def providers(self, device: str) -> list[tuple[str, dict[str, str]]]:
        cpu: tuple[str, dict[str, str]] = ("CPUExecutionProvider", {})
        if device == "cpu":
            return [cpu]
        options = {
            # Without it onnxruntime has no tensor cores in convolutions, not even for float16.
            "use_tf32": str(int(self.precision != "float32")),
            "enable_cuda_graph": str(int(self.graphs)),
            "prefer_nhwc": str(int(self.nhwc)),
            "cudnn_conv_algo_search": self.search.upper(),
            "arena_extend_strategy": "kSameAsRequested",  # as the server has it
        }
        return [("CUDAExecutionProvider", options), cpu]


class Bare:
    """A session, with inputs and outputs bound to the device's memory for each batch size."""

    def __init__(self, subject: Subject, way: Way, device: str, batches: Sequence[int]) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # failures are raised
        options.intra_op_num_threads = 1
        content = subject.onnx(half=way.half)
        self._session = onnxruntime.InferenceSession(content, options, providers=way.providers(device))
        wanted = way.providers(device)[0][0]
        if self._session.get_providers()[0] != wanted:
            raise RuntimeError(f"asked onnxruntime for {wanted} and got {self._session.get_providers()}")
        self.way = way
        self._subject, self._device, self._batches = subject, device, tuple(batches)
        self._bound: dict[int, _Bound] = {}

    def call(self, batch: int) -> None:
        """Computes a batch from and to the device's memory, and waits for it."""
        self._memory(batch).run(self._session)

    def call_with_copies(self, batch: int) -> None:
        """The same, with inputs from the host and outputs to it: what a server cannot do without."""
        self._memory(batch).run_with_copies(self._session)

    def _memory(self, batch: int) -> _Bound:
        # Each at its first call: a size that is too much for the card takes none of the others away.
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
        # Memory is taken before a graph is captured, as the server does it.
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
