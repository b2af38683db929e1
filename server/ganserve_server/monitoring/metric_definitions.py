"""Define all metrics. The endpoint, the dashboard and the documentation are made from these definitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One family of time series."""

    name: str
    """Name without the suffix of its kind (_total, _bucket, _sum, _count)."""
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...] = ()
    help: str

    @property
    def sample_name(self) -> str:
        """The name in queries; for a histogram, the name of its buckets."""
        return self.name + {"counter": "_total", "gauge": "", "histogram": "_bucket"}[self.kind]


_GRAPH = ("model", "version", "graph")

REQUESTS = Metric(
    name="ganserve_requests",
    kind="counter",
    labels=("method", "code"),
    help="Finished calls by gRPC method and status; methods that do not exist count as unknown.",
)
REQUEST_SECONDS = Metric(
    name="ganserve_request_seconds",
    kind="histogram",
    labels=("method",),
    help="Seconds from a call's arrival to its end; a stream is one call.",
)
RUNNING_REQUESTS = Metric(name="ganserve_running_requests", kind="gauge", help="Calls that arrived and have not ended.")
SAMPLES = Metric(name="ganserve_samples", kind="counter", labels=_GRAPH, help="Samples drawn or scored.")
GRAPH_REQUESTS = Metric(
    name="ganserve_graph_requests",
    kind="counter",
    labels=_GRAPH,
    help="Requests that a graph's queue answered; each chunk of a stream is one.",
)
REJECTED = Metric(
    name="ganserve_rejected",
    kind="counter",
    labels=_GRAPH,
    help="Requests refused because the queue was full (RESOURCE_EXHAUSTED).",
)
EXPIRED = Metric(
    name="ganserve_expired",
    kind="counter",
    labels=_GRAPH,
    help="Requests dropped because their deadline passed in the queue.",
)
CANCELLED = Metric(name="ganserve_cancelled", kind="counter", labels=_GRAPH, help="Requests cancelled by their client.")
FAILED = Metric(
    name="ganserve_failed",
    kind="counter",
    labels=_GRAPH,
    help="Requests that failed with their model call, or because the model was unloaded.",
)
BATCH_SIZE = Metric(
    name="ganserve_batch_size", kind="histogram", labels=_GRAPH, help="Samples of each model call, before padding."
)
QUEUE_SECONDS = Metric(
    name="ganserve_queue_seconds",
    kind="histogram",
    labels=_GRAPH,
    help="Seconds that a request waited for its first model call.",
)
COMPUTE_SECONDS = Metric(
    name="ganserve_compute_seconds", kind="histogram", labels=_GRAPH, help="Seconds of each model call."
)
QUEUED_SAMPLES = Metric(
    name="ganserve_queued_samples", kind="gauge", labels=_GRAPH, help="Samples that wait for a model call now."
)
MODEL_INFO = Metric(
    name="ganserve_model_info",
    kind="gauge",
    labels=("model", "version", "provider", "state"),
    help="1 for each version in the repository, with its state and the execution provider that its sessions use.",
)
PROVIDER_NODES = Metric(
    name="ganserve_provider_nodes",
    kind="gauge",
    labels=(*_GRAPH, "provider"),
    help="Nodes of each graph by the execution provider that runs them.",
)
REPOSITORY_READABLE = Metric(
    name="ganserve_repository_readable",
    kind="gauge",
    help="1 if the whole folder of models could be read at the last check; else 0. Loaded models keep serving.",
)
READY = Metric(name="ganserve_ready", kind="gauge", help="1 while calls are answered, as in /readyz; else 0.")
BUILD_INFO = Metric(
    name="ganserve_build_info",
    kind="gauge",
    labels=("version", "python", "onnxruntime", "grpc"),
    help="Always 1; the labels give the versions of ganserve, Python, onnxruntime and gRPC.",
)

METRICS = (
    REQUESTS,
    REQUEST_SECONDS,
    RUNNING_REQUESTS,
    SAMPLES,
    GRAPH_REQUESTS,
    REJECTED,
    EXPIRED,
    CANCELLED,
    FAILED,
    BATCH_SIZE,
    QUEUE_SECONDS,
    COMPUTE_SECONDS,
    QUEUED_SAMPLES,
    MODEL_INFO,
    PROVIDER_NODES,
    REPOSITORY_READABLE,
    READY,
    BUILD_INFO,
)
