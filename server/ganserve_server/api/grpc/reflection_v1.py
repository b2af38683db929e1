"""Version 1 of gRPC's reflection, which grpcio-reflection (1.81) lacks; its messages are those of v1alpha, renamed."""

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection, reflection_pb2

_ALPHA, _V1 = "grpc.reflection.v1alpha", "grpc.reflection.v1"
_V1_FILE = "grpc/reflection/v1/reflection.proto"
REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"


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
