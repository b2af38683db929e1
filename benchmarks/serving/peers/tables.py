"""Print the comparison: a row for each server with the loads as columns, and all figures of each load."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def tables(report: dict[str, Any]) -> str:
    """Return the tables of a report, in Markdown; figures are medians over the rounds."""
    server, client = (report["cores"][part] for part in ("server", "client"))
    if server == client:
        places = f"Server and client share the cores {_listed(server)}"
    else:
        places = f"The servers have the cores {_listed(server)}, the client {_listed(client)}"
    lines = [f"{places}. Whole rounds: {report['rounds']}.", "", *_summary(report), *_reasons(report), ""]
    if report["trials"]:
        lines += [*_details(report), ""]
    return "\n".join(lines)


def _summary(report: dict[str, Any]) -> list[str]:
    """Return a row for each server: the rate of each load, CPU time, and what it uses at rest."""
    loads = list(_loads(report))
    busy = [load for load in loads if load[0] == loads[0][0]][-1]
    at_rest = loads[-1][0]
    heads = [
        *(f"{_named(*load)}{', samples/s' if load[1] > 1 else ''}" for load in loads),
        f"server CPU ms a request, {_named(*busy)}",
        f"{at_rest} at rest: MiB in processes, cores",
        "start s",
    ]
    lines = [f"| requests/s | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for title in dict.fromkeys([*report["trials"], *report["failures"]]):
        trials = report["trials"].get(title, {})
        cells = [_cell(_median(trials, load, "per_s"), "{:,.0f}", load[1]) for load in loads]
        cells.append(_cell(_median(trials, busy, "server_cpu_ms"), "{:.2f}"))
        rest = trials.get(at_rest)
        if rest:
            mib, processes, cores, start = (statistics.median(one[key] for one in rest) for key in _AT_REST)
            cells += [f"{mib:,.0f} in {processes:.0f}, {cores:.2f}", f"{start:.1f}"]
        else:
            cells += ["-", "-"]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return lines


def _reasons(report: dict[str, Any]) -> list[str]:
    return ["", *(f"- {title}: {reason}" for title, reason in report["failures"].items())] if report["failures"] else []


def _details(report: dict[str, Any]) -> list[str]:
    """Return a row for each load and server; ratios are medians of the rounds' ratios to the first server."""
    first = next(iter(report["trials"]))
    lines = [
        f"| load | server | requests/s | of {first} | p50 / p99 ms | server CPU ms a request | client CPU ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for load in _loads(report):
        for title, trials in report["trials"].items():
            rate, *rest = (_median(trials, load, key) for key in _FIGURES)
            if rate is None:
                continue
            pairs = zip(_values(trials, load, "per_s"), _values(report["trials"][first], load, "per_s"), strict=False)
            ratio = _cell(statistics.median([a / b for a, b in pairs] or [math.nan]), "{:.2f}")
            p50, p99, server_cpu, client_cpu = (_cell(value, "{:.2f}") for value in rest)
            shown = f"{rate:,.0f} | {ratio} | {p50} / {p99} | {server_cpu} | {client_cpu}"
            lines.append(f"| {_named(*load)} | {title} | {shown} |")
    return lines


_AT_REST = ("memory_mib", "processes", "idle_cores", "start_s")
_FIGURES = ("per_s", "p50_ms", "p99_ms", "server_cpu_ms", "client_cpu_ms")


def _loads(report: dict[str, Any]) -> Iterator[tuple[str, int, int]]:
    """Return model, samples a request, and requests in flight of each load."""
    for model, loads in report["loads"].items():
        for load in loads:
            n, concurrency = load.split("x")
            yield model, int(n), int(concurrency)


def _named(model: str, n: int, concurrency: int) -> str:
    return f"{model} n={n} C={concurrency}"


def _values(trials: dict[str, Any], load: tuple[str, int, int], key: str) -> list[float]:
    model, n, concurrency = load
    return [one["loads"][f"{n}x{concurrency}"][key] for one in trials.get(model, [])]


def _median(trials: dict[str, Any], load: tuple[str, int, int], key: str) -> float | None:
    values = _values(trials, load, key)
    return statistics.median(values) if values else None


def _cell(value: float | None, form: str, times: int = 1) -> str:
    return "-" if value is None else form.format(value * times)


def _listed(cores: list[int]) -> str:
    return ", ".join(map(str, cores))
