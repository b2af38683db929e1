"""Run an ONNX graph that was made elsewhere, whatever batches it can compute. N = batch."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from ganserve_export.errors import ExportError
from ganserve_export.from_onnx.batching import Arrays, Batching, find_batching, pad
from ganserve_export.from_onnx.free_batch import served_model
from ganserve_export.from_onnx.graph_constants import set_constants
from ganserve_export.from_onnx.noise import NoiseInput
from ganserve_export.from_onnx.onnx_file import load_onnx
from ganserve_export.from_onnx.operators_and_opsets import refuse_randomness, unknown_operators, upgraded
from ganserve_export.from_onnx.random_nodes import expose_noise
from ganserve_export.from_onnx.runtime_errors import one_line
from ganserve_export.package.batch_independence import BATCH, RELATIVE_TOLERANCE
from ganserve_export.package.onnx_graphs import precision_of
from ganserve_export.package.rows_at_once import rows_at_once, samples_to_compare
from ganserve_training.files import file_sha256

HALF_ROUNDING = 2e-3
_ELEMENTS = {"tensor(float)": "float32", "tensor(double)": "float64"}
_ELEMENTS |= {f"tensor({name})": name for name in ("float16", "uint8", "int8", "int32", "int64", "bool")}
OPEN = "batch"


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorInfo:
    """An input or output of a graph, as the graph declares it."""

    name: str
    element: str
    """numpy's name of the element type; onnxruntime's if numpy has none."""
    shape: tuple[int | str | None, ...]
    """Batch axis first; a name or None for an open axis. Empty for scalars and undeclared shapes."""

    @property
    def is_float(self) -> bool:
        """Say whether elements are float16, float32 or float64."""
        return self.element in ("float16", "float32", "float64")

    @property
    def is_integer(self) -> bool:
        """Say whether elements are integers."""
        return self.element in ("uint8", "int8", "int32", "int64")

    @property
    def extents(self) -> tuple[int, ...]:
        """Return the fixed extents of one sample."""
        return tuple(extent for extent in self.shape[1:] if isinstance(extent, int))

    @property
    def size(self) -> int | None:
        """Return the number of values of one sample; None if an axis is open."""
        return math.prod(self.extents) if self.shape and len(self.extents) == len(self.shape) - 1 else None

    def __str__(self) -> str:
        return f"{self.name} {self.element} [{', '.join('?' if axis is None else str(axis) for axis in self.shape)}]"


class ForeignGraph:
    """The graph of an ONNX file, with all of its weights inside; `role` is "generator" or "critic", for messages.

    `constants` are values of inputs, as text by name. With `one_by_one`, each sample is computed alone, also by a graph
    that could compute several. With `noise`, nodes that draw random numbers become inputs.

    Raises:
        ExportError: The file cannot be read, names weights outside its folder, is too large for one file, draws random
            numbers, or has operations that onnxruntime does not know.
    """

    def __init__(
        self,
        file: Path,
        role: str,
        *,
        constants: Mapping[str, str] | None = None,
        one_by_one: bool = False,
        noise: bool = False,
    ) -> None:
        self.name = f"{role} {file.name}"
        self.model, beside = load_onnx(file)
        self.files = [
            {"name": path.name, "sha256": file_sha256(path), "size_bytes": path.stat().st_size}
            for path in (file, *beside)
        ]
        """The files that it was read from, for the manifest."""
        self._session = _open(str(file), self.model, self.name)
        self.constants = set_constants(self.model, constants or {})
        """Inputs that have become constants."""
        self.noise: tuple[NoiseInput, ...] = expose_noise(self.model, self.name) if noise else ()
        """Inputs in place of the nodes that drew random numbers."""
        refuse_randomness(self.model, self.name)
        if self.constants or self.noise:
            self._session = _open(self.model.SerializeToString(), self.model, self.name)
        try:
            self.inputs = tuple(map(_tensor_info, self._session.get_inputs()))
            self.outputs = tuple(map(_tensor_info, self._session.get_outputs()))
        except UnicodeDecodeError as error:
            raise ExportError(f"{file} is damaged: it has a name that is not UTF-8 text") from error
        self._declared = {tensor.name: tensor.shape for tensor in self.inputs}
        self._one_by_one = one_by_one
        self._bare: frozenset[str] = frozenset()
        self.batching = Batching()
        """The batches that it can compute."""
        self.rows = BATCH
        """Samples computed at once, to bound the memory."""
        self.tries = BATCH
        """Samples to look at, fewer of large ones, to bound the time."""
        self.form = ""
        """Way in which the package's graph computes batches, if it differs from the original; known once it is made."""
        self._find_declared_batch()

    def error(self, problem: str) -> ExportError:
        """Return an error whose message begins with the graph's name."""
        return ExportError(f"the {self.name} {problem}")

    @property
    def advice(self) -> str:
        """Return what to do about results that depend on the rest of the batch."""
        alone = "compute each sample alone with --batch one"
        if self.batching.size not in (None, 1):
            alone = f"export it with an open batch axis in place of {self.batching.size}, for --batch one"
        return (
            "export it in eval mode (model.eval() before torch.onnx.export; training=False in Keras), freeze "
            f"everything that depends on other samples, such as minibatch statistics, or {alone}"
        )

    @property
    def is_half(self) -> bool:
        """Say whether its weights, inputs or outputs have 16 bits."""
        return precision_of(self.model) != "float32" or any(
            tensor.element == "float16" for tensor in (*self.inputs, *self.outputs)
        )

    @property
    def rounding(self) -> float:
        """Return the largest rounding difference between two results of one sample, as a share of the largest value."""
        return HALF_ROUNDING if self.is_half else RELATIVE_TOLERANCE

    def _find_declared_batch(self) -> None:
        """Learn the size of the batch that the inputs declare, and give inputs without a batch axis one."""
        bare = {tensor.name for tensor in self.inputs if self._has_no_batch_axis(tensor)}
        sizes = {tensor.shape[0] for tensor in self.inputs if tensor.name not in bare and tensor.shape}
        fixed = {size for size in sizes if isinstance(size, int)}
        if 1 in fixed and len(sizes) > 1:
            # A first axis of 1 beside open ones is a value for the whole batch.
            bare |= {tensor.name for tensor in self.inputs if tensor.shape and tensor.shape[0] == 1}
            fixed.discard(1)
        if len(fixed) > 1 or (bare and fixed - {1}):
            listed = ", ".join(map(str, self.inputs))
            raise self.error(
                f"takes inputs with batches of different sizes: {listed}. Set some with --constant NAME=VALUE"
            )
        if bare or self._one_by_one:
            if fixed - {1}:
                raise self.error(
                    f"is fixed to batches of {max(fixed)}, so it cannot compute one sample: drop --batch one, "
                    "or export it with an open batch axis"
                )
            fixed = {1}
        self._bare = frozenset(bare)
        if fixed:
            self.batching = Batching(size=fixed.pop())
        self.inputs = tuple(
            TensorInfo(name=item.name, element=item.element, shape=(OPEN, *self._own_extents(item)))
            if item.name in bare
            else item
            for item in self.inputs
        )

    def _has_no_batch_axis(self, tensor: TensorInfo) -> bool:
        """Say whether an input has a value for the whole batch: a declared scalar, or the only input, of one axis."""
        if not tensor.shape:
            return self._is_scalar(tensor.name)
        alone = len(tensor.shape) == 1 and tensor.is_float and isinstance(tensor.shape[0], int)
        return alone and all(len(other.shape) <= 1 for other in self.inputs)

    def _is_scalar(self, name: str) -> bool:
        declared = next((item.type.tensor_type for item in self.model.graph.input if item.name == name), None)
        return declared is not None and declared.HasField("shape")

    @staticmethod
    def _own_extents(tensor: TensorInfo) -> tuple[int | str | None, ...]:
        return tensor.shape

    def learn_batching(self, make: Callable[[int], Arrays], output: str) -> None:
        """Find out which batches it can compute, by trying them: `make(count)` gives inputs, [count, ...] each.

        Raises:
            ExportError: It fails for every batch.
        """
        if self.batching.size is not None:
            (result,) = self.run(make(1), [output])
            self._bound(self._largest(make(1), result))
            return
        try:
            (first,) = self.run(make(2), [output])
            self._bound(max(first.size // 2, self._largest(make(1), first[:0])))
        except ExportError:
            self.rows = self.tries = BATCH
        most = max(self.rows, 2)
        feed = make(most)  # Smaller batches are its first samples, so that their results can be compared.

        def attempt(count: int) -> npt.NDArray[Any]:
            return self._call({name: value[:count] for name, value in feed.items()}, [output])[0]

        self.batching = find_batching(attempt, self.tries, most)

    def _bound(self, values: int) -> None:
        """Bound memory and time for samples of so many values."""
        self.rows, self.tries = rows_at_once(values), samples_to_compare(values)

    @staticmethod
    def _largest(feed: Arrays, result: npt.NDArray[Any]) -> int:
        return max(int(result.size), *(int(value[0].size) for value in feed.values()))

    def run(self, feed: Arrays, outputs: list[str] | None = None) -> list[npt.NDArray[Any]]:
        """Return these outputs (default: all), [N, ...], for inputs by name, [N, ...].

        A graph of a fixed batch computes the samples in turn.

        Raises:
            ExportError: onnxruntime fails, or an output does not have one result for each sample.
        """
        count = len(next(iter(feed.values())))
        step = self.batching.size or max(self.rows, self.batching.least)
        parts = []
        for start in range(0, count, step):
            part = {name: values[start : start + step] for name, values in feed.items()}
            taken = len(next(iter(part.values())))
            size = self.batching.padded(taken)
            results = self._call({name: pad(values, size) for name, values in part.items()}, outputs)
            if self.batching.is_free and count <= step:
                return results
            parts.append([values[:taken] for values in results])
        return [np.concatenate(values) for values in zip(*parts, strict=True)]

    def _call(self, feed: Arrays, outputs: list[str] | None) -> list[npt.NDArray[Any]]:
        given = {name: np.asarray(values[0]) if name in self._bare else values for name, values in feed.items()}
        try:
            results: list[npt.NDArray[Any]] = self._session.run(outputs, given)
        except Exception as error:  # onnxruntime's exceptions share no public base class
            raise ExportError(one_line(error)) from error
        if self.batching.size == 1:
            # A graph for one sample may leave its batch axis out.
            results = [values if values.ndim and len(values) == 1 else values[None] for values in results]
        return results

    def servable(self, feed: Arrays, outputs: Sequence[str]) -> onnx.ModelProto:
        """Return a copy that takes and gives batches of any size, proven on this feed, in operator set 11 or newer."""
        model = upgraded(self.model, self.name)
        if self.batching.is_free and not self._bare:
            return model
        extents = {item.name: item.extents for item in self.inputs}
        tried, self.form = served_model(
            model, self.batching, self._bare, extents, feed, outputs, self.run,
            rounding=self.rounding, may_free=not self._one_by_one,
        )  # fmt: skip
        return tried

    def expose(self, value: str) -> None:
        """Make an inner value an output, so that `run` can return it."""
        if all(tensor.name != value for tensor in self.outputs):
            self.model.graph.output.append(onnx.ValueInfoProto(name=value))
            self._session = _open(self.model.SerializeToString(), self.model, self.name)


def _open(graph: str | bytes, model: onnx.ModelProto, name: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # fatal only: failures are raised with a one-line message
    options.enable_cpu_mem_arena = False  # it keeps twice the largest need
    try:
        # A fallback to the same provider would only print messages.
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # onnxruntime's exceptions share no public base class
        unknown = unknown_operators(model)
        if unknown:
            raise ExportError(
                f"the {name} has operations that onnxruntime {ort.__version__} does not know: {', '.join(unknown)}. "
                "Export it with standard ONNX operations only"
            ) from error
        raise ExportError(f"onnxruntime {ort.__version__} cannot load the {name}: {one_line(error)}") from error


def _tensor_info(argument: Any) -> TensorInfo:
    return TensorInfo(
        name=argument.name, element=_ELEMENTS.get(argument.type, argument.type), shape=tuple(argument.shape or ())
    )
