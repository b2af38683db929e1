"""The command `ganserve completion`: let bash, zsh or fish complete the command line."""

import re
import sys
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from ganserve._cli import commands
from ganserve._command_line.command import DONE, Command
from ganserve._command_line.options import flag
from ganserve._command_line.parsing import app_of


@dataclass(frozen=True, kw_only=True)
class CompletionArguments:
    """Write a script that completes commands, options and their values by the Tab key.

    It lists all options of the commands whose extras are installed, so that a Tab starts no process; write it again
    after an upgrade.
    """

    shell: Literal["bash", "zsh", "fish"] = flag(positional=True, metavar="SHELL")
    """The shell that reads the script: bash, zsh or fish."""


def command_of(name: str) -> Command | None:
    """Return a command; None where its extra is not installed."""
    try:
        command: Command = import_module(commands()[name].module).COMMAND
    except ModuleNotFoundError:
        return None
    return command


def _completion(arguments: CompletionArguments) -> int:
    from cyclopts import App

    root = App("ganserve", help="Train, export, serve and sample GANs.", version_flags=("--version", "-V"))
    for name, entry in commands().items():
        command = command_of(name)
        app = app_of(name, command.options() if command else [], entry.summary)
        for case, options in (command.cases() if command else {}).items():
            app.command(app_of(case, options))
        root.command(app)
    script = root.generate_completion(prog_name="ganserve", shell=arguments.shell)
    sys.stdout.write(_adapted(script, arguments.shell))
    return DONE


def _adapted(script: str, shell: str) -> str:
    """Add to cyclopts' script what it leaves to its installer."""
    if shell == "bash":  # Offer files where no word is known.
        return script.replace("\ncomplete -F", "\ncomplete -o default -F")
    if shell == "fish":  # Offer no files in place of a command.
        return f"{script}\ncomplete -c ganserve -n __fish_use_subcommand -f\n"
    # A preset's --help takes a section: drop the one of cyclopts, and let options after a command be this command's.
    script = re.sub(r"(--help-all\[.*\n) *'--help\[.*\n", r"\1", script)
    script = script.replace("_arguments -C", "_arguments -A '-*' -C")
    # Work both as a file of $fpath, which is the function's body, and when it is sourced.
    call = 'if [ "$funcstack[1]" = _ganserve ]; then _ganserve "$@"; else compdef _ganserve ganserve; fi'
    return f"{script.replace('_cyclopts_ganserve', '_ganserve')}{call}\n"


COMMAND = Command(
    name="completion",
    arguments=CompletionArguments,
    action=_completion,
    examples=(
        'eval "$(ganserve completion bash)"                                        # in ~/.bashrc',
        "ganserve completion zsh > ~/.zsh/_ganserve                                # a folder of $fpath",
        "ganserve completion fish > ~/.config/fish/completions/ganserve.fish",
    ),
)
main = COMMAND.main
