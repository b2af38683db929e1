"""Health's method List, which grpcio-health-checking (1.81) lacks."""

from collections.abc import Callable, Mapping
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_health.v1 import health_pb2

from ganserve_server.api.grpc.gan_service import Context


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
