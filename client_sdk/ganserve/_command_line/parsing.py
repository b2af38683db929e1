"""Parse a command's arguments with cyclopts, and turn its error objects into one line each."""

from __future__ import annotations

import difflib
import inspect
from dataclasses import MISSING
from itertools import count
from typing import TYPE_CHECKING, Annotated, Any

from ganserve._command_line.options import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import cyclopts

    from ganserve._command_line.options import Option

Values = dict[tuple[str, ...], Any]
"""The values that were given, by the paths of their options."""

_HYPHEN = "\0"  # Stands for the value "-", which cyclopts takes for an option.


def parse(
    options: Sequence[Option], argv: Sequence[str], prog: str, example: str = "", *, some: bool = False
) -> Values:
    """Return the values that the arguments of `prog`, such as "ganserve sample", give.

    An error about a missing option shows `example`. `some`: ignore arguments that belong to other options.
    """
    import cyclopts

    try:
        words = [_normal(word) for word in argv]
        _, bound, unused, _ = app_of(prog, options).parse_known_args(words)
    except cyclopts.CycloptsError as error:
        raise UsageError(_explain(error, options, prog)) from None
    if unused and not some:
        if unused[0].startswith("-") and "--" in words and unused[0] in words[words.index("--") :]:
            raise UsageError(f"{unused[0]}: stands after `--`. Options stand before it.")
        raise UsageError(_unknown(unused[0], options, prog))
    values: Values = {}
    for name, given in bound.arguments.items():
        option = options[int(name[1:])]
        texts = [str(each).replace(_HYPHEN, "-") for each in (given if option.many else [given])]
        values[option.path] = option.read(texts, option.name)
    missing = [option.name for option in options if option.default is MISSING and option.path not in values]
    if missing and not some:
        raise UsageError(f"{' and '.join(missing)}: missing. Write it like this: {example.partition('  ')[0]}")
    return values


def app_of(name: str, options: Sequence[Option], summary: str | None = None) -> cyclopts.App:
    """Return a command of cyclopts, which reads the options from a signature; the function is never called.

    With a `summary`, options have their help, which takes a while to read; it is for completion.
    """
    from cyclopts import App

    def command(**_: Any) -> None: ...

    helps = ["" if summary is None else option.help for option in options]
    parameters = sorted(map(_parameter, count(), options, helps), key=lambda parameter: parameter.kind)
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    app = App(name, help=summary or "", help_flags=() if summary is None else ("--help", "-h"), version_flags=())
    app.default(command)
    return app


def _parameter(number: int, option: Option, text: str) -> inspect.Parameter:
    from cyclopts import Parameter

    parameter = Parameter(
        name=option.flags or None,
        negative=option.opposite or (),
        allow_leading_hyphen=any(choice.startswith("-") for choice in option.choices),
        allow_repeating=True,
        consume_multiple=option.many and not option.repeat,
        json_list=False,
        help=text,
    )
    # Numbers are text to cyclopts, which would round 1.5 to an integer; `Option.read` converts them.
    kind: Any = str if option.kind in (int, float) else option.kind
    # cyclopts checks the default, too, where pydantic is loaded.
    default = () if option.many else option.choices[0] if option.choices else kind()
    place = inspect.Parameter.KEYWORD_ONLY if option.flags else inspect.Parameter.POSITIONAL_ONLY
    annotation: Any = Annotated[(tuple.__class_getitem__((kind, ...)) if option.many else kind), parameter]
    return inspect.Parameter(f"_{number}", place, default=default, annotation=annotation)


def _normal(word: str) -> str:
    """Return --batch_size=a_b as --batch-size=a_b."""
    name, equals, value = word.partition("=")
    return _HYPHEN if word == "-" else f"{name.replace('_', '-')}{equals}{value}" if word.startswith("--") else word


def _explain(error: cyclopts.CycloptsError, options: Sequence[Option], prog: str) -> str:
    from cyclopts import CoercionError, MissingArgumentError, UnknownOptionError

    if isinstance(error, UnknownOptionError):
        return _unknown(error.token.keyword or error.token.value, options, prog)
    option = options[int(error.argument.field_info.name[1:])] if error.argument else None
    if option and isinstance(error, CoercionError) and error.token:
        return str(option.refusal(error.token.value, option.name))
    if option and isinstance(error, MissingArgumentError):
        return f"{option.name}: needs a value. Give one, such as {option.name} {option.example}."
    error.verbose = False
    return " ".join(str(error).split())


def _unknown(word: str, options: Sequence[Option], prog: str) -> str:
    if not word.startswith("-"):
        return f"{word}: not expected here. Leave it out, or see `{prog} --help`."
    word = word.partition("=")[0]
    flags = [name for option in options for name in option.flags]
    found = near(word, [*flags, *(option.opposite for option in options if option.opposite and "no-" in word)])
    hint = f"Did you mean {' or '.join(found)}?" if found else f"`{prog} --help` lists them."
    return f"{word}: no such option. {hint}"


def near(word: str, names: Iterable[str], most: int = 2) -> list[str]:
    """Return the names that a word may mean: export-onnx for export, --networks.latent-dim for --latent-dim."""
    whole = [name for name in names if name.startswith(f"{word}-") or name.endswith(f".{word.removeprefix('--')}")]
    return list(dict.fromkeys([*whole, *difflib.get_close_matches(word, list(names), most, 0.7)]))[:most]
