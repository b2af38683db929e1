"""Train a GAN, export it to ONNX, serve it over gRPC, sample it anywhere.

`ganserve COMMAND --help` lists the options of a command, `ganserve --version` shows the version.

Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 3 no server answers, 130 interrupted (Ctrl-C), 141 the
reader of the output has gone.
"""
# The text above is the help of `ganserve`, which finds the command and loads only its component.

import functools
import importlib
import os
import re
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from ganserve._command_framework.options import UsageError, hint
from ganserve._command_framework.process import BAD_USAGE, DONE, guarded

# A module of these packages that begins so is a command. The packages have a title in the help, and an extra.
_FIRST_LINE = re.compile(r'"""The command `ganserve ([\w-]+)`: (.+?)\.?(?:""")?\n')
_PACKAGES = {
    "ganserve._commands": ("Use a server", "ui"),
    "ganserve_training.commands": ("Make a model and serve it", "training"),
    "ganserve_export.commands": ("Make a model and serve it", "export"),
    "ganserve_server.commands": ("Make a model and serve it", "server"),
    "ganserve._commands.machine": ("Look after this machine", ""),
}
_EXAMPLES = (
    "ganserve train digits --out runs/digits",
    "ganserve export-onnx runs/digits --out models/digits",
    "ganserve serve --models models",
    "ganserve sample -n 64 --label 7 --out sevens.png",
)


class Entry(NamedTuple):
    """Location and summary of a command."""

    module: str
    summary: str
    group: str
    extra: str


@functools.cache
def commands() -> dict[str, Entry]:
    """Return the commands by their name, without importing them."""
    found = {}
    for package, (group, extra) in _PACKAGES.items():
        folders = find_spec(package).submodule_search_locations  # type: ignore[union-attr]
        for file in sorted(file for folder in folders or () for file in Path(folder).glob("*.py")):
            with file.open(encoding="utf-8") as text:
                if first := _FIRST_LINE.match(text.readline()):
                    found[first[1]] = Entry(f"{package}.{file.stem}", first[2], group, extra)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, by default with the process's arguments, and return its exit code."""
    name, *arguments = (sys.argv[1:] if argv is None else argv) or [""]
    return guarded("ganserve", lambda: _run(name, arguments))


def _run(name: str, arguments: Sequence[str]) -> int:
    if name in ("", "-h", "--help"):
        (sys.stdout if name else sys.stderr).write(_help())
        return DONE if name else BAD_USAGE
    if name in ("-V", "--version"):
        sys.stdout.write(f"ganserve {importlib.import_module('ganserve').__version__}\n")
        return DONE
    if name not in commands():
        kind = "option" if name.startswith("-") else "command"
        raise UsageError(f"{name}: no such {kind}. {hint(name, commands(), '`ganserve --help` lists them.')}")
    entry = commands()[name]
    if entry.module.startswith("ganserve._commands."):
        # gRPC reads this when it is imported. By default it adds lines of its own to the one that says what is wrong.
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        code: int = importlib.import_module(entry.module).main(arguments)
        return code
    except ModuleNotFoundError as error:
        # A missing module of ours is a defect and must be seen; any other belongs to an extra that is not installed.
        missing = (error.name or "ganserve").partition(".")[0]
        if missing.startswith("ganserve"):
            raise
        fix = f"pip install 'ganserve[{'training' if missing == 'torch' else entry.extra}]'"
        raise UsageError(f"{name}: needs {missing}, which is not installed. Run {fix}.") from None


def _help() -> str:
    from ganserve._command_framework.parsing import app_of, help_of  # Load cyclopts.

    root = app_of("ganserve", [], __doc__)
    for name, entry in commands().items():
        root.command(f"{entry.module}:main", name=name, help=entry.summary, group=entry.group)
    return help_of(root, _EXAMPLES)
