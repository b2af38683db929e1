"""The task of `ganserve generate`: a job for one model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ganserve_server.bulk.generating import Generator
from ganserve_server.bulk.sample_job import SampleJob
from ganserve_server.bulk.tasks import MOST_SHARDS
from ganserve_server.engine.providers import choose_provider
from ganserve_server.errors import JobError
from ganserve_server.models.model import Model
from ganserve_server.models.package_files import Package
from ganserve_server.settings import ServerConfig


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleTask:
    """Samples to generate with a model."""

    unit: ClassVar[str] = "samples"
    job: SampleJob
    description: dict[str, Any]
    """Facts on which the shards depend."""

    @classmethod
    def of(cls, job: SampleJob, package: Package, config: ServerConfig) -> SampleTask:
        """Describe a job for a model; raise JobError if it has too many shards."""
        if -(-job.count // job.shard_size) > MOST_SHARDS:
            least = -(-job.count // MOST_SHARDS)
            raise JobError(f"--shard-size {job.shard_size}: makes more than {MOST_SHARDS:,} shards. Give {least:,}.")
        return cls(job=job, description=describe("generate", package, config) | job.description(package.info))

    def open(self, model: Model) -> Generator:
        """Return the worker."""
        return Generator(model, self.job, self.description)


def describe(kind: str, package: Package, config: ServerConfig) -> dict[str, Any]:
    """Return what every task depends on: the model and its execution provider."""
    info = package.info
    # On a cluster the settings name the provider, which this machine may lack.
    provider = choose_provider(config.provider).name if config.provider == "auto" else config.provider
    return {
        "kind": kind,
        "model": info.name,
        "version": info.version,
        "package_sha256": package.digest,
        "bfloat16": config.bfloat16,
        "provider": {"CPUExecutionProvider": "cpu", "CUDAExecutionProvider": "cuda"}.get(provider, provider),
    }
