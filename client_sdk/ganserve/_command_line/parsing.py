"""Parse a command's arguments with cyclopts, and turn its error objects into one line each."""

import inspect
from collections.abc import Sequence
from dataclasses import MISSING
from typing import Annotated, Any

from cyclopts import App, CoercionError, CycloptsError, Parameter, Token, UnknownOptionError

from ganserve._command_line.options import Option, UsageError, hint

_HYPHEN = "\0"  # Stands for the value "-", which cyclopts takes for an option.


def parse(
    options: Sequence[Option], argv: Sequence[str], prog: str, example: str = "", *, some: bool = False
) -> dict[tuple[str, ...], Any]:
    """Return the values that the arguments of `prog`, such as "ganserve sample", give, by the paths of their options.

    An error about a missing option shows `example`. `some`: ignore arguments that belong to other options.
    """
    try:
        words = [_HYPHEN if word == "-" else word for word in argv]
        _, bound, unused, _ = app_of(prog, options).parse_known_args(words)
    except UnknownOptionError as error:
        raise _unused(error.token.keyword or error.token.value, argv, options, prog) from None
    except CycloptsError as error:
        if error.argument is None:
            raise
        option = options[int(error.argument.field_info.name[1:])]
        if isinstance(error, CoercionError) and error.token:  # --json=maybe
            raise option.refusal(error.token.value, option.name) from None
        example = f"{option.name} {option.example}"
        raise UsageError(f"{option.name}: needs a value. Give one, such as {example}.") from None
    if unused and not some:
        raise _unused(unused[0], argv, options, prog)
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


def _unused(word: str, words: Sequence[str], options: Sequence[Option], prog: str) -> UsageError:
    if not word.startswith("-"):
        return UsageError(f"{word}: not expected here. Leave it out, or see `{prog} --help`.")
    if "--" in words and word in words[words.index("--") :]:
        return UsageError(f"{word}: stands after `--`. Options stand before it.")
    word = word.partition("=")[0].replace("_", "-")
    names = [name for option in options for name in (*option.flags, *(option.opposite if "no-" in word else ()))]
    return UsageError(f"{word}: no such option. {hint(word, names, f'`{prog} --help` lists them.', most=2)}")
