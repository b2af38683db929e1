"""The command `ganserve completion`: what a shell needs to complete the command line.

The words are those that each command's `--help` lists when the script is written, so that a Tab starts no process.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from ganserve._cli import COMMANDS, DONE
from ganserve._cli.shared import run, say

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXAMPLES = (
    'eval "$(ganserve completion bash)"                                        # in ~/.bashrc',
    "ganserve completion zsh > ~/.zsh/_ganserve                                # a folder of $fpath",
    "ganserve completion fish > ~/.config/fish/completions/ganserve.fish",
)
_FRAME = "│╭╮╰╯"
_OPTION = re.compile(r"^ {0,2}(-.*?)(?:  |$)")
_FLAG = re.compile(r"(?<!\S)(--?[a-z][\w.-]*)")
_CHOICES = re.compile(r"\{([^{}]*)\}")
_PRESET = re.compile(r"^  ([a-z0-9-]+)(?:  |$)", re.MULTILINE)

_BASH = """\
_ganserve() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" command="${{COMP_WORDS[1]}}"
    local words=""
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{commands}"
    else
        case "$command:$COMP_CWORD:$before" in
{arguments}
            *) case "$command:$word" in
{options}
            esac ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _ganserve ganserve
"""


@dataclass(frozen=True, kw_only=True)
class CompletionArguments:
    """Write a script that completes commands, options and their values by the Tab key.

    It knows the options of the commands whose extras are installed; write it again after an upgrade.
    """

    shell: Annotated[Literal["bash", "zsh", "fish"], tyro.conf.Positional, tyro.conf.arg(metavar="{bash,zsh,fish}")]
    """Which shell's."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a command."""

    flags: tuple[str, ...]
    """How it is written: -n, --count."""
    values: tuple[str, ...]
    """What it may be; empty: no fixed values."""
    takes_value: bool


def main(argv: Sequence[str]) -> int:
    """Run `ganserve completion` and returns its exit code."""
    return run(CompletionArguments, argv, "completion", _EXAMPLES, _completion)


def _completion(arguments: CompletionArguments) -> int:
    options = {name: read_options(help_of(name, *(("digits",) if name == "train" else ()))) for name in COMMANDS}
    presets = _PRESET.findall(help_of("train").partition("presets:\n")[2].partition("\n\n")[0] + "\n")
    say(_fish(options, presets) if arguments.shell == "fish" else _bash(options, presets, arguments.shell))
    return DONE


def help_of(command: str, *arguments: str) -> str:
    """The help of a command; nothing where its extra is not installed."""
    from importlib import import_module

    written, columns = io.StringIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"  # On wider ones, long helps have several columns.
    try:
        with contextlib.redirect_stdout(written), contextlib.suppress(SystemExit, ModuleNotFoundError):
            import_module(COMMANDS[command].module).main([*arguments, "--help"])
    finally:
        if columns is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = columns
    return written.getvalue()


def read_options(text: str) -> list[Option]:
    """The options that a help lists."""
    options = []
    lines = iter(line.strip(_FRAME).rstrip() for line in text.splitlines())
    for line in lines:
        said = line
        while said.lstrip().startswith("-") and said.count("{") > said.count("}"):  # a long list of values, broken
            said += next(lines).strip()
        if match := _OPTION.match(said):
            values = [value for group in _CHOICES.findall(match[1]) for value in group.split(",")]
            options.append(
                Option(
                    tuple(_FLAG.findall(match[1])),
                    tuple(dict.fromkeys(value for value in values if value != "None")),
                    any(not word.startswith("-") for word in match[1].replace(",", " ").split()),
                )
            )
    return options


def _bash(options: dict[str, list[Option]], presets: Sequence[str], shell: str) -> str:
    arguments = [f'            train:2:*) words="{" ".join(presets)} --help" ;;'] if presets else []
    for name, each in options.items():
        for option in each:
            if option.values:
                patterns = "|".join(f"{name}:*:{flag}" for flag in option.flags)
                arguments.append(f'            {patterns}) words="{" ".join(option.values)}" ;;')
    shells = "bash zsh fish"
    arguments.append(f'            completion:2:*) words="{shells}" ;;')
    flags = {name: [flag for option in each for flag in option.flags] for name, each in options.items()}
    script = _BASH.format(
        commands=" ".join([*COMMANDS, "--help", "--version"]),
        arguments="\n".join(arguments),
        options="\n".join(f'                {name}:-*) words="{" ".join(each)}" ;;' for name, each in flags.items()),
    )
    return script if shell == "bash" else f"#compdef ganserve\nautoload -U +X bashcompinit && bashcompinit\n{script}"


def _fish(options: dict[str, list[Option]], presets: Sequence[str]) -> str:
    lines = [
        f"complete -c ganserve -n __fish_use_subcommand -f -a {name} -d {_quoted(command.summary)}"
        for name, command in COMMANDS.items()
    ]
    if presets:
        lines.append(f"complete -c ganserve -n '__fish_seen_subcommand_from train' -a '{' '.join(presets)}'")
    lines.append("complete -c ganserve -n '__fish_seen_subcommand_from completion' -f -a 'bash zsh fish'")
    for name, each in options.items():
        for option in each:
            flags = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags)
            values = f" -x -a '{' '.join(option.values)}'" if option.values else " -r" if option.takes_value else ""
            lines.append(f"complete -c ganserve -n '__fish_seen_subcommand_from {name}' {flags}{values}")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """A text as one word of fish."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
