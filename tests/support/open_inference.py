"""Make requests in the Open Inference Protocol, and read their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2

from ganserve_server.open_inference.graphs import datatype

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


def infer_inputs(**arrays: NDArray[np.generic]) -> list[triton.InferInput]:
    """Return inputs for tritonclient, sync or aio."""
    inputs = []
    for name, array in arrays.items():
        inputs.append(triton.InferInput(name, list(array.shape), datatype(array.dtype)))
        inputs[-1].set_data_from_numpy(array)
    return inputs


def requested(*names: str) -> list[triton.InferRequestedOutput]:
    return [triton.InferRequestedOutput(name) for name in names]


def raw_request(
    model: str,
    inputs: Mapping[str, NDArray[np.generic]],
    *,
    version: str = "",
    outputs: Sequence[str] = (),
    parameters: Mapping[str, bool | int | float | str] | None = None,
    request_id: str = "",
) -> service_pb2.ModelInferRequest:
    request = service_pb2.ModelInferRequest(model_name=model, model_version=version, id=request_id)
    for name, array in inputs.items():
        request.inputs.add(name=name, datatype=datatype(array.dtype), shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    for name in outputs:
        request.outputs.add(name=name)
    for name, value in (parameters or {}).items():
        kinds = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
        setattr(request.parameters[name], kinds[type(value)], value)
    return request


def output(response: service_pb2.ModelInferResponse, name: str) -> NDArray[np.generic]:
    array: NDArray[np.generic] = triton.InferResult(response).as_numpy(name)
    assert array is not None, f"no {name} among {[tensor.name for tensor in response.outputs]}"
    return array
