"""Test `ganserve bench`: counts, the schedule of open loops, output files."""

from __future__ import annotations

import asyncio
import csv
import json
import math
import random
import subprocess
import xml.etree.ElementTree as ET
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from commands import ganserve
from ganserve import InvalidRequest, ServerUnavailable
from ganserve._commands.latencies import Latencies
from ganserve._commands.load_generator import Outcome, Stage, due_times, run_stage

if TYPE_CHECKING:
    from pathlib import Path


def bench(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return ganserve("bench", *arguments, folder=cwd)


def test_percentiles_are_accurate_to_one_percent() -> None:
    values = np.random.default_rng(1).lognormal(-5, 1.5, 20_000)
    latencies = Latencies()
    for value in values:
        latencies.add(float(value))
    for percent in (1, 50, 90, 99, 99.9, 100):
        exact = np.sort(values)[math.ceil(20_000 * percent / 100 - 1e-9) - 1]
        assert exact <= latencies.percentile_s(percent) * (1 + 1e-9)
        assert latencies.percentile_s(percent) <= exact * 1.0101
    assert latencies.percentile_s(100) == latencies.highest_s == values.max()
    assert latencies.lowest_s == values.min()
    assert latencies.mean_s == pytest.approx(values.mean())
    assert sum(count for _, count in latencies.buckets()) == latencies.count == 20_000
    bounds = [upper for upper, _ in latencies.buckets()]
    assert bounds == sorted(set(bounds))


def test_percentiles_of_few_or_no_values() -> None:
    latencies = Latencies()
    assert np.isnan(latencies.percentile_s(50))
    assert np.isnan(latencies.mean_s)
    for value in (0.0, 1e-6, 1.0):
        latencies.add(value)
    assert latencies.percentile_s(50) <= 1e-5
    assert latencies.percentile_s(99) == 1.0


def test_due_times() -> None:
    even = list(due_times(Stage(loop="open", level=4, duration_s=1, warm_up_s=0.5, arrivals="even")))
    assert even == [0, 0.25, 0.5, 0.75, 1.0, 1.25]
    stage = Stage(loop="open", level=1000, duration_s=9, warm_up_s=1, seed=3)
    random_ones = list(due_times(stage))
    assert random_ones == list(due_times(stage))
    assert all(0 < before < after < 10 for before, after in pairwise(random_ones))
    gaps = np.diff(random_ones)
    assert 9_500 < len(random_ones) < 10_500
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # exponentially distributed


def test_an_open_loop_counts_the_delay_of_every_call_during_a_stall() -> None:
    """If a service stalls for 0.4 s, a closed loop measures one slow call, an open loop all of them."""
    stall_s, rate = 0.4, 50

    def service() -> Any:
        started: list[float] = []

        async def call() -> None:
            now = asyncio.get_running_loop().time()
            started.append(now)
            await asyncio.sleep(max(0.0, started[0] + stall_s - now))

        return call

    def measured(stage: Stage) -> Outcome:
        return asyncio.run(run_stage(stage, service(), lambda *_: None))

    opened = measured(Stage(loop="open", level=rate, duration_s=0.6, warm_up_s=0, arrivals="even"))
    closed = measured(Stage(loop="closed", level=1, duration_s=0.41, warm_up_s=0))
    assert opened.calls == opened.latencies.count == 30
    # A call that is due at t cannot be answered before the stall ends: at least 0.4 - t later.
    slow = sum(count for upper_s, count in opened.latencies.buckets() if upper_s >= 0.1)
    assert slow >= 0.3 * rate
    assert sum(count for upper_s, count in closed.latencies.buckets() if upper_s >= 0.4) == 1


def test_a_delay_inside_the_load_generator_counts_as_latency() -> None:
    """A load generator that is late, here because a call blocks its thread, reports it."""
    import time

    blocked: list[bool] = []

    async def call() -> None:
        if not blocked:
            blocked.append(True)
            time.sleep(0.3)  # noqa: ASYNC251 - blocking is the point

    stage = Stage(loop="open", level=100, duration_s=0.5, warm_up_s=0, arrivals="even")
    outcome = asyncio.run(run_stage(stage, call, lambda *_: None))
    assert outcome.calls == 50
    assert outcome.latencies.highest_s >= 0.28
    assert outcome.lateness.highest_s >= 0.2
    assert sum(count for upper_s, count in outcome.latencies.buckets() if upper_s >= 0.1) >= 18


def test_failures_count_but_the_warm_up_does_not() -> None:
    chance = random.Random(0)

    async def call() -> None:
        await asyncio.sleep(0.001)
        if chance.random() < 0.5:
            raise InvalidRequest("no")

    stage = Stage(loop="open", level=200, duration_s=0.5, warm_up_s=0.5, arrivals="even")
    outcome = asyncio.run(run_stage(stage, call, lambda *_: None))
    assert outcome.calls == 100
    assert set(outcome.failures) == {"InvalidRequest"}
    assert outcome.latencies.count + outcome.failures.total() == 100
    assert 20 < outcome.failures.total() < 80


def test_a_closed_loop_has_exactly_the_given_number_of_callers() -> None:
    running, most = 0, 0

    async def call() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    outcome = asyncio.run(run_stage(Stage(loop="closed", level=7, duration_s=0.2, warm_up_s=0), call, lambda *_: None))
    assert most == 7
    assert running == 0
    assert outcome.lateness.count == 0
    assert outcome.calls == outcome.latencies.count >= 7


def test_a_refusing_server_is_called_only_after_pauses() -> None:
    calls = 0

    async def call() -> None:
        nonlocal calls
        calls += 1
        raise ServerUnavailable("nobody")

    outcome = asyncio.run(run_stage(Stage(loop="closed", level=2, duration_s=0.3, warm_up_s=0), call, lambda *_: None))
    assert 2 <= calls <= 8
    assert outcome.failures == {"ServerUnavailable": calls}


def test_a_real_server(server: str, tmp_path: Path) -> None:
    levels = ("--concurrency", "1", "3", "--duration-s", "0.4", "--warm-up-s", "0.1", "-n", "5")
    outs = ("--out", "x.csv", "--out", "x.json", "--out", "x.svg")
    done = bench(server, "--model", "tiny", *levels, *outs, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    title, header, first, second, *rest = done.stdout.splitlines()
    assert title == f"{server}: tiny version 2, sample of 5, closed loop, 0.4 s each after 0.1 s"
    assert header.startswith("callers  answered  failed  calls/s  samples/s  mean ms  p50 ms  p90 ms  p99 ms")
    assert (first.split()[0], second.split()[0]) == ("1", "3")
    assert rest[-1] == "written: x.csv, x.json, x.svg"
    everything = json.loads((tmp_path / "x.json").read_text())
    assert (everything["target"], everything["model"], everything["count"]) == (server, "tiny", 5)
    with (tmp_path / "x.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    for row, stage in zip(rows, everything["stages"], strict=True):
        assert stage["answered"] == stage["calls"] > 0
        assert stage["failed"] == 0
        assert sum(count for _, count in stage["histogram_ms"]) == stage["answered"]
        assert stage["samples_per_s"] == pytest.approx(5 * stage["calls_per_s"], abs=0.01)
        assert float(row["p99_ms"]) == stage["p99_ms"]
        assert stage["lowest_ms"] <= stage["p50_ms"] <= stage["p99_ms"] <= stage["highest_ms"]
    picture = ET.parse(tmp_path / "x.svg").getroot()
    texts = {each.text for each in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {title, "callers at a time", "latency, ms", "p99", "1 callers", "3 callers"} <= texts


@pytest.mark.parametrize("model", ["tiny", "tiny-codes", "tiny-vector"])
def test_scores_in_an_open_loop(server: str, model: str) -> None:
    flags = ("--call", "score", "--rate", "50", "--arrivals", "even", "--duration-s", "0.4", "--warm-up-s", "0")
    done = bench(server, "--model", model, *flags, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    (stage,) = json.loads(done.stdout)["stages"]
    assert (stage["loop"], stage["level"], stage["calls"], stage["answered"]) == ("open", 50, 20, 20)
    assert stage["sent_late_p99_ms"] >= 0


@pytest.mark.parametrize(
    ("code", "arguments", "message"),
    [
        (2, ("--rate", "5", "--concurrency", "1"), "--rate: cannot go with --concurrency"),
        (2, ("--concurrency", "0"), "--concurrency 0: must be at least 1"),
        (2, ("--rate", "0"), "--rate 0: must be calls a second, above 0"),
        (2, ("--duration-s", "0"), "--duration-s 0: must be seconds, above 0"),
        (2, ("--warm-up-s", "-1"), "--warm-up-s -1: must be seconds, at least 0"),
        (2, ("--out", "x.png"), "--out x.png: must be NAME.csv, NAME.json or NAME.svg"),
        (2, ("--out", "no/x.csv"), "--out no/x.csv: there is no folder 'no'"),
        (2, ("--model", "tiny", "--label", "9"), "--label 9: model 'tiny' has the labels 0 to 2"),
        (1, ("--model", "nope"), "there is no model 'nope'"),
        (1, ("--model", "tiny-uncritical", "--call", "score"), "model 'tiny-uncritical' has no critic"),
    ],
)
def test_invalid_options_are_refused_before_any_call(
    server: str, tmp_path: Path, code: int, arguments: tuple[str, ...], message: str
) -> None:
    done = bench(server, *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(f"ganserve bench: error: {message}"), done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_no_server(closed_port: str) -> None:
    done = bench(closed_port)
    assert done.returncode == 3
    assert done.stderr.startswith(f"ganserve bench: error: no server answers at {closed_port}")
