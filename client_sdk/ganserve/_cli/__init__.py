"""The command `ganserve`: find the command that was asked for, and load only its component.

A module in one of the folders is a command if it begins with "The command `ganserve NAME`: SUMMARY." and has a `main`.
"""

import functools
import importlib
import re
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from ganserve._command_line.command import BAD_USAGE, DONE, complain, guarded
from ganserve._command_line.help import HELP, help_text
from ganserve._command_line.options import hint

_FIRST_LINE = re.compile(r'"""The command `ganserve ([\w-]+)`: (.+?)\.?(?:""")?\n')
_FOLDERS = (  # The commands' title in the help, their package, and the extra that they need.
    ("Use a server", "ganserve._cli", "ui"),
    ("Make a model and serve it", "ganserve_training.cli", "training"),
    ("Make a model and serve it", "ganserve_export.cli", "export"),
    ("Make a model and serve it", "ganserve_server.cli", "server"),
    ("Look after this machine", "ganserve._cli.machine", ""),
)
_WORKFLOW = ("train", "evaluate", "report", "export-onnx", "package", "serve")  # Others stand after these.
_ABOUT = """Train a GAN, export it to ONNX, serve it over gRPC, sample it anywhere.

`ganserve COMMAND --help` lists the options of a command.

Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 3 no server answers, 130 interrupted (Ctrl-C), 141 the \
reader of the output has gone."""
_OPTIONS = HELP | {"-V, --version": "Show the version."}
_EXAMPLES = (
    "ganserve train digits --out runs/digits",
    "ganserve export-onnx runs/digits --out models/digits",
    "ganserve serve --models models",
    "ganserve sample -n 64 --label 7 --out sevens.png",
)


class Entry(NamedTuple):
    """Location and summary of a command."""

    module: str
    extra: str
    summary: str


@functools.cache
def groups() -> dict[str, dict[str, Entry]]:
    """Return the commands by their title in the help and their name, without importing them."""
    found: dict[str, dict[str, Entry]] = {title: {} for title, _, _ in _FOLDERS}
    for title, package, extra in _FOLDERS:
        folders = find_spec(package).submodule_search_locations  # type: ignore[union-attr]
        for file in sorted(file for folder in folders or () for file in Path(folder).glob("*.py")):
            with file.open(encoding="utf-8") as text:
                if first := _FIRST_LINE.match(text.readline()):
                    found[title][first[1]] = Entry(f"{package}.{file.stem}", extra, first[2])
    return {
        title: {name: group[name] for name in dict.fromkeys([*_WORKFLOW, *group]) if name in group}
        for title, group in found.items()
    }


def commands() -> dict[str, Entry]:
    """Return the commands by their name."""
    return {name: entry for group in groups().values() for name, entry in group.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, by default with the process's arguments, and return its exit code."""
    name, *arguments = (sys.argv[1:] if argv is None else argv) or [""]
    return guarded("ganserve", lambda: _run(name, arguments))


def _run(name: str, arguments: Sequence[str]) -> int:
    if name not in commands():
        return _answer(name)
    entry = commands()[name]
    try:
        code: int = importlib.import_module(entry.module).main(arguments)
        return code
    except ModuleNotFoundError as error:
        # A missing module of ours is a defect and must be seen; any other belongs to an extra that is not installed.
        missing = (error.name or "ganserve").partition(".")[0]
        if missing.startswith("ganserve"):
            raise
        extra = "training" if missing == "torch" else entry.extra
        complain(f"ganserve {name}: error: needs {missing}, which is not installed: pip install 'ganserve[{extra}]'")
        return BAD_USAGE


def _answer(word: str) -> int:
    """Answer an unknown command."""
    sections = {title: {name: entry.summary for name, entry in group.items()} for title, group in groups().items()}
    text = help_text("ganserve COMMAND [ARGUMENTS]", _ABOUT, {**sections, "options": _OPTIONS}, _EXAMPLES)
    if word in ("-h", "--help", "help"):
        sys.stdout.write(text)
        return DONE
    if word in ("-V", "--version"):
        from ganserve import __version__

        sys.stdout.write(f"ganserve {__version__}\n")
        return DONE
    kind = "option" if word.startswith("-") else "command"
    likely = hint(word, commands(), "`ganserve --help` lists them.")
    complain(f"ganserve: error: {word}: no such {kind}. {likely}" if word else text.rstrip())
    return BAD_USAGE
