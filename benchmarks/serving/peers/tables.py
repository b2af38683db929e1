"""Print the comparison: a row for each server with the loads as columns, and all figures of each load."""

from __future__ import annotations

import statistics
from typing import Any


def tables(report: dict[str, Any]) -> str:
    """Return the tables of a report, in Markdown; figures are medians over the rounds."""
    loads = {model: [_pair(load) for load in loads] for model, loads in report["loads"].items()}
    server, client = (report["cores"][part] for part in ("server", "client"))
    shared = "share the cores" if server == client else "have cores of their own:"
    places = f"Server and client {shared} {_listed(server)}" + ("" if server == client else f" and {_listed(client)}")
    return "\n".join(
        [f"{places}. Rounds: {report['rounds']}.", "", *_summary(report, loads), "", *_details(report, loads), ""]
    )


def _summary(report: dict[str, Any], loads: dict[str, list[tuple[int, int]]]) -> list[str]:
    heads, columns = [], []
    for model, pairs in loads.items():
        for n, concurrency in pairs:
            unit = "samples/s" if n > 1 else "requests/s"
            heads.append(f"{model} n={n} C={concurrency}, {unit}")
            columns.append((model, f"{n}x{concurrency}", n))
    last = list(loads)[-1]
    lines = [
        f"| | {' | '.join(heads)} | {last} idle: MiB in processes, cores | start s |",
        "|" + "---|" * (len(heads) + 3),
    ]
    for title, trials in report["trials"].items():
        cells = []
        for model, load, n in columns:
            rate = _median(trials, model, load, "per_s")
            cells.append("-" if rate is None else f"{n * rate:,.0f}")
        rest = trials.get(last)
        if rest:
            middle = {key: statistics.median(one[key] for one in rest) for key in _AT_REST}
            cells.append(f"{middle['memory_mib']:,.0f} in {middle['processes']:.0f}, {middle['idle_cores']:.2f}")
            cells.append(f"{middle['start_s']:.1f}")
        else:
            cells += ["-", "-"]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    without = [title for title in report["failures"] if title not in report["trials"]]
    lines += [f"| {title} | {' | '.join(['-'] * (len(heads) + 2))} |" for title in without]
    if report["failures"]:
        lines.append("")
        lines += [f"- {title}: {reason}" for title, reason in report["failures"].items()]
    return lines


def _details(report: dict[str, Any], loads: dict[str, list[tuple[int, int]]]) -> list[str]:
    lines = [
        "| load | server | requests/s | p50 / p99 ms | server CPU ms a request | client CPU ms a request |",
        "|---|---|---|---|---|---|",
    ]
    for model, pairs in loads.items():
        for n, concurrency in pairs:
            for title, trials in report["trials"].items():
                load = f"{n}x{concurrency}"
                middle = {key: _median(trials, model, load, key) for key in _FIGURES}
                if middle["per_s"] is None:
                    continue
                latency = f"{middle['p50_ms']:.1f} / {middle['p99_ms']:.1f}"
                cpu = f"{middle['server_cpu_ms']:.2f} | {middle['client_cpu_ms']:.2f}"
                lines.append(
                    f"| {model} n={n} C={concurrency} | {title} | {middle['per_s']:,.0f} | {latency} | {cpu} |"
                )
    return lines


_AT_REST = ("memory_mib", "processes", "idle_cores", "start_s")
_FIGURES = ("per_s", "p50_ms", "p99_ms", "server_cpu_ms", "client_cpu_ms")


def _median(trials: dict[str, Any], model: str, load: str, key: str) -> float | None:
    values = [one["loads"][load][key] for one in trials.get(model, [])]
    return statistics.median(values) if values else None


def _pair(load: str) -> tuple[int, int]:
    n, concurrency = load.split("x")
    return int(n), int(concurrency)


def _listed(cores: list[int]) -> str:
    return ", ".join(map(str, cores))
