"""Measure the CPU time that a sample takes in the model's calls, in a process of its own, for `--processes auto`."""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ganserve_server.engine.engine import Engine
    from ganserve_server.engine.sessions import Feed
    from ganserve_server.settings import ServerConfig

_START = "import sys; sys.path[:] = {path!r}; from ganserve_server.processes.scout import main; main()"
_TRIALS, _ENOUGH_S = 5, 0.2


@dataclass(frozen=True, slots=True)
class Measured:
    """The cost of a sample, and the hardware that computed it."""

    sample_s: float
    """CPU seconds of a sample of the model that needs least."""
    cores: int
    on_gpu: bool


def measure(config: ServerConfig) -> Measured | None:
    """Load the models of the settings and measure them; return None if none can be loaded."""
    scout = subprocess.run(  # noqa: S603 - this program
        [sys.executable, "-I", "-S", "-c", _START.format(path=sys.path)],
        input=pickle.dumps(config),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # the server's own processes say what is wrong
        check=False,
    )
    try:
        return Measured(*json.loads(scout.stdout))
    except (ValueError, TypeError):
        return None


def main() -> None:
    """Load the models of the settings on stdin, and print what `Measured` has as JSON."""
    from ganserve_server.control_groups import usable_memory
    from ganserve_server.engine.parallelism import usable_cores
    from ganserve_server.engine.providers import ON_CPU
    from ganserve_server.models.trial_process import TrialProcesses
    from ganserve_server.startup import load

    config: ServerConfig = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the supervisor
    logging.disable(logging.CRITICAL)
    memory_bytes = config.load_memory_mib * 2**20 or usable_memory() // 2
    trials = TrialProcesses(timeout_s=config.load_timeout_s, memory_bytes=memory_bytes)
    repository, _ = load(config, trials)
    models = repository.models()
    if models:
        least = min(_seconds(*model.full_call()) for model in models)
        on_gpu = any(model.providers[0] not in ON_CPU for model in models)
        sys.stdout.write(json.dumps([least, usable_cores(), on_gpu]))
    sys.stdout.flush()
    trials.close()
    os._exit(0)


def _seconds(engine: Engine, feed: Feed) -> float:
    """Return the CPU seconds that a sample takes in a full call."""
    count = len(next(iter(feed.values())))
    spent = []
    began = time.perf_counter()
    for _ in range(_TRIALS):
        start = time.process_time()
        engine.run(feed)
        spent.append(time.process_time() - start)
        if time.perf_counter() - began > _ENOUGH_S:
            break
    return min(spent) / count
