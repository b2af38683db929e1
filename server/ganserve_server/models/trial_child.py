"""The process that tries packages: started by `trial_process`, it can harm nothing but itself.

It reads tasks from stdin, as pickles, and writes one line of JSON to stdout for each. Its limits begin after it has
loaded what it needs: memory; no files, directories, sockets or processes (no descriptor can be opened, except on GPUs,
whose libraries load further ones); no file written. The parent limits its time; an alarm ends it if the parent is gone.
"""

import contextlib
import fcntl
import json
import math
import os
import pickle
import resource
import signal
import sys
import threading
import time
from dataclasses import dataclass

import onnxruntime

from ganserve.v1 import model_spec_pb2  # noqa: F401 - of the tasks
from ganserve_server.engine.providers import CPU, IDENTITY_GRAPH, ON_CPU, OPENVINO
from ganserve_server.engine.sessions import EngineConfig, Feed, is_out_of_memory
from ganserve_server.errors import PackageError, ProviderError
from ganserve_server.models.engines import check_agreement, make_engines
from ganserve_server.models.graph_files import check_graph_files
from ganserve_server.models.package_files import Package

_NICENESS = 5
_PARENT_CHECK_S = 1.0
_GRACE_S = 5.0  # the parent ends a trial earlier


@dataclass(frozen=True, kw_only=True)
class Task:
    """A package to try."""

    package: Package
    engine: EngineConfig
    feeds: list[Feed]
    """The generator's inputs."""
    timeout_s: float


def main() -> None:
    """Try packages until stdin ends; the first argument is the most bytes of memory."""
    memory_bytes = int(sys.argv[1])
    os.nice(_NICENESS)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    # Above the standard streams, one of which may be closed.
    answers = os.fdopen(fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3), "w", encoding="utf-8")
    # The first session opens files of the system, such as those that list its cores.
    onnxruntime.InferenceSession(IDENTITY_GRAPH, providers=[CPU])
    _silence()
    is_limited = False
    while True:
        try:
            task: Task = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the parent
        except EOFError:
            return
        if not is_limited:
            if task.engine.provider == OPENVINO:
                import ganserve_server.engine.openvino_session  # noqa: F401 - later its file cannot be opened
                from ganserve_server.engine.openvino_library import load_libraries

                load_libraries(IDENTITY_GRAPH)
            _limit(memory_bytes, files=task.engine.provider not in ON_CPU)
            is_limited = True
        signal.alarm(math.ceil(task.timeout_s + _GRACE_S))
        kind, message = _tried(task)
        signal.alarm(0)
        del task
        answers.write(json.dumps([kind, message[:4000]]) + "\n")
        answers.flush()


def _tried(task: Task) -> tuple[str, str]:
    """Try a package and return the kind of outcome, and the message of a failure."""
    try:
        check_graph_files(task.package)
        engines = make_engines(task.package, task.engine, task.feeds)
        if task.engine.provider == OPENVINO:
            check_agreement(task.package, task.engine, engines, task.feeds)
    except MemoryError:
        return "memory", ""
    except ProviderError as error:
        return "provider", str(error)
    except PackageError as error:
        if is_out_of_memory(str(error)) and task.engine.provider in ON_CPU:
            return "memory", ""
        return "package", str(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this package's
        return "package", f"its trial failed: {type(error).__name__}: {error}"
    return "passed", ""


def _silence() -> None:
    """Discard what libraries print: onnxruntime and onnx report broken graphs on both streams."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(null, stream)
    os.close(null)


def _limit(memory_bytes: int, *, files: bool) -> None:
    # The kernel ends this process first if the machine runs out of memory.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:  # noqa: PTH123
        score.write("1000")
    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_DATA: memory_bytes}
    if not files:
        limits[resource.RLIMIT_NOFILE] = 0  # those that are open stay open
    for kind, most in limits.items():
        _, hard = resource.getrlimit(kind)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (least, least))


def _end_with(parent: int) -> None:
    """End this process when its parent has ended, even killed."""
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_S)
    os._exit(1)
