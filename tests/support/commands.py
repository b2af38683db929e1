"""Run `ganserve …` in the test's own process, which saves the start of Python and the imports."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from unittest import mock

from cyclopts import Argument

from ganserve import _commands
from ganserve._command_framework.command import Command

GANSERVE = Path(sys.executable).with_name("ganserve")
"""The installed command, for tests that need a separate process."""


def ganserve(*arguments: object, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line and return its exit code and both streams, as `subprocess.run` would.

    Args:
        arguments: The words after `ganserve`.
        folder: The working directory. Default: the test's own.
        environment: Variables to set beside those of this process.
    """
    words = [str(argument) for argument in arguments]
    stdout = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    stderr = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace", write_through=True)  # as Python's own
    with (
        contextlib.chdir(folder or Path.cwd()),
        mock.patch.dict(os.environ, environment),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        try:
            code = _commands.main(words)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    printed = [os.fsdecode(stream.buffer.getvalue()) for stream in (stdout, stderr)]  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(["ganserve", *words], code, *printed)


def said(*arguments: object, folder: Path | None = None, **environment: str) -> str:
    """Run a command that must succeed and return its standard output."""
    done = ganserve(*arguments, folder=folder, **environment)
    assert done.returncode == 0, f"ganserve {' '.join(done.args[1:])}\n{done.stdout}\n{done.stderr}"
    return str(done.stdout)


def command_of(name: str) -> Command:
    """Return a command, such as sample."""
    command: Command = import_module(_commands.commands()[name].module).COMMAND
    return command


def arguments_of(name: str) -> dict[str, list[Argument]]:
    """Return the options and positional arguments of a command by preset, if it has presets, else by ""."""
    app = command_of(name).app()
    presets = {preset: app[preset] for preset in app.resolved_commands() if not preset.startswith("-")}
    apps = presets or {"": app}
    return {preset: [*each.assemble_argument_collection()] for preset, each in apps.items()}
