"""The metrics that there are: what the endpoint, the dashboard and the documentation are made from."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One family of time series."""

    name: str
    """Without the suffixes that its kind adds (_total, _bucket, _sum, _count)."""
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...] = ()
    help: str

    @property
    def sample_name(self) -> str:
        """The name that queries use; of a histogram, its buckets'."""
        return self.name + {"counter": "_total", "gauge": "", "histogram": "_bucket"}[self.kind]


_GRAPH = ("model", "version", "graph")

REQUESTS = Metric(
    name="ganserve_requests",
    kind="counter",
    labels=("method", "code"),
    help="Calls that ended, by gRPC method and status; methods that do not exist count as unknown.",
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
    help="Requests turned away because the queue was full (RESOURCE_EXHAUSTED).",
)
EXPIRED = Metric(
    name="ganserve_expired",
    kind="counter",
    labels=_GRAPH,
    help="Requests whose deadline passed in the queue; their work was not done.",
)
CANCELLED = Metric(
    name="ganserve_cancelled", kind="counter", labels=_GRAPH, help="Requests whose client went away before the end."
)
FAILED = Metric(
    name="ganserve_failed",
    kind="counter",
    labels=_GRAPH,
    help="Requests that a failed model call, or unloading, ended.",
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
    help="1 for each version in the repository: its state, and the execution provider that its sessions really have.",
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
    help="1 if the models' folder and all in it could be read at the last look; else 0, and what is loaded serves on.",
)
READY = Metric(name="ganserve_ready", kind="gauge", help="1 while calls are answered, as /readyz says; else 0.")
BUILD_INFO = Metric(
    name="ganserve_build_info",
    kind="gauge",
    labels=("version", "python", "onnxruntime", "grpc"),
    help="1; its labels are the versions of what runs.",
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
