"""Run commands of ganserve from benchmarks, and count their CPU seconds."""

import json
import os
import subprocess
import sys
from typing import Any


def ganserve(words: list[str]) -> tuple[dict[str, Any], float]:
    """Run `ganserve WORDS` with one thread; return its JSON, empty if it failed, and its user and system seconds."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ganserve", *words], stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert process.stdout is not None
    answer = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return (json.loads(answer) if process.returncode == 0 else {}), used.ru_utime + used.ru_stime
