"""Methods of gRPC's standard services that grpcio-health-checking and grpcio-reflection (1.81) lack.

Health's List, and version 1 of reflection, whose messages are those of v1alpha under another name.
"""

from collections.abc import Callable, Mapping
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from ganserve_server.api.grpc.gan_service import Context

_ALPHA, _V1 = "grpc.reflection.v1alpha", "grpc.reflection.v1"
_V1_FILE = "grpc/reflection/v1/reflection.proto"
REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"


def health_list(statuses: Callable[[], Mapping[str, int]]) -> grpc.GenericRpcHandler:
    """Return the handler of `grpc.health.v1.Health/List`, which tells the status of each service."""
    request, response = _list_messages()

    async def answer(_request: Any, _context: Context) -> Any:
        listed = response()
        for service, status in statuses().items():
            listed.statuses[service].status = status
        return listed

    method = grpc.unary_unary_rpc_method_handler(answer, request.FromString, response.SerializeToString)
    handler: grpc.GenericRpcHandler = grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"List": method})
    return handler


def reflection_v1(services: tuple[str, ...]) -> grpc.GenericRpcHandler:
    """Return the handler of `grpc.reflection.v1.ServerReflection` for these services."""
    messages = reflection_pb2
    method = grpc.stream_stream_rpc_method_handler(
        reflection.aio.ReflectionServicer(services, _pool_with_v1()).ServerReflectionInfo,
        messages.ServerReflectionRequest.FromString,
        messages.ServerReflectionResponse.SerializeToString,
    )
    handler: grpc.GenericRpcHandler = grpc.method_handlers_generic_handler(
        REFLECTION_V1, {"ServerReflectionInfo": method}
    )
    return handler


def _list_messages() -> tuple[Any, Any]:
    """Return the messages HealthListRequest and HealthListResponse, from a pool of their own."""
    pool, base = descriptor_pool.DescriptorPool(), descriptor_pb2.FileDescriptorProto()
    health_pb2.DESCRIPTOR.CopyToProto(base)
    pool.Add(base)
    if "HealthListResponse" not in health_pb2.DESCRIPTOR.message_types_by_name:
        file = descriptor_pb2.FileDescriptorProto(
            name="health_list.proto", package=base.package, dependency=[base.name], syntax="proto3"
        )
        file.message_type.add(name="HealthListRequest")
        response = file.message_type.add(name="HealthListResponse")
        entry = response.nested_type.add(name="StatusesEntry")
        entry.options.map_entry = True
        field = descriptor_pb2.FieldDescriptorProto
        entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
        health = f".{base.package}.HealthCheckResponse"
        entry.field.add(name="value", number=2, type=field.TYPE_MESSAGE, type_name=health, label=field.LABEL_OPTIONAL)
        inner = f".{base.package}.HealthListResponse.StatusesEntry"
        response.field.add(
            name="statuses", number=1, type=field.TYPE_MESSAGE, type_name=inner, label=field.LABEL_REPEATED
        )
        pool.Add(file)
    names = (f"{base.package}.HealthList{kind}" for kind in ("Request", "Response"))
    request, answer = (message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names)
    return request, answer


def _pool_with_v1() -> descriptor_pool.DescriptorPool:
    """Return the default pool, which also describes version 1 of reflection itself."""
    pool = descriptor_pool.Default()
    try:
        pool.FindFileContainingSymbol(REFLECTION_V1)
    except KeyError:
        alpha = descriptor_pb2.FileDescriptorProto()
        reflection_pb2.DESCRIPTOR.CopyToProto(alpha)
        for message in alpha.message_type:
            for field in (field for field in message.field if field.HasField("type_name")):
                field.type_name = field.type_name.replace(_ALPHA, _V1)
        for method in alpha.service[0].method:
            method.input_type = method.input_type.replace(_ALPHA, _V1)
            method.output_type = method.output_type.replace(_ALPHA, _V1)
        alpha.name, alpha.package = _V1_FILE, _V1
        pool.Add(alpha)
    return pool
