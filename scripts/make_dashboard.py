"""Write the Grafana dashboard from the server's metric definitions: make_dashboard.py [--check].

Each metric gets a panel by its kind: counters as rates, histograms as quantiles, gauges as they are. `ROWS` says where
it stands and by which labels it is split; a metric without a row is an error.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ganserve_server.monitoring import metric_definitions as d

FILE = Path(__file__).parents[1] / "dashboards" / "ganserve.json"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
ROWS: dict[str, list[tuple[d.Metric, tuple[str, ...]]]] = {
    "Calls": [
        (d.REQUESTS, ("method", "code")),
        (d.REQUEST_SECONDS, ("method",)),
        (d.RUNNING_REQUESTS, ("instance",)),
        (d.READY, ("instance",)),
        (d.PROCESSES, ("instance",)),
        (d.REPLACED_PROCESSES, ("instance",)),
    ],
    "Callers": [
        (d.REFUSED_CALLERS, ("reason",)),
        (d.DENIED, ("instance",)),
        (d.QUOTA_REFUSALS, ("caller", "quota")),
        (d.CERTIFICATE_EXPIRY, ("instance",)),
    ],
    "Models": [
        (d.SAMPLES, ("model", "version", "graph")),
        (d.GRAPH_REQUESTS, ("model", "version", "graph")),
        (d.BATCH_SIZE, ("model", "graph")),
        (d.COMPUTE_SECONDS, ("model", "graph")),
        (d.REPOSITORY_READABLE, ("instance",)),
    ],
    "Queues": [
        (d.QUEUED_SAMPLES, ("instance", "model", "graph")),
        (d.QUEUE_SECONDS, ("model", "graph")),
        (d.REJECTED, ("model", "graph")),
        (d.EXPIRED, ("model", "graph")),
        (d.CANCELLED, ("model", "graph")),
        (d.FAILED, ("model", "graph")),
    ],
    "What runs": [
        (d.MODEL_INFO, ("instance", "model", "version", "provider", "state")),
        (d.PROVIDER_NODES, ("model", "version", "graph", "provider")),
        (d.BUILD_INFO, ("instance", "version", "python", "onnxruntime", "grpc")),
    ],
}
PROCESS = [
    (
        "process_cpu_seconds_total",
        "CPU cores used",
        "sum by (instance) (rate(process_cpu_seconds_total{%s}[%s]))",
        "short",
    ),
    ("process_resident_memory_bytes", "Memory", "sum by (instance) (process_resident_memory_bytes{%s})", "bytes"),
    ("process_open_fds", "Open files", "sum by (instance) (process_open_fds{%s})", "short"),
]
FILTER = 'job=~"$job",instance=~"$instance"'
MODEL_FILTER = FILTER + ',model=~"$model"'
INTERVAL = "$__rate_interval"
QUANTILES = (0.5, 0.95, 0.99)
WIDTH, HEIGHT, COLUMNS = 8, 8, 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the file is not current")
    arguments = parser.parse_args()
    text = json.dumps(dashboard(), indent=1) + "\n"
    if arguments.check:
        if FILE.exists() and FILE.read_text() == text:
            return 0
        sys.stderr.write(f"{FILE} is not current: run {Path(__file__).name}\n")
        return 1
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text)
    return 0


def dashboard() -> dict[str, object]:
    missing = {metric.name for metric in d.METRICS} - {metric.name for row in ROWS.values() for metric, _ in row}
    if missing:
        raise SystemExit(f"metrics without a row: {', '.join(sorted(missing))}. Add them to ROWS.")
    panels: list[dict[str, object]] = []
    y = 0
    for title, row in ROWS.items():
        y = add_row(panels, title, [metric_panel(metric, by) for metric, by in row], y)
    add_row(panels, "Process", [process_panel(*panel) for panel in PROCESS], y)
    for number, panel in enumerate(panels, start=1):
        panel["id"] = number
    return {
        "title": "ganserve",
        "uid": "ganserve",
        "description": "Made by scripts/make_dashboard.py from the server's metric definitions.",
        "tags": ["ganserve"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
                variable("job", f"label_values({d.BUILD_INFO.name}, job)"),
                variable("instance", f'label_values({d.BUILD_INFO.name}{{job=~"$job"}}, instance)'),
                variable("model", f"label_values({d.MODEL_INFO.name}{{{FILTER}}}, model)"),
            ]
        },
        "panels": panels,
    }


def variable(name: str, query: str) -> dict[str, object]:
    return {
        "name": name,
        "type": "query",
        "datasource": DATASOURCE,
        "query": query,
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def add_row(panels: list[dict[str, object]], title: str, row: list[dict[str, object]], y: int) -> int:
    """Add a row of panels below `y`, and return where it ends."""
    panels.append({"type": "row", "title": title, "collapsed": False, "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}})
    for index, panel in enumerate(row):
        line, column = divmod(index, COLUMNS)
        panel["gridPos"] = {"h": HEIGHT, "w": WIDTH, "x": column * WIDTH, "y": y + 1 + line * HEIGHT}
        panels.append(panel)
    return y + 1 + -(-len(row) // COLUMNS) * HEIGHT


def metric_panel(metric: d.Metric, by: tuple[str, ...]) -> dict[str, object]:
    series = f"{metric.sample_name}{{{MODEL_FILTER if 'model' in metric.labels else FILTER}}}"
    legend = " ".join(f"{{{{{label}}}}}" for label in by)
    if metric.kind == "histogram":
        groups = ", ".join(("le", *by))
        targets = [
            (
                f"histogram_quantile({quantile}, sum by ({groups}) (rate({series}[{INTERVAL}])))",
                f"p{quantile * 100:g} {legend}",
            )
            for quantile in QUANTILES
        ]
    elif metric.kind == "counter":
        targets = [(f"sum by ({', '.join(by)}) (rate({series}[{INTERVAL}]))", legend)]
    else:
        targets = [(f"max by ({', '.join(by)}) ({series})", legend)]
    unit = "s" if metric.name.endswith("_seconds") else "short"
    if metric.name.endswith("_info"):
        return panel(metric.name, metric.help, "table", unit, [(expression, "") for expression, _ in targets])
    title = f"{metric.name}, per second" if metric.kind == "counter" else metric.name
    return panel(title, metric.help, "timeseries", unit, targets)


def process_panel(name: str, title: str, expression: str, unit: str) -> dict[str, object]:
    filled = expression % ((FILTER, INTERVAL) if expression.count("%s") > 1 else (FILTER,))
    return panel(title, f"{name} of the server's process.", "timeseries", unit, [(filled, "{{instance}}")])


def panel(title: str, description: str, kind: str, unit: str, targets: list[tuple[str, str]]) -> dict[str, object]:
    table = kind == "table"
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": DATASOURCE,
                "expr": expression,
                "legendFormat": legend,
                **({"instant": True, "format": "table"} if table else {}),
            }
            for index, (expression, legend) in enumerate(targets)
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
