"""Convert a dataclass to the options of a command, and the options' values back.

A field `networks.latent_dim` is the option `--networks.latent-dim`. A field's metadata say what its type does not:
`aliases` (further flags), `metavar` (the value's name in the help), `example` (a right value), `positional`, `folder`
(a path where no file may be), `repeat` (each of a tuple's values needs the flag: --out a --out b), `flat` (a nested
dataclass whose options have no prefix), `last` (shown below the others), `flag` (False: no option), `opposite` (False:
no flag switches it off). If a nested dataclass belongs to a `registry` of classes, its name there is an option, too:
`--networks.architecture`.
"""

import difflib
import functools
import math
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any, Literal

_SWITCH = {**dict.fromkeys(("true", "1", "yes", "on"), True), **dict.fromkeys(("false", "0", "no", "off"), False)}
_METAVARS = {int: "INT", float: "FLOAT", bool: "", Path: "PATH", str: "TEXT"}
_NUMBERS = {int: ("a whole number", 1), float: ("a number", 0.5)}


class UsageError(Exception):
    """The command line is wrong; the message is one line."""


def hint(word: str, names: Iterable[str], otherwise: str, most: int = 1) -> str:
    """Ask whether a word means some of the names, as export does export-onnx; if it means none, return another hint."""
    parts = [name for name in names if name.startswith(f"{word}-") or name.endswith(f".{word.removeprefix('--')}")]
    near = list(dict.fromkeys([*parts, *difflib.get_close_matches(word, list(names), most, 0.7)]))[:most]
    return f"Did you mean {' or '.join(near)}?" if near else otherwise


def flag(default: Any = MISSING, **metadata: Any) -> Any:
    """Declare a field of a command's arguments; the module's docstring lists the metadata."""
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
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
        """True if the value is a tuple."""
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
        return (f"--{group}{dot}no-{last}",) if self.kind is bool and self.metadata.get("opposite", True) else ()

    @property
    def metavar(self) -> str:
        """The value's name in the help."""
        usual = _METAVARS.get(self.kind, f"{{{','.join(self.choices)}}}")
        several = self.many and not self.metadata.get("repeat")
        return str(self.metadata.get("metavar") or (f"{usual} [{usual} ...]" if several else usual))

    @property
    def example(self) -> str:
        """A right value: the declared one, or the default, if there is one."""
        default = self.default[0] if isinstance(self.default, tuple) and self.default else self.default
        others = (*self.choices, _NUMBERS.get(self.kind, ("", self.metavar))[1])
        known = (self.metadata.get("example"), default, *others)
        return str(next(value for value in known if value not in (None, MISSING, "", ())))

    def read(self, texts: Sequence[str], source: str) -> Any:
        """Convert what the user wrote at `source`: a flag, a variable, or a file and its key."""
        if NoneType in typing.get_args(self.hint) and texts[0] in ("None", "none"):
            return None
        values = tuple(self._read(text, source) for text in texts)
        return values if self.many else values[0]

    def _read(self, text: str, source: str) -> Any:
        words = _SWITCH if self.kind is bool else {choice: choice for choice in self.choices}
        try:
            value: Any = words[text.lower() if self.kind is bool else text] if words else self.kind(text)
            if self.kind is float and math.isnan(value):
                raise ValueError
        except (ValueError, KeyError):
            raise self.refusal(text, source) from None
        if self.kind is Path and not text:  # A variable that is not set, which must not mean this folder.
            raise UsageError(f"{source} '': is empty. Give a path.")
        for place in (value, *value.parents) if self.metadata.get("folder") else ():
            if place.exists() and not place.is_dir():
                raise UsageError(f"{source} {place}: is a file. Name a folder.")
        return value

    def refusal(self, text: str, source: str) -> UsageError:
        """Return the error that says what the value must be instead of `text`."""
        shown = text if text.isprintable() and text.strip() else repr(text)
        if self.choices:
            return UsageError(f"{source} {shown}: not a choice. Give one of {', '.join(self.choices)}.")
        kind = _NUMBERS.get(self.kind, ("text",))[0]
        return UsageError(f"{source} {shown}: not {kind}. Give one, such as {self.example}.")


def options_of(
    kind: Any, default: Any = None, *, prefix: str = "--", path: tuple[str, ...] = (), about: str = ""
) -> list[Option]:
    """Return the options of a dataclass.

    `default` is an instance with the default values, and the types of its nested instances decide which options there
    are. Without it, the dataclass declares both. The options of a nested dataclass have a `prefix`, a `path` that leads
    there, and begin their help with its own, `about`.
    """
    hints, docs, options = typing.get_type_hints(kind), _field_docs(kind), []
    if (registry := getattr(kind, "registry", None)) and registry.has(kind):
        key, names = registry.key, Literal[registry.names]
        options.append(Option((*path, key), (f"{prefix}{key}",), names, getattr(kind, key), {}, docs[key]))
    for item in sorted(fields(kind), key=lambda item: item.metadata.get("last", False)):
        declared = item.default if item.default_factory is MISSING else item.default_factory()
        value = declared if default is None else getattr(default, item.name)
        metadata, here, doc = item.metadata, (*path, item.name), docs.get(item.name, "")
        name = f"{prefix}{item.name.replace('_', '-')}"
        if is_dataclass(hints[item.name]):
            part, values = (hints[item.name], None) if value is MISSING else (type(value), value)
            flat = metadata.get("flat")
            # The options of a registered class have help that is whole by itself.
            inner = "" if flat or hasattr(part, "registry") else doc
            options += options_of(part, values, prefix=prefix if flat else f"{name}.", path=here, about=inner)
        elif metadata.get("flag", True):
            flags = () if metadata.get("positional") else (name, *metadata.get("aliases", ()))
            options.append(Option(here, flags, hints[item.name], value, metadata, f"{about} {doc}".strip()))
    return options


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
