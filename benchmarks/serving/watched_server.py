"""Run `ganserve serve` and measure how long its event loop is held: watched_server.py REPORT FLAGS…

At its end, REPORT has JSON: the longest time between two ticks of the loop beyond the tick's own length, in ms, and the
longest CPU time of the loop's thread in between, which other programs on the machine do not disturb. `caused_ms` is the
longest hold that work of the server can explain: of each, no more than the CPU time of all its threads counts, as the
rest is a wait for a core.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import uvloop

from ganserve_server.lifecycle import serve
from ganserve_server.monitoring.logs import set_up_logging
from ganserve_server.settings_sources import read_configuration

_TICK_S = 0.002


async def tick(longest: dict[str, float]) -> None:
    last, cpu, all_cpu = time.perf_counter(), time.thread_time(), time.process_time()
    while True:
        await asyncio.sleep(_TICK_S)
        now, cpu_now, all_now = time.perf_counter(), time.thread_time(), time.process_time()
        held_ms = (now - last - _TICK_S) * 1e3
        longest["held_ms"] = max(longest["held_ms"], held_ms)
        longest["caused_ms"] = max(longest["caused_ms"], min(held_ms, (all_now - all_cpu) * 1e3))
        longest["cpu_ms"] = max(longest["cpu_ms"], (cpu_now - cpu) * 1e3)
        last, cpu, all_cpu = now, cpu_now, all_now


async def main(report: Path, flags: list[str]) -> int:
    configuration = read_configuration(flags, os.environ)
    set_up_logging(configuration.config.log_level, configuration.config.log_format)
    longest = {"held_ms": 0.0, "caused_ms": 0.0, "cpu_ms": 0.0}
    ticking = asyncio.create_task(watch_when_serving(longest))
    try:
        return await serve(configuration)
    finally:
        ticking.cancel()
        report.write_text(json.dumps(longest))  # noqa: ASYNC240 - the server has ended


async def watch_when_serving(longest: dict[str, float]) -> None:
    await asyncio.sleep(5)  # the models are loaded on other threads, which hold the GIL
    await tick(longest)


if __name__ == "__main__":
    sys.exit(uvloop.run(main(Path(sys.argv[1]), sys.argv[2:])))
