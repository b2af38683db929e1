"""A dataclass as the options of a command, and the options' values as a dataclass again.

A field `networks.latent_dim` is the option `--networks.latent-dim`. A field's metadata say what its type does not:
`aliases` (further flags), `metavar` (the value's name in the help), `positional`, `repeat` (each of a tuple's values
needs the flag: --out a --out b), `flat` (a nested dataclass whose options have no prefix), `last` (shown below the
others), `flag` (False: no option). If a nested dataclass belongs to a `registry` of classes, its name there is an
option, too: `--networks.architecture`.
"""

import functools
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal

_SWITCH = {**dict.fromkeys(("true", "1", "yes", "on"), True), **dict.fromkeys(("false", "0", "no", "off"), False)}
_METAVARS = {int: "INT", float: "FLOAT", bool: "", Path: "PATH"}
_NAMES = {int: "a whole number", float: "a number"}

Places = tuple[tuple[type, str], ...]
"""The dataclasses and their fields whose docstrings are an option's help."""


class UsageError(Exception):
    """The command line is wrong; the message is one line."""


def flag(default: Any = MISSING, **metadata: Any) -> Any:
    """Declare a field of a command's arguments; the module's docstring lists the metadata."""
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """One option of a command, or one of its positional arguments, which have no flags."""

    path: tuple[str, ...]
    """The fields that lead to the value."""
    flags: tuple[str, ...]
    """Spellings on the command line, the main one first."""
    kind: Any
    """Type of the value; of a tuple, of each of its values."""
    choices: tuple[str, ...]
    """The values that it can have; empty: any of its type."""
    many: bool
    """The value is a tuple."""
    optional: bool
    """`None` is a value, too."""
    default: Any
    """MISSING: the option must be given."""
    metavar: str
    repeat: bool
    places: Places

    @property
    def name(self) -> str:
        """Its name in errors."""
        return self.flags[0] if self.flags else self.metavar.strip("[]").partition(" ")[0]

    @property
    def opposite(self) -> str | None:
        """The flag that switches it off: --diagnosis.no-enabled."""
        group, dot, last = self.name[2:].rpartition(".")
        return f"--{group}{dot}no-{last}" if self.kind is bool else None

    @property
    def help(self) -> str:
        """The docstrings below the field, and below the field that holds its dataclass."""
        docs = [[doc for base in kind.__mro__ if (doc := _field_docs(base).get(name))] for kind, name in self.places]
        return " ".join(found[0] for found in docs if found)

    @property
    def example(self) -> str:
        """A right value: the default, if there is one."""
        default = next(iter(self.default), None) if isinstance(self.default, tuple) else self.default
        usual = self.choices[0] if self.choices else {int: 1, float: 0.5}.get(self.kind, self.metavar)
        return str(usual if default in (None, MISSING, "") else default)

    def read(self, texts: Sequence[str], source: str) -> Any:
        """Convert what the user wrote at `source`: a flag, a variable, or a file and its key."""
        if self.optional and list(texts) in (["None"], ["none"]):
            return None
        return tuple(self._read(text, source) for text in texts) if self.many else self._read(texts[0], source)

    def _read(self, text: str, source: str) -> Any:
        try:
            if self.choices:
                return self.choices[self.choices.index(text)]
            return _SWITCH[text.lower()] if self.kind is bool else self.kind(text)
        except (ValueError, KeyError):
            raise self.refusal(text, source) from None

    def refusal(self, text: str, source: str) -> UsageError:
        """Return the error that says what the value must be instead of `text`."""
        shown = text if text.isprintable() and text.strip() else repr(text)
        if choices := ("true", "false") if self.kind is bool else self.choices:
            return UsageError(f"{source} {shown}: not a choice. Give one of {', '.join(choices)}.")
        return UsageError(f"{source} {shown}: not {_NAMES.get(self.kind, 'text')}. Give one, such as {self.example}.")


def options_of(kind: type[Any], default: Any = None) -> list[Option]:
    """Return the options of a dataclass.

    `default` is an instance with the default values, and the types of its nested instances decide which options there
    are. Without it, the dataclass declares both.
    """
    return list(_options(kind, default, "--", (), ()))


def _options(kind: type[Any], default: Any, prefix: str, path: tuple[str, ...], places: Places) -> Iterator[Option]:
    hints = typing.get_type_hints(kind)
    if (registry := getattr(kind, "registry", None)) and registry.has(kind):
        key = registry.key
        yield _option(f"{prefix}{key}", (*path, key), Literal[registry.names], getattr(kind, key), {}, ((kind, key),))
    for item in sorted(fields(kind), key=lambda item: item.metadata.get("last", False)):
        if not item.metadata.get("flag", True):
            continue
        declared = item.default if item.default_factory is MISSING else item.default_factory()
        value = declared if default is None else getattr(default, item.name)
        name, here, place = f"{prefix}{item.name.replace('_', '-')}", (*path, item.name), (kind, item.name)
        inner = _without_none(hints[item.name])[0]
        if is_dataclass(inner):
            inside = (prefix, here, ()) if item.metadata.get("flat") else (f"{name}.", here, (place,))
            yield from _options(*((inner, None) if value is MISSING else (type(value), value)), *inside)
        else:
            yield _option(name, here, hints[item.name], value, item.metadata, (*places, place))


def _option(
    name: str, path: tuple[str, ...], hint: Any, default: Any, metadata: Mapping[str, Any], places: Places
) -> Option:
    inner, optional = _without_none(hint)
    many, repeat = typing.get_origin(inner) is tuple, metadata.get("repeat", False)
    kind: Any = typing.get_args(inner)[0] if many else inner
    choices = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
    usual = f"{{{','.join(choices)}}}" if choices else _METAVARS.get(kind, "TEXT")
    return Option(
        path=path,
        flags=() if metadata.get("positional") else (name, *metadata.get("aliases", ())),
        kind=kind,
        choices=choices,
        many=many,
        optional=optional,
        default=default,
        metavar=metadata.get("metavar") or (f"{usual} [{usual} ...]" if many and not repeat else usual),
        repeat=repeat,
        places=places,
    )


def build(base: Any, values: Mapping[tuple[str, ...], Any]) -> Any:
    """Return a dataclass with the given values, made from the inside out so that every check runs.

    `base` is a dataclass, whose defaults are the other values, or an instance, which has them.
    """
    changes: dict[str, Any] = {}
    for name in [item.name for item in fields(base)]:  # A registry's key is no field: the base is of that class.
        inside = {path[1:]: value for path, value in values.items() if path[0] == name}
        if inside:
            nested = typing.get_type_hints(base)[name] if isinstance(base, type) else getattr(base, name)
            changes[name] = inside[()] if () in inside else build(nested, inside)
    return base(**changes) if isinstance(base, type) else replace(base, **changes)


def _without_none(hint: Any) -> tuple[Any, bool]:
    """Return a type without its None, and whether it had one."""
    kinds = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    return next(kind for kind in kinds if kind is not type(None)), len(kinds) > 1


@functools.cache
def _field_docs(kind: type[Any]) -> dict[str, str]:
    """Return the docstrings below the fields of a class, without those that it inherits."""
    from docstring_parser.attrdoc import AttributeDocstrings

    found = AttributeDocstrings().get_attr_docs(kind) if is_dataclass(kind) else {}
    return {name: " ".join(doc.split()) for name, (doc, *_) in found.items()}
