"""Describe models and versions in the messages of ListModels and GetModel."""

from collections.abc import Mapping

from ganserve.v1 import gan_service_pb2
from ganserve_server.engine.engine import Engine
from ganserve_server.models.model import Model
from ganserve_server.models.version_entry import VersionEntry


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


def summarise_model(name: str, versions: Mapping[int, VersionEntry], latest: int) -> gan_service_pb2.ModelSummary:
    """Return a model's versions and their states."""
    return gan_service_pb2.ModelSummary(
        name=name, versions=[_summarise_version(entry) for entry in versions.values()], latest=latest
    )


def _summarise_version(entry: VersionEntry) -> gan_service_pb2.VersionSummary:
    summary = gan_service_pb2.VersionSummary(version=entry.version, state=entry.state, reason=entry.reason)
    if (model := entry.model) is not None:
        summary.sample.CopyFrom(model.spec.sample)
        summary.label_names.extend(model.info.label_names)
        summary.providers.extend(model.providers)
        summary.has_critic = model.critic is not None
        summary.controls.extend(model.spec.latent.controls)
    return summary
