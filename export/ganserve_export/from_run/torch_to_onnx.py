"""Convert a PyTorch module to a checked ONNX graph with a dynamic batch axis."""

import contextlib
import io
import itertools
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence

import onnx
import torch
from torch import Tensor, nn

from ganserve_export.errors import ExportError
from ganserve_export.package.onnx_graphs import strip_metadata

_REASONS = {
    "ConstraintViolation": "it works with one batch size alone. Write x.shape[0] in place of len(x) or int(…), and "
    "loop over no samples.",
    "DataDependent": "it branches on values of a tensor, or reads one as a Python number. Use torch.where, and no "
    ".item().",
    "SymbolicTensor": "a setting of an operation, such as the groups of a convolution, depends on the batch, as in "
    "StyleGAN2's grouped modulated convolution. Scale the input by the styles and the output by the demodulation "
    "instead, with one weight for all samples (StyleGAN2's fused_modconv=False).",
    ".numpy()": "it leaves PyTorch for NumPy. Use PyTorch's operations.",
}
"""Meanings of the roots of torch's errors, by a part of their text or class."""
OPSET = 20  # has every operation that our networks need; onnxruntime has read it since 1.17


def to_onnx(module: nn.Module, inputs: Mapping[str, Tensor], output_names: Sequence[str]) -> onnx.ModelProto:
    """Convert a module to an ONNX model that passed ONNX's full checker; its first axes are one dynamic batch axis.

    The module is in eval mode and takes the inputs by position. The examples of `inputs` are [2 or more, ...].

    Raises:
        ExportError: torch.onnx cannot convert the module, or the checker refuses the result.
    """
    batch = torch.export.Dim("batch", min=1)
    try:
        with _quiet():
            # Trace here: for a network that writes its batch size into a shape, torch.onnx.export would silently
            # export that batch size.
            with contextlib.redirect_stderr(io.StringIO()):  # There it prints a graph of what failed.
                program = torch.export.export(
                    module, tuple(inputs.values()), dynamic_shapes=tuple({0: batch} for _ in inputs), strict=False
                )
            converted = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(output_names),
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # torch documents no base class for these errors
        raise ExportError(f"torch cannot convert {type(module).__name__} to ONNX: {_reason(error)}") from error
    if converted is None:
        raise ExportError(f"torch.onnx returned no graph for {type(module).__name__}")
    model = converted.model_proto
    strip_metadata(model)
    _name_batch_axis(model.graph)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"ONNX's checker refuses the graph of {type(module).__name__}: {error}") from error
    return model


def _reason(error: Exception) -> str:
    """Return the root of an error of torch.onnx, whose own messages are pages long, and what to do about it."""
    root: BaseException = error
    while (cause := root.__cause__ or root.__context__) is not None:
        root = cause
    said = str(root)
    for word, why in _REASONS.items():
        if word in said or word in type(root).__name__:
            return why
    if missing := re.search(r"No ONNX function found for <OpOverload\(op='(?:aten\.)?([\w.]+)'", said):
        return f"ONNX has no operation for torch's {missing[1]}. Use others."
    first = said.strip().partition("\n")[0].rstrip(".") or type(root).__name__
    return f"{first}. Every operation must be one of PyTorch's, and work with any batch size."


def _name_batch_axis(graph: onnx.GraphProto) -> None:
    """Rename the dynamic axis to "batch": torch may use another symbol, such as s48."""
    symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in itertools.chain(graph.input, graph.output, graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param == symbol:
                axis.dim_param = "batch"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide torch's notes about itself from the user: missing packages, deprecations, graphs of what failed."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
