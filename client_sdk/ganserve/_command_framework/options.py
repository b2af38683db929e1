"""Declare the options of a command: the fields of a dataclass, with docstrings as their help.

A field's metadata say what its type does not: `aliases` (further flags), `metavar` (the value's name in the help),
`positional` (the name of an argument without a flag), `last` (shown below the others), `flag` (False: no option).
"""

import difflib
import functools
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, field, fields, is_dataclass
from inspect import Parameter
from typing import Annotated, Any


class UsageError(Exception):
    """The command line is wrong; the message is one line."""


def hint(word: str, names: Iterable[str], otherwise: str) -> str:
    """Ask whether a word means one of the names, as export does export-onnx; if it means none, return another hint."""
    parts = [name for name in names if name.startswith(f"{word}-") or name.endswith(f".{word.removeprefix('--')}")]
    near = [*parts, *difflib.get_close_matches(word, list(names), n=1, cutoff=0.7)]
    return f"Did you mean {near[0]}?" if near else otherwise


def flag(default: Any = MISSING, **metadata: Any) -> Any:
    """Declare a field of a command's arguments; the module's docstring lists the metadata."""
    return field(default=default, metadata=metadata)


def options_of(kind: Any, defaults: Any = None, *, texts: bool = True) -> list[Parameter]:
    """Return the options of a dataclass, with the default values of an instance, or else those that it declares.

    To read the `texts`, which only the help shows, takes half of the time.
    """
    hints, docs, options = typing.get_type_hints(kind), field_docs(kind) if texts else {}, []
    for item in sorted(fields(kind), key=lambda item: item.metadata.get("last", False)):
        if item.metadata.get("flag", True):
            default = item.default if defaults is None else getattr(defaults, item.name)
            options.append(option(item.name, hints[item.name], default, docs.get(item.name, ""), item.metadata))
    return options


def option(path: str, hint: Any, default: Any, text: str, metadata: Mapping[str, Any]) -> Parameter:
    """Return an option as cyclopts reads it: a parameter of a function.

    Its flag is --a.b-c for the `path` a.b_c; `hint` is the type of its value, `text` its help. If `default` is MISSING,
    it must be given.
    """
    import cyclopts  # Slow to import: commands are found without it.

    shown = " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
    choices = [str(choice) for part in (hint, *typing.get_args(hint)) for choice in typing.get_args(part)]
    flags = (f"--{path.replace('_', '-')}", *metadata.get("aliases", ()))
    place = Parameter.POSITIONAL_ONLY if "positional" in metadata else Parameter.KEYWORD_ONLY
    settings = cyclopts.Parameter(
        name=metadata.get("positional", flags),
        negative_iterable=(),
        allow_leading_hyphen=any(choice.startswith("-") for choice in choices),
        allow_repeating=True,
        consume_multiple=True,
        json_list=False,
        metavar=metadata.get("metavar"),
        help=text if default is MISSING or shown in ("None", "False", "") else f"{text} (default: {shown})",
    )
    needed = Parameter.empty if default is MISSING else default
    return Parameter(path.replace(".", "__"), place, default=needed, annotation=Annotated[hint, settings])


@functools.cache
def field_docs(kind: type) -> dict[str, str]:
    """Return the docstrings below the fields of a class; its own go before those of its bases."""
    from docstring_parser.attrdoc import AttributeDocstrings

    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        found |= AttributeDocstrings().get_attr_docs(base) if is_dataclass(base) else {}
    return {name: " ".join(doc.split()) for name, (doc, *_) in found.items()}
