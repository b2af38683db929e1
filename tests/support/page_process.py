"""Run `ganserve ui` as a process that records its connections."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Python's audit hooks see every connection and look-up in Python code, but not gRPC's own to the target.
_PROGRAM = """
import sys
file = open(sys.argv[1], "a", buffering=1)
def hook(event, arguments):
    if event == "socket.connect":
        print("connect", arguments[1], file=file)
    elif event == "socket.getaddrinfo":
        print("look up", arguments[0], file=file)
sys.addaudithook(hook)
from ganserve._commands import main
sys.exit(main(["ui", *sys.argv[2:]]))
"""


@contextlib.contextmanager
def running_page(talked: Path, *arguments: str, **environment: str) -> Iterator[str]:
    """Run the command; yield the page's address once it answers, and end the process with SIGTERM.

    Args:
        talked: A file that gets a line for every connection and every look-up of a host.
        arguments: Of `ganserve ui`.
        environment: Variables to set beside those of this process.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(talked), *arguments, "--port", str(free_port())],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | environment,
    )
    lines: queue.Queue[str | None] = queue.Queue()

    def relay() -> None:
        for line in process.stdout or ():
            print(line, end="")
            lines.put(line)
        lines.put(None)

    reader = threading.Thread(target=relay, daemon=True)
    reader.start()
    try:
        line: str | None = ""
        while line is not None and not (found := re.search(r"the page of \S+ is at (http://\S+)", line)):
            line = lines.get(timeout=120)
        assert line is not None, f"the page did not start (exit code {process.wait()})"
        assert found is not None
        yield found[1]
    finally:
        process.terminate()
        code = process.wait(60)
        reader.join(10)
    assert code == 0
