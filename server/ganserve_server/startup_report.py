"""Write the report that a server prints at start: provider, parallelism and models."""

from collections.abc import Sequence

from ganserve.v1 import gan_service_pb2, model_spec_pb2
from ganserve_server.engine.engine import EngineConfig
from ganserve_server.engine.providers import ProviderChoice
from ganserve_server.models.repository import Repository
from ganserve_server.queue.batch_config import BatchConfig

_MOST_LABELS = 12


def startup_report(repository: Repository, choice: ProviderChoice, engine: EngineConfig, batch: BatchConfig) -> str:
    """Return one line for the provider, one for the parallelism and one for each version of each model."""
    threads = f"{engine.threads} CPU thread{'' if engine.threads == 1 else 's'}"
    samples = f"at most {batch.max_batch_size} samples"
    if batch.max_small_batch_size > batch.max_batch_size:
        samples += f", {batch.max_small_batch_size} small ones"
    lines = [
        f"provider {choice.name} ({choice.reason})",
        f"calls    {batch.workers} at a time, {threads} each, {samples}",
    ]
    for model in repository.summaries():
        lines += [_version(model, version) for version in model.versions]
    lines += [f"ignored  {reason}" for reason in repository.ignored]
    return "".join(f"{line}\n" for line in lines)


def _version(model: gan_service_pb2.ModelSummary, version: gan_service_pb2.VersionSummary) -> str:
    head = f"{model.name} version {version.version}"
    if version.state == gan_service_pb2.MODEL_STATE_FAILED:
        return f"FAILED   {head}: {version.reason}"
    if version.state != gan_service_pb2.MODEL_STATE_READY:
        return f"unloaded {head}"
    sample = version.sample
    kind = "images uint8" if sample.kind == model_spec_pb2.SAMPLE_KIND_IMAGE else "vectors float32"
    latest = " (latest)" if version.version == model.latest and len(model.versions) > 1 else ""
    controls = f", controls {', '.join(control.name for control in version.controls)}" if version.controls else ""
    critic = "" if version.has_critic else ", no critic"
    return f"model    {head}{latest}: {kind} {list(sample.shape)}, {_labels(version.label_names)}{controls}{critic}"


def _labels(names: Sequence[str]) -> str:
    if not names:
        return "unconditional"
    more = f", … ({len(names)} in all)" if len(names) > _MOST_LABELS else ""
    return f"labels {', '.join(names[:_MOST_LABELS])}{more}"
