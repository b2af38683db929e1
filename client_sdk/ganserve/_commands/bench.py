"""The command `ganserve bench`: put load on a server: calls a second, latencies, a picture."""

import asyncio
import csv
import io
import json
import os
import platform
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ganserve import AsyncClient, ModelInfo, __version__
from ganserve._argument_checks import check_integer
from ganserve._command_framework.options import flag
from ganserve._command_framework.process import DONE, FAILED
from ganserve._commands.load_generator import Arrivals, Outcome, Stage, run_stage
from ganserve._commands.progress import Progress
from ganserve._commands.shared import ModelArguments, command, label_of, plain, say, say_json, table
from ganserve._config import check_timeout
from ganserve._errors import InvalidRequest, UnsupportedByModel
from ganserve._results.whole_files import write_whole
from ganserve._types import Encoding

_EXAMPLES = (
    "ganserve bench                                          # 1, 4 and 16 callers at a time, 5 s each",
    "ganserve bench gpu-box:50051 --concurrency 1 8 64 -n 16 # 16 samples a call",
    "ganserve bench gpu-box:50051 --rate 100 200 400         # calls a second, however fast the server answers",
    "ganserve bench --call score --out scores.csv --out scores.svg --json",
)
_CLOSED = (1, 4, 16)
_PERCENTILES = (50.0, 90.0, 99.0, 99.9)
_BUSY = 0.9
_LATE_S = 0.01
_SUFFIXES = (".csv", ".json", ".svg")
_MOST_CALLERS = 10_000


@dataclass(frozen=True, kw_only=True)
class BenchArguments(ModelArguments):
    """Put load on a server and measure it: calls a second, latencies, failures.

    In a closed loop (--concurrency), each caller waits for its answer before it calls again. In an open loop (--rate),
    calls come at their rate whether or not earlier ones have answers; latencies run from the time when a call was due,
    so that a stall of the server shows. Several levels run one after the other. Failed calls are not retried.
    """

    server: str | None = flag(None, positional="HOST:PORT")
    """The server, like --target."""
    concurrency: tuple[int, ...] = ()
    """Closed loops: how many callers. Without it and --rate: 1 4 16."""
    rate: tuple[float, ...] = ()
    """Open loops: calls a second."""
    arrivals: Arrivals = "poisson"
    """Open loops: when calls come. poisson: at random, like independent callers; even: at equal distances."""
    connections: int = 1
    """Connections to the server, such as a few for each of its --processes."""
    duration_s: float = 5.0
    """Seconds to measure each level."""
    warm_up_s: float = 1.0
    """Seconds of load before each measurement."""
    call: Literal["sample", "score"] = "sample"
    """The call to make; score sends samples that the model drew before."""
    count: int = flag(1, aliases=("-n",))
    """Samples in each call."""
    label: str | None = flag(None)
    """Label of the samples, by name or index. Without it, a conditional model draws a label for each sample."""
    encoding: Encoding = "raw"
    """Format of samples on the wire."""
    out: tuple[Path, ...] = flag((), aliases=("-o",), metavar="FILE")
    """Also write the figures: NAME.csv has a line for each level, NAME.json everything with histograms of latencies,
    NAME.svg is a picture. Repeat it for several."""
    json: bool = False
    """Print everything as JSON instead of a table."""
    timeout_s: float = flag(30.0, last=True)


def _bench(arguments: BenchArguments) -> int:
    stages = _stages(arguments)
    for out in arguments.out:
        _check_out(out)
    bench = _Bench(arguments, stages)
    try:
        asyncio.run(bench.run())
    finally:
        # After an interruption, report the levels that are done.
        if bench.outcomes:
            bench.report()
    return DONE if all(outcome.latencies.count for outcome in bench.outcomes) else FAILED


def _stages(arguments: BenchArguments) -> list[Stage]:
    if arguments.server and arguments.target:
        raise InvalidRequest.of("--target", "cannot go with HOST:PORT: leave one of them out")
    if arguments.concurrency and arguments.rate:
        raise InvalidRequest.of("--rate", "cannot go with --concurrency; expected one of the two")
    check_integer("--count", arguments.count, 1, 2**20)
    for concurrency in arguments.concurrency:
        check_integer("--concurrency", concurrency, 1, _MOST_CALLERS)
    for rate in arguments.rate:
        if not 0 < rate <= 1e6:
            raise InvalidRequest.of("--rate", f"is {rate:g}; expected calls a second, above 0 and at most 1000000")
    if not 0 < arguments.duration_s <= 86_400:
        raise InvalidRequest.of("--duration-s", f"is {arguments.duration_s:g}; expected seconds, above 0")
    if not 0 <= arguments.warm_up_s <= 86_400:
        raise InvalidRequest.of("--warm-up-s", f"is {arguments.warm_up_s:g}; expected seconds, at least 0")
    check_timeout(arguments.timeout_s)
    levels: Sequence[float] = arguments.rate or arguments.concurrency or _CLOSED
    return [
        Stage(
            loop="open" if arguments.rate else "closed",
            level=level,
            duration_s=arguments.duration_s,
            warm_up_s=arguments.warm_up_s,
            arrivals=arguments.arrivals,
            seed=seed,
        )
        for seed, level in enumerate(levels)
    ]


def _check_out(out: Path) -> None:
    if out.suffix.lower() not in _SUFFIXES:
        raise InvalidRequest.of("--out", f"is {str(out)!r}; expected NAME.csv, NAME.json or NAME.svg")
    if not out.parent.is_dir():
        raise InvalidRequest.of("--out", f"is {str(out)!r}, and there is no folder {str(out.parent)!r}")


class _Bench:
    """The stages and their outcomes so far."""

    def __init__(self, arguments: BenchArguments, stages: Sequence[Stage]) -> None:
        self.arguments, self.stages = arguments, stages
        self.outcomes: list[Outcome] = []
        self._facts: dict[str, Any] = {}

    async def run(self) -> None:
        arguments = self.arguments
        total_s = sum(stage.warm_up_s + stage.duration_s for stage in self.stages)
        target = arguments.target or arguments.server
        async with AsyncClient(
            target,
            timeout_s=arguments.timeout_s,
            max_attempts=1,
            connections=arguments.connections,
            **arguments.connection,
        ) as client:
            info = await client.model(arguments.model, arguments.version)
            call = await _call(client, info, arguments)
            await call()  # Raise what would fail every call.
            self._facts = _facts(client.target, info, arguments)
            with Progress(total_s) as progress:
                for number, stage in enumerate(self.stages):
                    before_s = sum(each.warm_up_s + each.duration_s for each in self.stages[:number])

                    def show(seconds: float, outcome: Outcome, before_s: float = before_s) -> None:
                        failed = f", {outcome.failures.total():,} failed" if outcome.failures else ""
                        words = f"{_level(outcome.stage)}: {outcome.latencies.count:,} answers{failed}"
                        progress.show(before_s + seconds, words)

                    self.outcomes.append(await run_stage(stage, call, show))

    def report(self) -> None:
        """Print and write the figures."""
        rows = [_row(outcome, self.arguments.count) for outcome in self.outcomes]
        everything = {
            **self._facts,
            "stages": [
                row | {"histogram_ms": [[round(upper_s * 1e3, 4), count] for upper_s, count in o.latencies.buckets()]}
                for row, o in zip(rows, self.outcomes, strict=True)
            ],
        }
        for out in self.arguments.out:
            suffix = out.suffix.lower()
            if suffix == ".csv":
                text = _csv(rows)
            elif suffix == ".json":
                text = json.dumps(plain(everything), indent=1, allow_nan=False) + "\n"
            else:
                from ganserve._commands.bench_picture import picture

                text = picture(self.outcomes, title=self._title())
            write_whole(out, text.encode())
        if self.arguments.json:
            say_json(everything)
            return
        say(self._title())
        say(_table(rows))
        for note in _notes(self.outcomes):
            say(note)
        if self.arguments.out:
            say(f"written: {', '.join(map(str, self.arguments.out))}")

    def _title(self) -> str:
        facts, stage = self._facts, self.stages[0]
        what = f"{facts['call']} of {facts['count']}" if facts["count"] > 1 else f"{facts['call']} of one"
        loop = f"open loop, {stage.arrivals} arrivals" if stage.loop == "open" else "closed loop"
        return (
            f"{facts['target']}: {facts['model']} version {facts['version']}, {what}, {loop}, "
            f"{stage.duration_s:g} s each after {stage.warm_up_s:g} s"
        )


async def _call(client: AsyncClient, info: ModelInfo, arguments: BenchArguments) -> Callable[[], Awaitable[object]]:
    """Return a function that makes one call of the load."""
    label = None if arguments.label is None else label_of(arguments.label, info.label_names)
    count, model, version = arguments.count, info.name, info.version
    if arguments.call == "sample":
        encoding = arguments.encoding
        return lambda: client.sample(count, label, model=model, version=version, encoding=encoding)
    if info.critic is None:
        raise UnsupportedByModel(f"model {model!r} has no critic, so it cannot score: --call sample")
    drawn = await client.sample(count, label, model=model, version=version)
    names = list(drawn.label_names) if drawn.label_names is not None and info.critic_takes_labels else None
    return lambda: client.score(drawn.samples, names, model=model, version=version)


def _facts(target: str, info: ModelInfo, arguments: BenchArguments) -> dict[str, Any]:
    return {
        "target": target,
        "model": info.name,
        "version": info.version,
        "sample": str(info.sample),
        "call": arguments.call,
        "count": arguments.count,
        "encoding": arguments.encoding,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "client": {
            "ganserve": __version__,
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "cpus": os.cpu_count(),
        },
    }


def _row(outcome: Outcome, count: int) -> dict[str, Any]:
    """Return a stage's figures by name; None where there is no figure."""
    stage, latencies = outcome.stage, outcome.latencies
    row: dict[str, Any] = {
        "loop": stage.loop,
        "level": stage.level,
        "duration_s": stage.duration_s,
        "calls": outcome.calls,
        "answered": latencies.count,
        "failed": outcome.failures.total(),
        "failures": dict(outcome.failures),
        "calls_per_s": round(outcome.calls_per_s, 3),
        "samples_per_s": round(outcome.calls_per_s * count, 3),
    }
    values = {"mean_ms": latencies.mean_s, "lowest_ms": latencies.lowest_s}
    values |= {f"p{percent:g}_ms": latencies.percentile_s(percent) for percent in _PERCENTILES}
    values |= {"highest_ms": latencies.highest_s}
    row |= {name: round(value * 1e3, 4) if latencies.count else None for name, value in values.items()}
    late = outcome.lateness
    row["sent_late_p99_ms"] = round(late.percentile_s(99) * 1e3, 4) if late.count else None
    row["generator_busy"] = round(outcome.busy, 3)
    return row


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, [name for name in rows[0] if name != "failures"], extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _table(rows: Sequence[dict[str, Any]]) -> str:
    level = "calls/s due" if rows[0]["loop"] == "open" else "callers"
    titles = {"mean_ms": "mean ms"} | {f"p{p:g}_ms": f"p{p:g} ms" for p in _PERCENTILES} | {"highest_ms": "most ms"}
    header = [level, "answered", "failed", "calls/s", "samples/s", *titles.values()]
    lines = [
        [
            f"{row['level']:g}",
            f"{row['answered']:,}",
            f"{row['failed']:,}",
            f"{row['calls_per_s']:,.1f}",
            f"{row['samples_per_s']:,.1f}",
            *("-" if row[name] is None else f"{row[name]:.2f}" for name in titles),
        ]
        for row in rows
    ]
    return table(header, lines)


def _notes(outcomes: Sequence[Outcome]) -> list[str]:
    """Return warnings about the figures."""
    notes = []
    for outcome in outcomes:
        level = _level(outcome.stage)
        if outcome.failures:
            each = ", ".join(f"{count:,} {name}" for name, count in outcome.failures.most_common())
            notes.append(f"{level}: failed: {each}; the latencies are those of answered calls")
        late_s = outcome.lateness.percentile_s(99) if outcome.lateness.count else 0.0
        if outcome.busy > _BUSY or late_s > _LATE_S:
            notes.append(
                f"{level}: the figures include this load generator's own delay (1 % of the calls were sent more than "
                f"{late_s * 1e3:.1f} ms late, its loop was busy {outcome.busy:.0%} of the time): give it a core of its "
                "own, or share the load between several `ganserve bench`"
            )
    return notes


def _level(stage: Stage) -> str:
    return f"{stage.level:g} calls/s" if stage.loop == "open" else f"{stage.level:g} callers"


COMMAND = command("bench", BenchArguments, _bench, _EXAMPLES)
main = COMMAND.main
