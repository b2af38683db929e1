"""Call the generated stubs, and convert answers to numpy."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import grpc
import numpy as np
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from ganserve.v1 import admin_service_pb2_grpc, gan_service_pb2, gan_service_pb2_grpc, tensor_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
TIMEOUT_S = 60
_DTYPES = {tensor_pb2.DATA_TYPE_UINT8: "<u1", tensor_pb2.DATA_TYPE_FLOAT32: "<f4"}


class WithTrailers:
    """An error of an asyncio call in the form that `rpc_status` reads."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code, self.details = error.code, error.details
        self.trailing_metadata = error.trailing_metadata


class Stubs:
    """Stubs of both services of one server; `channel` is for others."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.gan = gan_service_pb2_grpc.GanServiceStub(channel)
        self.admin = admin_service_pb2_grpc.AdminServiceStub(channel)

    def sample(self, **fields: object) -> gan_service_pb2.SampleResponse:
        return self.gan.Sample(gan_service_pb2.SampleRequest(**fields), timeout=TIMEOUT_S)

    def stream(self, *, chunk_size: int = 0, **fields: object) -> list[gan_service_pb2.SampleResponse]:
        return [response.chunk for response in self.open_stream(chunk_size=chunk_size, **fields)]

    def open_stream(self, *, chunk_size: int = 0, **fields: object) -> grpc.Call:
        request = gan_service_pb2.SampleRequest(**fields)
        stream = gan_service_pb2.StreamSamplesRequest(request=request, chunk_size=chunk_size)
        return self.gan.StreamSamples(stream, timeout=TIMEOUT_S)

    def score(self, **fields: object) -> gan_service_pb2.ScoreResponse:
        return self.gan.Score(gan_service_pb2.ScoreRequest(**fields), timeout=TIMEOUT_S)


@contextlib.contextmanager
def connected(address: str) -> Iterator[Stubs]:
    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        yield Stubs(channel)


def to_tensor(array: NDArray[np.generic]) -> tensor_pb2.Tensor:
    data_type = tensor_pb2.DATA_TYPE_UINT8 if array.dtype == np.uint8 else tensor_pb2.DATA_TYPE_FLOAT32
    return tensor_pb2.Tensor(data_type=data_type, shape=array.shape, data=array.tobytes())


def to_array(tensor: tensor_pb2.Tensor) -> NDArray[np.generic]:
    return np.frombuffer(tensor.data, _DTYPES[tensor.data_type]).reshape(tensor.shape)


def violations(error: grpc.RpcError) -> dict[str, str]:
    """Return an error's field violations, {field: description}; fail if a field has two."""
    status = rpc_status.from_call(error)
    assert status is not None, f"no google.rpc details: {error}"
    bad_request = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(bad_request)
    fields = [violation.field for violation in bad_request.field_violations]
    assert len(set(fields)) == len(fields), f"a field has two violations: {bad_request}"
    return {violation.field: violation.description for violation in bad_request.field_violations}
