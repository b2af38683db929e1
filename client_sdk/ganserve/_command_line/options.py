"""A dataclass as the options of a command, and the options' values as a dataclass again.

A field `networks.latent_dim` is the option `--networks.latent-dim`. A field's metadata say what its type does not:
`aliases` (further flags), `metavar` (the value's name in the help), `positional`, `repeat` (each of a tuple's values
needs the flag: --out a --out b), `flat` (a nested dataclass whose options have no prefix), `last` (shown below the
others), `flag` (False: no option). If a nested dataclass belongs to a `registry` of classes, its name there is an
option, too: `--networks.architecture`.
"""

import functools
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any, Literal

_SWITCH = {**dict.fromkeys(("true", "1", "yes", "on"), True), **dict.fromkeys(("false", "0", "no", "off"), False)}
_NAMES = {int: "a whole number", float: "a number"}
_METAVARS = {int: "INT", float: "FLOAT", bool: "", Path: "PATH"}
_EXAMPLES = {int: 1, float: 0.5}


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
    hint: Any
    """Type of the value."""
    default: Any
    """MISSING: the option must be given."""
    metadata: Mapping[str, Any]
    help: str

    @property
    def many(self) -> bool:
        """Whether the value is a tuple."""
        return typing.get_origin(self.hint) is tuple

    @property
    def kind(self) -> Any:
        """Type of the value, or of each of a tuple's, without None."""
        kinds = typing.get_args(self.hint)
        return kinds[0] if self.many or NoneType in kinds else self.hint

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that it can have; empty: any of its type."""
        return ("true", "false") if self.kind is bool else typing.get_args(self.kind)

    @property
    def name(self) -> str:
        """Its name in errors."""
        return self.flags[0] if self.flags else str(self.metadata["metavar"]).strip("[]").partition(" ")[0]

    @property
    def opposite(self) -> tuple[str, ...]:
        """The flag that switches it off: --diagnosis.no-enabled."""
        group, dot, last = self.name[2:].rpartition(".")
        return (f"--{group}{dot}no-{last}",) if self.kind is bool else ()

    @property
    def metavar(self) -> str:
        """The value's name in the help."""
        usual = _METAVARS.get(self.kind, f"{{{','.join(self.choices)}}}" if self.choices else "TEXT")
        several = self.many and not self.metadata.get("repeat")
        return str(self.metadata.get("metavar") or (f"{usual} [{usual} ...]" if several else usual))

    @property
    def example(self) -> str:
        """A right value: the default, if there is one."""
        default = self.default[0] if isinstance(self.default, tuple) and self.default else self.default
        usual = self.choices[0] if self.choices else _EXAMPLES.get(self.kind, self.metavar)
        return str(usual if default in (None, MISSING, "", ()) else default)

    def read(self, texts: Sequence[str], source: str) -> Any:
        """Convert what the user wrote at `source`: a flag, a variable, or a file and its key."""
        if NoneType in typing.get_args(self.hint) and texts[0] in ("None", "none"):
            return None
        values = tuple(self._read(text, source) for text in texts)
        return values if self.many else values[0]

    def _read(self, text: str, source: str) -> Any:
        try:
            if self.kind is bool:
                return _SWITCH[text.lower()]
            return self.choices[self.choices.index(text)] if self.choices else self.kind(text)
        except (ValueError, KeyError):
            raise self.refusal(text, source) from None

    def refusal(self, text: str, source: str) -> UsageError:
        """Return the error that says what the value must be instead of `text`."""
        shown = text if text.isprintable() and text.strip() else repr(text)
        if self.choices:
            return UsageError(f"{source} {shown}: not a choice. Give one of {', '.join(self.choices)}.")
        return UsageError(f"{source} {shown}: not {_NAMES.get(self.kind, 'text')}. Give one, such as {self.example}.")


def options_of(kind: type[Any], default: Any = None) -> list[Option]:
    """Return the options of a dataclass.

    `default` is an instance with the default values, and the types of its nested instances decide which options there
    are. Without it, the dataclass declares both.
    """
    return list(_options(kind, default, "--", (), ""))


def _options(kind: Any, default: Any, prefix: str, path: tuple[str, ...], about: str) -> Iterator[Option]:
    hints, docs = typing.get_type_hints(kind), _field_docs(kind)
    if (registry := getattr(kind, "registry", None)) and registry.has(kind):
        key, names = registry.key, Literal[registry.names]
        yield Option(
            path=(*path, key), flags=(f"{prefix}{key}",), hint=names, default=getattr(kind, key), metadata={},
            help=docs[key],
        )  # fmt: skip
    for item in sorted(fields(kind), key=lambda item: item.metadata.get("last", False)):
        metadata, hint, here = item.metadata, hints[item.name], (*path, item.name)
        declared = item.default if item.default_factory is MISSING else item.default_factory()
        value = declared if default is None else getattr(default, item.name)
        name = f"{prefix}{item.name.replace('_', '-')}"
        text = f"{about} {docs.get(item.name, '')}".strip()
        if not metadata.get("flag", True):
            continue
        if is_dataclass(hint):
            part, values = (hint, None) if value is MISSING else (type(value), value)
            inside = (prefix, here, "") if metadata.get("flat") else (f"{name}.", here, text)
            yield from _options(part, values, *inside)
            continue
        flags = () if metadata.get("positional") else (name, *metadata.get("aliases", ()))
        yield Option(path=here, flags=flags, hint=hint, default=value, metadata=metadata, help=text)


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


@functools.cache
def _field_docs(kind: type) -> dict[str, str]:
    """Return the docstrings below the fields of a class; its own go before those of its bases."""
    from docstring_parser.attrdoc import AttributeDocstrings

    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        found |= AttributeDocstrings().get_attr_docs(base) if is_dataclass(base) else {}
    return {name: " ".join(doc.split()) for name, (doc, *_) in found.items()}
