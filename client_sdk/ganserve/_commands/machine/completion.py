"""The command `ganserve completion`: let bash, zsh or fish complete the command line."""

import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from cyclopts import App

from ganserve._command_framework.command import Command
from ganserve._command_framework.options import flag
from ganserve._command_framework.parsing import app_of
from ganserve._command_framework.process import DONE
from ganserve._commands import commands


@dataclass(frozen=True, kw_only=True)
class CompletionArguments:
    """Write a script that completes commands, options and their values by the Tab key.

    It lists all options of the commands whose extras are installed, so that a Tab starts no process; write it again
    after an upgrade.
    """

    shell: Literal["bash", "zsh", "fish"] = flag(positional="SHELL")
    """The shell that reads the script: bash, zsh or fish."""


def _completion(arguments: CompletionArguments) -> int:
    root = app_of("ganserve", [])
    root.help_flags, root.version_flags = ("--help", "-h"), ("--version", "-V")
    for name, entry in commands().items():
        with suppress(ModuleNotFoundError):  # An extra that is not installed.
            app: App = import_module(entry.module).COMMAND.app()
            app.help, app.help_flags = entry.summary, ("--help", "-h")
            root.command(app, name=name)
    script = root.generate_completion(prog_name="ganserve", shell=arguments.shell)
    sys.stdout.write(_adapted(script, arguments.shell))
    return DONE


def _adapted(script: str, shell: str) -> str:
    """Add to cyclopts' script what it leaves to its installer."""
    if shell == "bash":  # Offer files where no word is known; only train has commands of its own.
        script = script.replace('[[ " $all_commands', '[[ (-z $cmd_path || $cmd_path == train) && " $all_commands')
        return script.replace("\ncomplete -F", "\ncomplete -o default -F")
    if shell == "fish":  # Offer no files in place of a command.
        return f"{script}\ncomplete -c ganserve -n __fish_use_subcommand -f\n"
    # Options after a command are this command's.
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
