"""Parse a command's arguments with cyclopts, and turn its error objects into one line each."""

import inspect
from collections.abc import Sequence
from dataclasses import MISSING
from typing import Annotated, Any

from cyclopts import App, CoercionError, CycloptsError, Parameter, Token, UnknownOptionError

from ganserve._command_line.options import Option, UsageError, hint

Values = dict[tuple[str, ...], Any]
"""The values that were given, by the paths of their options."""

_HYPHEN = "\0"  # Stands for the value "-", which cyclopts takes for an option.


def parse(
    options: Sequence[Option], argv: Sequence[str], prog: str, example: str = "", *, some: bool = False
) -> Values:
    """Return the values that the arguments of `prog`, such as "ganserve sample", give.

    An error about a missing option shows `example`. `some`: ignore arguments that belong to other options.
    """
    words = [_normal(word) for word in argv]
    try:
        _, bound, unused, _ = app_of(prog, options).parse_known_args(words)
    except CycloptsError as error:
        raise UsageError(_explained(error, words, options, prog)) from None
    if unused and not some:
        raise UsageError(_unused(unused[0], words, options, prog))
    values = {options[int(name[1:])].path: value for name, value in bound.arguments.items()}
    missing = [option.name for option in options if option.default is MISSING and option.path not in values]
    if missing and not some:
        raise UsageError(f"{' and '.join(missing)}: missing. Write it like this: {example.partition('  ')[0]}")
    return values


def app_of(name: str, options: Sequence[Option], summary: str = "") -> App:
    """Return a command of cyclopts, which reads the options from the signature of a function that is never called."""

    def command(**_: Any) -> None: ...

    variables = [_variable(f"_{number}", option) for number, option in enumerate(options)]
    command.__signature__ = inspect.Signature(sorted(variables, key=lambda variable: variable.kind))  # type: ignore[attr-defined]
    app = App(name, help=summary, version_flags=())
    app.default(command)
    return app


def _variable(name: str, option: Option) -> inspect.Parameter:
    def convert(_: Any, tokens: Sequence[Token]) -> Any:
        return option.read([token.value.replace(_HYPHEN, "-") for token in tokens], option.name)

    parameter = Parameter(
        name=option.flags or None,
        negative=option.opposite,
        converter=convert,
        allow_leading_hyphen=any(choice.startswith("-") for choice in option.choices),
        allow_repeating=True,
        consume_multiple=option.many and not option.metadata.get("repeat"),
        json_list=False,
        help=option.help,
    )
    place = inspect.Parameter.KEYWORD_ONLY if option.flags else inspect.Parameter.POSITIONAL_ONLY
    # A stand-in where there is no default: `parse` reports all missing options at once. cyclopts checks its type.
    usual = () if option.many else option.choices[0] if option.choices else option.kind()
    default = usual if option.default is MISSING else option.default
    return inspect.Parameter(name, place, default=default, annotation=Annotated[option.hint, parameter])


def _normal(word: str) -> str:
    """Return --batch_size=a_b as --batch-size=a_b."""
    name, equals, value = word.partition("=")
    return _HYPHEN if word == "-" else f"{name.replace('_', '-')}{equals}{value}" if word.startswith("--") else word


def _explained(error: CycloptsError, words: Sequence[str], options: Sequence[Option], prog: str) -> str:
    if isinstance(error, UnknownOptionError):
        return _unused(error.token.keyword or error.token.value, words, options, prog)
    if error.argument:
        option = options[int(error.argument.field_info.name[1:])]
        if isinstance(error, CoercionError) and error.token:  # --json=maybe
            return str(option.refusal(error.token.value, option.name))
        return f"{option.name}: needs a value. Give one, such as {option.name} {option.example}."
    error.verbose = False
    return " ".join(str(error).split())


def _unused(word: str, words: Sequence[str], options: Sequence[Option], prog: str) -> str:
    if not word.startswith("-"):
        return f"{word}: not expected here. Leave it out, or see `{prog} --help`."
    if "--" in words and word in words[words.index("--") :]:
        return f"{word}: stands after `--`. Options stand before it."
    word = word.partition("=")[0]
    names = [name for option in options for name in (*option.flags, *(option.opposite if "no-" in word else ()))]
    return f"{word}: no such option. {hint(word, names, f'`{prog} --help` lists them.', most=2)}"
