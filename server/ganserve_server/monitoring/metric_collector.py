"""Collect the metrics at each scrape from counts that the server keeps anyway, so that calls do no extra work."""

import importlib.metadata
import itertools
import platform
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import grpc
import onnxruntime
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from ganserve.v1 import gan_service_pb2
from ganserve_server.models.model import Model
from ganserve_server.models.repository import Repository
from ganserve_server.monitoring import metric_definitions as d
from ganserve_server.monitoring.call_tracking import CallStatistics
from ganserve_server.queue.batcher import Batcher
from ganserve_server.queue.statistics import GraphStatistics, Histogram

Labels: TypeAlias = tuple[str, ...]
_Family: TypeAlias = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily

# Keep an unloaded graph's series for several scrapes, so that its last counts are not lost.
_REMEMBERED_S = 900.0
# When a version is reloaded often, the counts of all but the last few loads are summed up.
_KEPT_APART = 4


class ServerCollector(Collector):
    """Collects the metrics of one server. Scrapes come from the endpoint's threads."""

    def __init__(
        self,
        calls: CallStatistics,
        is_ready: Callable[[], bool],
        protection: Callable[[], Iterable[tuple[d.Metric, list[tuple[Labels, float]]]]] = tuple,
    ) -> None:
        """Collect metrics of calls, and those that `protection` returns; `follow` adds those of models."""
        self._calls = calls
        self._is_ready = is_ready
        self._protection = protection
        self._repository: Repository | None = None
        self._graphs = _Graphs()

    def follow(self, repository: Repository) -> None:
        """Add the models of a loaded repository."""
        self._repository = repository
        # Also count a version that is loaded and unloaded between two scrapes.
        repository.on_change(self._update)
        self._update()

    def providers(self) -> list[str]:
        """Return the first execution provider of each model, without repetitions."""
        models = [] if self._repository is None else self._repository.models()
        return sorted({model.providers[0] for model in models})

    def collect(self) -> Iterator[_Family]:
        """Yield all metrics; see `prometheus_client.registry.Collector`."""
        yield from self._call_metrics()
        yield _simple(d.READY, [((), float(self._is_ready()))])
        yield _simple(d.PROCESSES, [((), float(self._is_ready()))])
        yield _simple(d.REPLACED_PROCESSES, [((), 0)])
        yield _simple(d.BUILD_INFO, [(_build(), 1)])
        for metric, values in self._protection():
            yield _simple(metric, values)
        if self._repository is not None:
            yield from self._model_metrics(self._repository)

    def _update(self) -> None:
        assert self._repository is not None
        self._graphs.update(_loaded(self._repository))

    def _call_metrics(self) -> Iterator[_Family]:
        methods = list(self._calls.methods.items())
        yield _simple(
            d.REQUESTS,
            [((method, code), count) for method, counts in methods for code, count in list(counts.codes.items())],
        )
        yield _histogram(d.REQUEST_SECONDS, [((method,), [counts.seconds]) for method, counts in methods])
        yield _simple(d.RUNNING_REQUESTS, [((), self._calls.running)])

    def _model_metrics(self, repository: Repository) -> Iterator[_Family]:
        models = _loaded(repository)
        self._graphs.update(models)
        graphs = self._graphs.items()
        for metric, field in _COUNTERS.items():
            yield _simple(metric, [(labels, sum(getattr(part, field) for part in parts)) for labels, parts in graphs])
        for metric, field in _HISTOGRAMS.items():
            yield _histogram(metric, [(labels, [getattr(part, field) for part in parts]) for labels, parts in graphs])
        batchers = [((*labels, graph), batcher) for labels, model in models for graph, batcher in _batchers(model)]
        yield _simple(d.QUEUED_SAMPLES, [(labels, batcher.queued_samples) for labels, batcher in batchers])
        yield _simple(d.REPOSITORY_READABLE, [((), float(not repository.unreadable))])
        yield _simple(d.MODEL_INFO, [(labels, 1) for labels in _infos(repository)])
        yield _simple(
            d.PROVIDER_NODES,
            [
                ((*labels, graph, provider), nodes)
                for labels, model in models
                for graph, engine in zip(_GRAPHS, model.engines(), strict=False)  # no typicality without a critic
                for provider, nodes in engine.nodes_by_provider.items()
            ],
        )


_GRAPHS = "generator", "critic", "typicality"
_COUNTERS = {
    d.SAMPLES: "samples",
    d.GRAPH_REQUESTS: "requests",
    d.REJECTED: "rejected",
    d.EXPIRED: "expired",
    d.CANCELLED: "cancelled",
    d.FAILED: "failed",
}
_HISTOGRAMS = {d.BATCH_SIZE: "batch_sizes", d.QUEUE_SECONDS: "queue_s", d.COMPUTE_SECONDS: "compute_s"}


def make_registry(collector: ServerCollector) -> CollectorRegistry:
    """Return a registry with the metrics of the server, the process and Python."""
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


class _Graphs:
    """The counts of graphs that are loaded, or were until recently.

    A reloaded graph begins at zero while the last requests of its predecessor may still be counted, so its series are
    the sum of both. The series of an unloaded version end after a while, so that old versions do not pile up.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parts: dict[Labels, list[GraphStatistics]] = {}
        self._last_seen: dict[Labels, float] = {}

    def update(self, models: Sequence[tuple[Labels, Model]]) -> None:
        """Add the loaded graphs and drop those unloaded long ago."""
        now = time.monotonic()
        with self._lock:
            for labels, model in models:
                for graph, batcher in _batchers(model):
                    parts = self._parts.setdefault((*labels, graph), [])
                    self._last_seen[*labels, graph] = now
                    if not any(part is batcher.statistics for part in parts):
                        parts.append(batcher.statistics)
                    if len(parts) > _KEPT_APART:
                        parts[:2] = [_sum(*parts[:2])]
            for labels in [labels for labels, seen in self._last_seen.items() if now - seen > _REMEMBERED_S]:
                del self._parts[labels], self._last_seen[labels]

    def items(self) -> list[tuple[Labels, list[GraphStatistics]]]:
        """Return the labels of each graph with its counts, in parts."""
        with self._lock:
            return [(labels, list(parts)) for labels, parts in self._parts.items()]


def _sum(one: GraphStatistics, other: GraphStatistics) -> GraphStatistics:
    total = GraphStatistics()
    for field in _COUNTERS.values():
        setattr(total, field, getattr(one, field) + getattr(other, field))
    for field in _HISTOGRAMS.values():
        histogram, parts = getattr(total, field), (getattr(one, field), getattr(other, field))
        histogram.counts = [sum(counts) for counts in zip(*(part.counts for part in parts), strict=True)]
        histogram.sum = sum(part.sum for part in parts)
    return total


def _batchers(model: Model) -> list[tuple[str, Batcher[Any]]]:
    return [("generator", model.generator), *([("critic", model.critic)] if model.critic else [])]


def _loaded(repository: Repository) -> list[tuple[Labels, Model]]:
    """Return the models that are ready, with name and version."""
    return [((model.info.name, str(model.info.version)), model) for model in repository.models()]


def _infos(repository: Repository) -> Iterator[Labels]:
    for model in repository.summaries():
        for version in model.versions:
            state = gan_service_pb2.ModelState.Name(version.state).removeprefix("MODEL_STATE_").lower()
            yield model.name, str(version.version), next(iter(version.providers), ""), state


def _build() -> Labels:
    # `ganserve.__version__` would import the SDK.
    return importlib.metadata.version("ganserve"), platform.python_version(), onnxruntime.__version__, grpc.__version__


def _simple(metric: d.Metric, values: Iterable[tuple[Labels, float]]) -> CounterMetricFamily | GaugeMetricFamily:
    """Return a counter or a gauge."""
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in values:
        family.add_metric(labels, value)
    return family


def _histogram(metric: d.Metric, values: Sequence[tuple[Labels, Sequence[Histogram]]]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, parts in values:
        counts = [sum(count) for count in zip(*(list(part.counts) for part in parts), strict=True)]
        bounds = [*(str(float(bound)) for bound in parts[0].bounds), "+Inf"]
        buckets = list(zip(bounds, itertools.accumulate(counts), strict=True))
        family.add_metric(labels, buckets, sum_value=sum(part.sum for part in parts))
    return family
