"""The command `ganserve`: finds the command that was asked for, and loads only that one's component."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DONE, FAILED, BAD_USAGE, UNREACHABLE, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 3, 130, 141


@dataclass(frozen=True, slots=True)
class Command:
    """One command of the command line."""

    module: str
    """Has `main(argv: Sequence[str]) -> int`."""
    extra: str | None
    """The extra that installs what the module needs; None: nothing beyond the SDK."""
    summary: str
    """What it does, in one line."""


GROUPS = {
    "Use a server": {
        "sample": Command("ganserve._cli.sample", None, "draw samples as a picture, a folder, an archive or a table"),
        "score": Command("ganserve._cli.score", None, "score pictures or vectors with a model's critic"),
        "models": Command("ganserve._cli.models", None, "list what the server has"),
        "bench": Command("ganserve._cli.bench", None, "put load on a server: calls a second, latencies, a picture"),
        "ui": Command("ganserve._cli.ui", "ui", "serve a page for browsers: samples, walks, scores, model facts"),
    },
    "Make a model and serve it": {
        "train": Command("ganserve_training.cli.train", "training", "train a GAN; resumes after an interruption"),
        "report": Command("ganserve_training.cli.report", "training", "write one page about a run, for people"),
        "evaluate": Command("ganserve_export.cli.evaluate", "export", "measure how good a model's samples are"),
        "export-onnx": Command("ganserve_export.cli.export_onnx", "export", "export a run as a verified model package"),
        "package": Command("ganserve_export.cli.package", "export", "wrap ONNX files made elsewhere as a package"),
        "serve": Command("ganserve_server.cli", "server", "serve model packages over gRPC"),
    },
    "Look after this machine": {
        "doctor": Command("ganserve._cli.doctor", None, "check what is installed, the GPU and the server, in words"),
        "completion": Command("ganserve._cli.completion", None, "let bash, zsh or fish complete the command line"),
    },
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}

_HELP = """\
usage: ganserve COMMAND [ARGUMENTS]

Train a GAN, export it to ONNX, serve it over gRPC, sample it from any application.
{groups}

options:
  -h, --help     this help; `ganserve COMMAND --help` tells a command's arguments
  -V, --version  the version

examples:
  ganserve train digits --out runs/digits
  ganserve export-onnx runs/digits --out models/digits
  ganserve serve --models models
  ganserve sample -n 64 --label 7 --out sevens.png

exit codes: 0 done, 1 failed, 2 bad usage or configuration, 3 the server cannot be reached, 130 interrupted (Ctrl-C),
141 the reader of the output went away
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and returns its exit code.

    Args:
        argv: The arguments without the program's name. Default: the process's.
    """
    name, *arguments = (sys.argv[1:] if argv is None else argv) or ["--no-command"]
    if name in ("-h", "--help", "help"):
        sys.stdout.write(help_text())
        return DONE
    if name in ("-V", "--version"):
        from ganserve import __version__

        sys.stdout.write(f"ganserve {__version__}\n")
        return DONE
    if name == "--no-command":
        sys.stderr.write(help_text())
        return BAD_USAGE
    if name not in COMMANDS:
        return _unknown(name)
    return _run(name, COMMANDS[name], arguments)


def help_text() -> str:
    """What `ganserve --help` prints."""
    width = max(map(len, COMMANDS))
    groups = "\n".join(
        f"\n{title}:\n" + "\n".join(f"  {name:{width}}  {command.summary}" for name, command in group.items())
        for title, group in GROUPS.items()
    )
    return _HELP.format(groups=groups)


def _unknown(name: str) -> int:
    from difflib import get_close_matches

    near = get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean `ganserve {near[0]}`?" if near else "`ganserve --help` lists what there is"
    kind = "option" if name.startswith("-") else "command"
    sys.stderr.write(f"ganserve: error: no {kind} {name!r}: {hint}\n")
    return BAD_USAGE


def _run(name: str, command: Command, arguments: Sequence[str]) -> int:
    from importlib import import_module

    try:
        entry: Callable[[Sequence[str]], int] = import_module(command.module).main
        code = entry(arguments)
        sys.stdout.flush()
        return code
    except ModuleNotFoundError as error:
        # A module of ours that is missing is a defect, to be seen; any other is an extra that is not installed.
        missing = (error.name or "").partition(".")[0]
        if command.extra is None or not missing or missing.startswith("ganserve"):
            raise
        install = f"pip install 'ganserve[{command.extra}]'"
        sys.stderr.write(f"ganserve {name}: error: needs {missing}, which is not installed: {install}\n")
        return BAD_USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough. What is still buffered must not fail again at exit.
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        # What a command cannot put better itself, such as a full disk under a redirected output.
        sys.stderr.write(f"ganserve {name}: error: {error}\n")
        return FAILED
