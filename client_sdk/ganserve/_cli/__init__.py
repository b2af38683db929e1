"""The command `ganserve`: find the command that was asked for, and load only its component."""

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from ganserve._command_line.command import BAD_USAGE, DONE, complain, guarded


@dataclass(frozen=True, slots=True)
class Entry:
    """Location and summary of a command."""

    module: str
    """Has `COMMAND` and its `main(argv: Sequence[str]) -> int`."""
    extra: str | None
    """The extra that installs what the module needs; None: nothing beyond the SDK."""
    summary: str
    """One line of help."""


GROUPS = {
    "Use a server": {
        "sample": Entry("ganserve._cli.sample", None, "draw samples as a picture, a folder, an archive or a table"),
        "score": Entry("ganserve._cli.score", None, "score pictures or vectors with a model's critic"),
        "models": Entry("ganserve._cli.models", None, "list what the server has"),
        "bench": Entry("ganserve._cli.bench", None, "put load on a server: calls a second, latencies, a picture"),
        "ui": Entry("ganserve._cli.ui", "ui", "serve a page for browsers: samples, walks, scores, model facts"),
    },
    "Make a model and serve it": {
        "train": Entry("ganserve_training.cli.train", "training", "train a GAN; resumes after an interruption"),
        "report": Entry("ganserve_training.cli.report", "training", "write one web page about a run"),
        "evaluate": Entry("ganserve_export.cli.evaluate", "export", "measure how good a model's samples are"),
        "export-onnx": Entry("ganserve_export.cli.export_onnx", "export", "export a run as a verified model package"),
        "package": Entry("ganserve_export.cli.package", "export", "wrap ONNX files made elsewhere as a package"),
        "serve": Entry("ganserve_server.cli", "server", "serve model packages over gRPC"),
    },
    "Look after this machine": {
        "doctor": Entry("ganserve._cli.doctor", None, "check the installation, the GPU and the server"),
        "completion": Entry("ganserve._cli.completion", None, "let bash, zsh or fish complete the command line"),
    },
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}

_HELP = """\
usage: ganserve COMMAND [ARGUMENTS]

Train a GAN, export it to ONNX, serve it over gRPC, sample it anywhere.
{groups}

options:
  -h, --help     this help; `ganserve COMMAND --help` lists a command's options
  -V, --version  the version

examples:
  ganserve train digits --out runs/digits
  ganserve export-onnx runs/digits --out models/digits
  ganserve serve --models models
  ganserve sample -n 64 --label 7 --out sevens.png

exit codes: 0 done, 1 failed, 2 bad usage or configuration,
3 no server answers, 130 interrupted (Ctrl-C), 141 the reader of the output has gone
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, by default with the process's arguments, and return its exit code."""
    name, *arguments = (sys.argv[1:] if argv is None else argv) or [""]
    if name in COMMANDS:
        return guarded(f"ganserve {name}", lambda: _run(name, arguments))
    return guarded("ganserve", lambda: _answer(name))


def _run(name: str, arguments: Sequence[str]) -> int:
    entry = COMMANDS[name]
    try:
        code: int = importlib.import_module(entry.module).main(arguments)
        return code
    except ModuleNotFoundError as error:
        # A missing module of ours is a defect and must be seen; any other belongs to an extra that is not installed.
        missing = (error.name or "").partition(".")[0]
        if entry.extra is None or not missing or missing.startswith("ganserve"):
            raise
        install = f"pip install 'ganserve[{entry.extra}]'"
        complain(f"ganserve {name}: error: needs {missing}, which is not installed: {install}")
        return BAD_USAGE


def _answer(word: str) -> int:
    """Answer a word that is no command."""
    if word in ("-h", "--help", "help"):
        sys.stdout.write(_help())
        return DONE
    if word in ("-V", "--version"):
        from ganserve import __version__

        sys.stdout.write(f"ganserve {__version__}\n")
        return DONE
    from ganserve._command_line.parsing import near

    found = near(word, COMMANDS, most=1)
    hint = f"Did you mean `ganserve {found[0]}`?" if found else "`ganserve --help` lists them."
    kind = "option" if word.startswith("-") else "command"
    complain(f"ganserve: error: {word}: no such {kind}. {hint}" if word else _help().rstrip())
    return BAD_USAGE


def _help() -> str:
    import textwrap

    from ganserve._command_line.help import terminal_width

    groups = ""
    for title, group in GROUPS.items():
        groups += f"\n{title}:\n" + "".join(f"  {name:11}  {entry.summary}\n" for name, entry in group.items())
    width, lines = terminal_width(), _HELP.format(groups=groups.rstrip("\n")).splitlines()
    indents = ["      " if line.startswith(" ") else "" for line in lines]
    wrapped = [
        textwrap.fill(line, width, subsequent_indent=indent) for line, indent in zip(lines, indents, strict=True)
    ]
    return "\n".join(wrapped) + "\n"
