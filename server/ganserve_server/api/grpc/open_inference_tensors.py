"""Convert messages of the Open Inference Protocol to named arrays, and arrays to messages."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from ganserve_server.error_text import MOST_SHOWN, listed, shown
from ganserve_server.errors import InvalidRequestError, invalid_field
from ganserve_server.open_inference.graphs import DATATYPES, datatype
from ganserve_server.open_inference.inference import InferenceResult
from ganserve_server.open_inference.plan import InferenceRequest
from ganserve_server.requests.field_checks import MOST_AXES
from ganserve_server.requests.findings import Findings
from ganserve_server.requests.repeated_numbers import as_array
from ganserve_server.requests.wire import Part, field

_TYPED_FIELDS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}
_WIRE_TYPES = {
    "bool_contents": np.dtype(np.bool_),
    "uint_contents": np.dtype(np.uint32),
    "uint64_contents": np.dtype(np.uint64),
    "int_contents": np.dtype(np.int32),
    "int64_contents": np.dtype(np.int64),
    "fp32_contents": np.dtype(np.float32),
    "fp64_contents": np.dtype(np.float64),
}
_SHARED_MEMORY = "shared_memory_region"
NO_SHARED_MEMORY = "shared memory is not supported: send and receive tensors in the messages"
MOST_TENSORS = 64
"""Most inputs, and most outputs, of one request."""


def read_request(message: Any) -> InferenceRequest:
    """Convert a ModelInferRequest, or raise an error with all of its problems.

    The arrays may be views of the message's memory.
    """
    findings = Findings()
    for name in ("inputs", "raw_input_contents", "outputs"):
        if (entries := len(getattr(message, name))) > MOST_TENSORS:
            raise invalid_field(name, f"has {entries} entries; expected at most {MOST_TENSORS}")
    raw = list(message.raw_input_contents)
    if raw and len(raw) != len(message.inputs):
        expected = f"one for each of the {len(message.inputs)} inputs"
        findings.invalid("raw_input_contents", f"has {len(raw)} entries; expected {expected}")
    inputs: dict[str, NDArray[np.generic]] = {}
    for index, tensor in enumerate(message.inputs):
        path = f"inputs.{tensor.name[:MOST_SHOWN]}"
        if tensor.name in inputs:
            findings.invalid(path, "is given twice")
        if _SHARED_MEMORY in tensor.parameters:
            findings.unsupported(NO_SHARED_MEMORY)
            continue
        try:
            inputs[tensor.name] = _array(tensor, (raw[index] if index < len(raw) else b"") if raw else None, path)
        except InvalidRequestError as error:
            findings.add(error)
    for output in message.outputs:
        if _SHARED_MEMORY in output.parameters:
            findings.unsupported(NO_SHARED_MEMORY)
        if "classification" in output.parameters:
            findings.unsupported("this server does not classify: leave the output's parameter 'classification' out")
    parameters = {}
    for name, parameter in message.parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        if kind is None:
            findings.invalid(f"parameters.{name[:MOST_SHOWN]}", "has no value")
        else:
            parameters[name] = getattr(parameter, kind)
    findings.raise_any()
    return InferenceRequest(
        model=message.model_name,
        version=message.model_version,
        inputs=inputs,
        outputs=[output.name for output in message.outputs],
        parameters=parameters,
    )


def write_response(response: Any, result: InferenceResult, *, streamed: bool) -> None:
    """Write a result to a ModelInferResponse, with raw tensors."""
    _write_head(response, result, streamed=streamed)
    for parts in result.outputs:
        response.raw_output_contents.append(b"".join(part.data for part in parts))


def _write_head(response: Any, result: InferenceResult, *, streamed: bool) -> None:
    """Write all but the tensors' data."""
    plan = result.plan
    response.model_name, response.model_version = plan.graph.name, str(plan.graph.model.info.version)
    if plan.seed is not None:
        response.parameters["seed"].uint64_param = plan.seed
    if streamed:  # clients that expect several responses to a request wait for this parameter
        response.parameters["triton_final_response"].bool_param = True
    for one in plan.outputs:
        response.outputs.add(name=one.name, datatype=datatype(one.dtype), shape=(plan.count, *one.sample_shape))


def serialised_response(request_id: str, result: InferenceResult, *, streamed: bool) -> bytes:
    """Return the serialised ModelInferResponse of a result, or ModelStreamInferResponse if `streamed`."""
    response = service_pb2.ModelInferResponse(id=request_id)
    _write_head(response, result, streamed=streamed)
    number = service_pb2.ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER
    parts: list[Part] = [response.SerializeToString()]
    for output in result.outputs:
        parts.extend(field(number, [np.ascontiguousarray(part).data.cast("B") for part in output]))
    if streamed:
        parts = field(service_pb2.ModelStreamInferResponse.INFER_RESPONSE_FIELD_NUMBER, parts)
    return b"".join(parts)


def _array(tensor: Any, raw: bytes | None, field: str) -> NDArray[np.generic]:
    shape = tuple(tensor.shape[: MOST_AXES + 1])
    dtype = DATATYPES.get(tensor.datatype)
    if dtype is None:
        raise invalid_field(f"{field}.datatype", f"is {shown(tensor.datatype)}; expected one of {listed(DATATYPES)}")
    if not 1 <= len(shape) <= MOST_AXES or min(shape) < 1:
        expected = f"1 to {MOST_AXES} extents of at least 1"
        raise invalid_field(f"{field}.shape", f"is {shown(list(shape))}; expected {expected}")
    contents = f"{field}.contents"
    typed = [one.name for one, _ in tensor.contents.ListFields()] if tensor.HasField("contents") else []
    if raw is None:
        return _typed_array(tensor, dtype, shape, typed, field)
    if typed:
        raise invalid_field(contents, "cannot be combined with raw_input_contents: give one of the two")
    size = math.prod(shape) * dtype.itemsize
    if len(raw) != size:
        problem = f"has {len(raw)} raw bytes; {list(shape)} of {tensor.datatype} has exactly {size}, row-major"
        raise invalid_field(contents, problem)
    return np.frombuffer(raw, dtype).reshape(shape)


def _typed_array(
    tensor: Any, dtype: np.dtype[Any], shape: tuple[int, ...], typed: list[str], field: str
) -> NDArray[np.generic]:
    contents, kind = f"{field}.contents", tensor.datatype
    wanted = _TYPED_FIELDS.get(kind)
    if wanted is None:
        raise invalid_field(f"{field}.datatype", f"is {kind}, which travels in raw_input_contents only: send it there")
    if typed and typed != [wanted]:
        raise invalid_field(contents, f"has {listed(typed)}; {kind} travels in {wanted}, or in raw_input_contents")
    values = getattr(tensor.contents, wanted)
    if len(values) != math.prod(shape):
        raise invalid_field(contents, f"has {len(values)} values; {list(shape)} has {math.prod(shape)}, row-major")
    numbers = as_array(values, _WIRE_TYPES[wanted])
    if dtype.kind in "ui" and dtype.itemsize < numbers.itemsize:
        bounds = np.iinfo(dtype)
        if numbers.min() < bounds.min or numbers.max() > bounds.max:
            raise invalid_field(contents, f"has values beyond {kind}; expected {bounds.min} to {bounds.max}")
    return numbers.astype(dtype, copy=False).reshape(shape)
