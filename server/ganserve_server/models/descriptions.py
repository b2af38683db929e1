"""Describe models and their engines in the messages of GetModel."""

from ganserve.v1 import gan_service_pb2
from ganserve_server.engine.engine import Engine
from ganserve_server.models.model import Model


def describe_model(model: Model) -> gan_service_pb2.GetModelResponse:
    """Return the manifest of one version and how its graphs run."""
    engines = [describe_engine(engine, model.max_batch_size) for engine in model.engines()]
    return gan_service_pb2.GetModelResponse(spec=model.spec, engines=engines)


def describe_engine(engine: Engine, max_batch_size: int) -> gan_service_pb2.EngineInfo:
    """Return how a graph runs."""
    return gan_service_pb2.EngineInfo(
        file=engine.file,
        providers=engine.providers,
        nodes_by_provider=engine.nodes_by_provider,
        max_batch_size=max_batch_size,
        batch_buckets=engine.config.buckets,
        instances=engine.instances,
        cuda_graphs=engine.cuda_graphs,
        tf32=engine.tf32,
        threads=engine.config.threads,
    )
