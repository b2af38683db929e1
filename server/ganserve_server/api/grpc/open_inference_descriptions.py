"""Describe graphs in the messages of the Open Inference Protocol and Triton's extensions."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from tritonclient.grpc import model_config_pb2, service_pb2

from ganserve.v1 import gan_service_pb2
from ganserve_server.open_inference.graphs import Graph, GraphTensor, datatype

_PLATFORM, _BACKEND = "onnxruntime_onnx", "onnxruntime"
_EXTENSIONS = (
    "model_repository",
    "schedule_policy",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
)
_PRIORITY_LEVELS, _DEFAULT_LEVEL = 3, 2
_STATES = {
    gan_service_pb2.MODEL_STATE_LOADING: "LOADING",
    gan_service_pb2.MODEL_STATE_READY: "READY",
    gan_service_pb2.MODEL_STATE_UNLOADING: "UNLOADING",
}


def server_metadata() -> Any:
    """Return a ServerMetadataResponse."""
    from importlib.metadata import version  # slow to import

    return service_pb2.ServerMetadataResponse(name="ganserve", version=version("ganserve"), extensions=_EXTENSIONS)


def model_metadata(graph: Graph, versions: Sequence[int]) -> Any:
    """Return a graph's ModelMetadataResponse with its versions that are ready."""
    message = service_pb2.ModelMetadataResponse(
        name=graph.name, versions=[str(version) for version in versions], platform=_PLATFORM
    )
    for tensors, field in ((graph.inputs, message.inputs), (graph.outputs, message.outputs)):
        for one in tensors:
            field.add(name=one.name, datatype=datatype(one.dtype), shape=(-1, *one.sample_shape))
    return message


def model_config(graph: Graph) -> Any:
    """Return a ModelConfigResponse: a configuration that Triton would have for this graph, as far as possible."""
    engine, info = graph.engine, graph.model.info
    config = model_config_pb2.ModelConfig(
        name=graph.name,
        platform=_PLATFORM,
        backend=_BACKEND,
        max_batch_size=engine.max_batch_size,
        default_model_filename=engine.file,
    )
    config.version_policy.all.SetInParent()
    for one in graph.inputs:
        config.input.add(name=one.name, data_type=_data_type(one), dims=one.sample_shape, optional=one.optional)
    for one in graph.outputs:
        config.output.add(name=one.name, data_type=_data_type(one), dims=one.sample_shape)
    batching = config.dynamic_batching
    batching.preferred_batch_size.extend(engine.batch_buckets)
    batching.priority_levels = _PRIORITY_LEVELS
    batching.default_priority_level = _DEFAULT_LEVEL
    batching.default_queue_policy.allow_timeout_override = True
    on_gpu = any(device.startswith("cuda") for device in engine.instances)
    kinds = model_config_pb2.ModelInstanceGroup
    config.instance_group.add(kind=kinds.KIND_GPU if on_gpu else kinds.KIND_CPU, count=max(1, len(engine.instances)))
    if info.label_names:
        config.parameters["label_names"].string_value = json.dumps(list(info.label_names), ensure_ascii=False)
    return service_pb2.ModelConfigResponse(config=config)


def model_statistics(graphs: Iterable[Graph]) -> Any:
    """Return a ModelStatisticsResponse."""
    message = service_pb2.ModelStatisticsResponse()
    for graph in graphs:
        counts = graph.statistics
        entry = message.model_stats.add(
            name=graph.name,
            version=str(graph.model.info.version),
            inference_count=counts.samples,
            execution_count=counts.calls,
        )
        queue_ns, compute_ns = _ns(counts.queue_s.sum), _ns(counts.compute_s.sum)
        stats = entry.inference_stats
        stats.success.count, stats.success.ns = counts.requests, queue_ns + compute_ns
        stats.fail.count = counts.rejected + counts.expired + counts.cancelled + counts.failed
        stats.queue.count, stats.queue.ns = counts.queue_s.count, queue_ns
        stats.compute_infer.count, stats.compute_infer.ns = counts.calls, compute_ns
    return message


def repository_index(states: Iterable[tuple[str, gan_service_pb2.VersionSummary]], *, ready_only: bool) -> Any:
    """Return a RepositoryIndexResponse."""
    message = service_pb2.RepositoryIndexResponse()
    for name, version in states:
        if ready_only and version.state != gan_service_pb2.MODEL_STATE_READY:
            continue
        message.models.add(
            name=name,
            version=str(version.version),
            state=_STATES.get(version.state, "UNAVAILABLE"),
            reason=version.reason,
        )
    return message


def _data_type(tensor: GraphTensor) -> int:
    return int(model_config_pb2.DataType.Value(f"TYPE_{datatype(tensor.dtype)}"))


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
