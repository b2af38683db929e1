"""Define all metrics. The endpoint, the dashboard and the documentation are made from these definitions."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]

_SUFFIXES = {"counter": "_total", "gauge": "", "histogram": "_bucket"}


@dataclass(frozen=True, slots=True)
class Metric:
    """One family of time series."""

    kind: Kind
    name: str
    """Name without the suffix of its kind (_total, _bucket, _sum, _count)."""
    labels: tuple[str, ...]
    help: str
    over_processes: Literal["sum", "max", "min"] = "sum"
    """How the values of several processes of one server become the server's."""

    @property
    def sample_name(self) -> str:
        """The name in queries; for a histogram, the name of its buckets."""
        return self.name + _SUFFIXES[self.kind]


METRICS: list[Metric] = []
_GRAPH = ("model", "version", "graph")


def _define(
    kind: Kind,
    name: str,
    labels: tuple[str, ...],
    description: str,
    over_processes: Literal["sum", "max", "min"] = "sum",
) -> Metric:
    METRICS.append(Metric(kind, f"ganserve_{name}", labels, description, over_processes))
    return METRICS[-1]


REQUESTS = _define(
    "counter",
    "requests",
    ("method", "code"),
    "Finished calls by gRPC method and status; methods that do not exist count as unknown.",
)
REQUEST_SECONDS = _define(
    "histogram", "request_seconds", ("method",), "Seconds from a call's arrival to its end; a stream is one call."
)
RUNNING_REQUESTS = _define("gauge", "running_requests", (), "Calls that arrived and have not ended.")
REFUSED_CALLERS = _define(
    "counter",
    "refused_callers",
    ("reason",),
    "Calls of callers that the server does not know, or no longer, by reason.",
)
DENIED = _define("counter", "denied", (), "Calls that their caller's roles do not allow (PERMISSION_DENIED).")
QUOTA_REFUSALS = _define(
    "counter", "quota_refusals", ("caller", "quota"), "Calls refused because their caller had used up a quota."
)
CERTIFICATE_EXPIRY = _define(
    "gauge",
    "certificate_expiry_seconds",
    (),
    "When the server's certificate ends, in seconds since 1970; 0: it has none.",
    "min",
)
SAMPLES = _define("counter", "samples", _GRAPH, "Samples drawn or scored.")
GRAPH_REQUESTS = _define(
    "counter", "graph_requests", _GRAPH, "Requests that a graph's queue answered; each chunk of a stream is one."
)
REJECTED = _define("counter", "rejected", _GRAPH, "Requests refused because the queue was full (RESOURCE_EXHAUSTED).")
EXPIRED = _define("counter", "expired", _GRAPH, "Requests dropped because their deadline passed in the queue.")
CANCELLED = _define("counter", "cancelled", _GRAPH, "Requests cancelled by their client.")
FAILED = _define(
    "counter", "failed", _GRAPH, "Requests that failed with their model call, or because the model was unloaded."
)
BATCH_SIZE = _define("histogram", "batch_size", _GRAPH, "Samples of each model call, before padding.")
QUEUE_SECONDS = _define("histogram", "queue_seconds", _GRAPH, "Seconds that a request waited for its first model call.")
COMPUTE_SECONDS = _define("histogram", "compute_seconds", _GRAPH, "Seconds of each model call.")
QUEUED_SAMPLES = _define("gauge", "queued_samples", _GRAPH, "Samples that wait for a model call now.")
MODEL_INFO = _define(
    "gauge",
    "model_info",
    ("model", "version", "provider", "state"),
    "1 for each version in the repository, with its state and the execution provider that its sessions use.",
    "max",
)
PROVIDER_NODES = _define(
    "gauge",
    "provider_nodes",
    (*_GRAPH, "provider"),
    "Nodes of each graph by the execution provider that runs them.",
    "max",
)
REPOSITORY_READABLE = _define(
    "gauge",
    "repository_readable",
    (),
    "1 if the whole folder of models could be read at the last check; else 0. Loaded models keep serving.",
    "min",
)
READY = _define("gauge", "ready", (), "1 while calls are answered, as in /readyz; else 0.", "max")
PROCESSES = _define("gauge", "processes", (), "Server processes that answer calls.")
REPLACED_PROCESSES = _define(
    "counter", "replaced_processes", (), "Server processes that ended before the server did, and were replaced."
)
BUILD_INFO = _define(
    "gauge",
    "build_info",
    ("version", "python", "onnxruntime", "grpc"),
    "Always 1; the labels give the versions of ganserve, Python, onnxruntime and gRPC.",
    "max",
)
