"""Add up the metrics of several processes to those of their server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from ganserve_server.monitoring import metric_definitions as d

if TYPE_CHECKING:  # it imports onnxruntime, which the supervisor does not need
    from ganserve_server.monitoring.metric_collector import ServerCollector

_Series: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]

_COMBINE: dict[str, Callable[[float, float], float]] = {"sum": lambda a, b: a + b, "max": max, "min": min}
_RULES: dict[str, str] = {
    **{metric.name: metric.over_processes for metric in d.METRICS},
    "process_start_time_seconds": "min",
    # So that their ratio is that of the process which is nearest to its limit.
    "process_open_fds": "max",
    "process_max_fds": "min",
}
_COUNTS = ("counter", "histogram")


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """The metrics and the health of one process at one moment."""

    families: list[Metric]
    number: int = 0
    """Its place among the snapshots of the process: counts never fall from one to the next."""
    not_ready_because: str = ""
    """Why it answers no calls; empty if it does."""
    providers: tuple[str, ...] = ()
    """The execution providers that run its models."""


def snapshot_of(collector: ServerCollector | None, not_ready_because: str, number: int) -> Snapshot:
    """Return a snapshot of this process with its number; without a collector it has not begun to serve."""
    families: list[Metric] = [*(() if collector is None else collector.collect()), *process_families()]
    providers = () if collector is None else tuple(collector.providers())
    return Snapshot(families=families, number=number, not_ready_because=not_ready_because, providers=providers)


def process_families() -> list[Metric]:
    """Return the metrics of the operating system about this process."""
    return list(ProcessCollector(registry=None).collect())


class ServiceCollector(Collector):
    """The metrics of a server of several processes. Scrapes come from the endpoint's threads."""

    def __init__(
        self,
        refresh: Callable[[], object],
        counts: Callable[[], tuple[Iterable[Snapshot], Iterable[Snapshot]]],
        replaced: Callable[[], int],
        protection: Callable[[], Iterable[tuple[d.Metric, list[tuple[tuple[str, ...], float]]]]] = tuple,
    ) -> None:
        """Collect from the snapshots of the processes that run, and of those that have ended since the last time.

        `counts` returns both, and `refresh` takes the snapshots. Counts of processes that have ended are kept, so that
        the server's never fall.
        `replaced` returns how many ended early, and `protection` the metrics of callers of the HTTP port.
        """
        self._refresh, self._counts = refresh, counts
        self._protection = protection
        self._replaced = replaced
        self._ended: list[Metric] = []
        self._lock = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics; see `prometheus_client.registry.Collector`."""
        replaced = CounterMetricFamily(d.REPLACED_PROCESSES.name, d.REPLACED_PROCESSES.help, value=self._replaced())
        self._refresh()
        with self._lock:  # of two scrapes at once, none counts a process twice
            running, ended = self._counts()
            for snapshot in ended:
                counts = [family for family in snapshot.families if family.type in _COUNTS]
                self._ended = list(combined([*self._ended, *counts]))
            families = list(self._ended)
        families += [*process_families(), replaced, *self._protection_families()]
        for snapshot in running:
            families += snapshot.families
        yield from combined(families)

    def _protection_families(self) -> Iterator[Metric]:
        for metric, values in self._protection():
            kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = kind(metric.name, metric.help, labels=metric.labels)
            for labels, value in values:
                family.add_metric(labels, value)
            yield family


def combined(families: Iterable[Metric]) -> Iterator[Metric]:
    """Yield each family once, with the values of each series combined by its rule."""
    values: dict[str, dict[_Series, float]] = {}
    kinds: dict[str, Metric] = {}
    for family in families:
        kinds.setdefault(family.name, family)
        series = values.setdefault(family.name, {})
        combine = _COMBINE[_RULES.get(family.name, "sum")]
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            series[key] = combine(series[key], sample.value) if key in series else sample.value
    for name, series in values.items():
        whole = Metric(name, kinds[name].documentation, kinds[name].type)
        whole.samples = [Sample(sample, dict(labels), value) for (sample, labels), value in series.items()]
        yield whole
