"""Let cyclopts parse a command's arguments and show its help; its error objects become one line each."""

import inspect
import io
import re
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

import cyclopts
from cyclopts import App, Argument, ArgumentCollection, CoercionError, CycloptsError, MissingArgumentError, Token
from cyclopts.help import HelpPanel

from ganserve._command_framework.options import UsageError, hint

_KINDS: dict[Any, str] = {
    int: "a whole number. Give one, such as 1",
    float: "a number. Give one, such as 0.5",
    Path: "a path. Give one, such as ./out",
}
fill = partial(textwrap.fill, break_long_words=False, break_on_hyphens=False)


def app_of(name: str, options: Iterable[inspect.Parameter], about: str = "") -> App:
    """Return a command of cyclopts, which reads the options from the signature of a function that is never called."""

    def command(**_: Any) -> None: ...

    command.__signature__ = inspect.Signature(sorted(options, key=lambda option: option.kind))  # type: ignore[attr-defined]
    app = App(
        name,
        help=re.sub(r"(?<!\n)\n(?!\n)", " ", about.strip()),  # The terminal's width decides where lines end.
        help_format="plaintext",
        help_formatter=_print_section,
        help_flags=(),
        version_flags=(),
        group_arguments="arguments",
        group_parameters="options",
        config=_refuse,
    )
    app.default(command)
    return app


def help_of(app: App, examples: Iterable[str], end: Iterable[str] = ()) -> str:
    """Return a command's help: text without colours, so that every terminal, pipe and page shows the same.

    After the options come the lines of `end`, then the examples.
    """
    from rich.console import Console

    text, width = io.StringIO(), max(40, min(shutil.get_terminal_size().columns, 120))
    console = Console(file=text, width=width, color_system=None, force_terminal=False, highlight=False, markup=False)
    app.help_print([], console=console)
    lines = [*end, "examples:", *(f"  {example}" for example in examples)]
    whole = [f"usage: {text.getvalue().strip()}\n", *(fill(line, width, subsequent_indent="      ") for line in lines)]
    return re.sub(r" *\n", "\n", "\n".join(whole)) + "\n"


def _print_section(console: Any, options: Any, panel: HelpPanel) -> None:  # noqa: ARG001
    """Print a section of the help: names, and their texts beside them, or below where a name is long."""
    console.print(f"{panel.title}:")
    margin = min(28, console.width // 3)
    for entry in panel.entries:
        name, text = ", ".join(entry.display_labels_with_metavar), str(entry.description.primary_renderable)
        choices = f" (one of {', '.join(entry.choices)})" if entry.choices else ""
        beside = fill(f"{'':{margin}}{text}{choices}", console.width, subsequent_indent=" " * margin)
        start = f"  {name:{margin - 4}}  " if len(name) <= margin - 4 else f"  {name}\n{'':{margin}}"
        console.print(f"{start}{beside[margin:]}", soft_wrap=True)
    console.print()


def parse(app: App, argv: Sequence[str]) -> dict[str, Any]:
    """Return the values that arguments give, by the paths of their options, or raise UsageError."""
    words = ["./-" if word == "-" else word for word in argv]  # cyclopts takes a lone hyphen for an option.
    try:
        _, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise UsageError(_problem(error, f"`{app.name[0]} --help`")) from None
    return {name.replace("__", "."): value for name, value in bound.arguments.items()}


def _refuse(_app: App, _commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuse what cyclopts would read as another value."""
    for argument in arguments:
        for token in argument.tokens:
            wrong = {int: "." in token.value, float: token.value.lower() == "nan", Path: not token.value}
            for kind in get_args(argument.hint) or (argument.hint,):
                if wrong.get(kind):
                    raise CoercionError(argument=argument, token=token, target_type=kind)


def _problem(error: CycloptsError, see: str) -> str:
    match error:
        case CoercionError(argument=Argument() as option, token=Token() as token, target_type=kind):
            shown = token.value if token.value.isprintable() and token.value.strip() else repr(token.value)
            choices = option.get_choices()
            if choices and int in get_args(option.hint):
                return f"{option.name} {shown}: neither a whole number nor {' or '.join(choices)}. Give one, such as 1."
            choice = f"a choice. Give one of {', '.join(choices or ('true', 'false'))}"
            return f"{option.name} {shown}: not {_KINDS.get(kind, choice)}."
        case cyclopts.UnknownOptionError(token=token, argument_collection=options):
            word = (token.keyword or token.value).partition("=")[0].replace("_", "-")
            names = [name for option in options for name in (option.names if "no-" in word else option.positives)]
            if word in names:
                return f"{word}: stands after `--`. Options stand before it."
            return f"{word}: no such option. {hint(word, names, f'{see} lists them.')}"
        case cyclopts.UnusedCliTokensError(unused_tokens=[word, *_]):
            return f"{word}: not expected here. Leave it out, or see {see}."
        case MissingArgumentError(argument=Argument() as option, keyword=keyword):
            return f"{option.name}: {'needs a value' if keyword else 'missing'}. {see} describes it."
    return str(error)
