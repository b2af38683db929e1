"""A dataclass as the options of a command, and the options' values as a dataclass again.

A field `networks.latent_dim` is the option `--networks.latent-dim`. A field's metadata say what its type does not:

    aliases     further flags: ("-n", "--count")
    metavar     how the help calls the value: "HOST:PORT"
    positional  the value stands without a flag
    repeat      a tuple's values each need the flag: --out a --out b, not --out a b
    flat        a nested dataclass whose options have no prefix
    flag        False: the field is no option

Where a nested dataclass has a `registry` of classes, its name among them is an option, too: `--networks.architecture`.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import types
import typing
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_NAMES: dict[Any, tuple[str, str]] = {int: ("INT", "a whole number"), float: ("FLOAT", "a number")}
_SWITCH = {**dict.fromkeys(("true", "1", "yes", "on"), True), **dict.fromkeys(("false", "0", "no", "off"), False)}


class UsageError(Exception):
    """The command line is wrong; the message is one line."""


def flag(default: Any = MISSING, **metadata: Any) -> Any:
    """Declare a field of a command's arguments; the module's docstring lists the metadata."""
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """One option of a command, or one of its positional arguments."""

    path: tuple[str, ...]
    """The fields that lead to the value."""
    flags: tuple[str, ...]
    """How it is written, the main form first; empty: it is positional."""
    kind: Any
    """Type of the value; of a tuple, of each of its values."""
    many: bool
    optional: bool
    """`None` is a value, too."""
    default: Any
    """MISSING: it must be given."""
    metavar: str
    repeat: bool
    places: tuple[tuple[type, str], ...]
    """The dataclasses and their fields whose docstrings are the option's help."""

    @property
    def name(self) -> str:
        """How errors call it."""
        return self.flags[0] if self.flags else self.metavar.strip("[]").partition(" ")[0]

    @property
    def opposite(self) -> str | None:
        """The flag that switches it off: --diagnosis.no-enabled."""
        if self.kind is not bool:
            return None
        group, dot, last = self.flags[0][2:].rpartition(".")
        return f"--{group}{dot}no-{last}"

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that it can have; empty: any of its type."""
        return typing.get_args(self.kind) if typing.get_origin(self.kind) is Literal else ()

    @property
    def help(self) -> str:
        """The docstrings below the field, and below the field that holds its dataclass."""
        docs = [[doc for base in kind.__mro__ if (doc := _field_docs(base).get(name))] for kind, name in self.places]
        return " ".join(found[0] for found in docs if found)

    def read(self, texts: Sequence[str], source: str) -> Any:
        """Convert what the user wrote.

        Args:
            texts: The value's words: one, unless it is a tuple.
            source: Where it was written, for the error: a flag, a variable, a file and its key.

        Raises:
            UsageError: It is not a value of the option's type.
        """
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
        """The error that says what the value must be instead of `text`."""
        if self.choices:
            problem = f"not a choice. Give one of {', '.join(self.choices)}."
        elif self.kind is bool:
            problem = "not a switch. Give true or false."
        else:
            problem = f"not {_NAMES.get(self.kind, ('', 'text'))[1]}. Give one, such as {self.example}."
        return UsageError(f"{source} {text if text.isprintable() and text.strip() else repr(text)}: {problem}")

    @property
    def example(self) -> str:
        """A value that is right."""
        default = next(iter(self.default), None) if isinstance(self.default, tuple) else self.default
        if self.choices:
            return default or self.choices[0]
        return str({int: 1, float: 0.5}.get(self.kind, self.metavar) if default in (None, MISSING) else default)


def options_of(kind: type[Any], default: Any = None) -> list[Option]:
    """Return the options of a dataclass.

    Args:
        kind: The dataclass.
        default: An instance with the options' default values. The types of its nested instances decide which options
            there are. Default: the defaults that the dataclass declares.
    """
    return list(_options(kind, default, "", (), ()))


def _options(
    kind: type[Any], default: Any, prefix: str, path: tuple[str, ...], places: tuple[tuple[type, str], ...]
) -> Iterator[Option]:
    hints = typing.get_type_hints(kind)
    if registry := getattr(kind, "registry", None):
        yield Option(
            path=(*path, registry.key),
            flags=(f"--{prefix}{registry.key}",),
            kind=Literal[registry.names],
            many=False,
            optional=False,
            default=getattr(kind, registry.key),
            metavar=f"{{{','.join(registry.names)}}}",
            repeat=False,
            places=((kind, registry.key),),
        )
    for item in fields(kind):
        if not item.metadata.get("flag", True):
            continue
        value = _default(item) if default is None else getattr(default, item.name)
        inner, optional = _without_none(hints[item.name])
        here, name = (*path, item.name), f"{prefix}{item.name.replace('_', '-')}"
        if is_dataclass(inner):
            nested: type[Any] = inner if value is MISSING else type(value)  # type: ignore[assignment]
            flat = item.metadata.get("flat")
            around = () if flat else ((kind, item.name),)
            yield from _options(
                nested, None if value is MISSING else value, prefix if flat else f"{name}.", here, around
            )
            continue
        many = typing.get_origin(inner) is tuple
        each = typing.get_args(inner)[0] if many else inner
        choices = f"{{{','.join(typing.get_args(each))}}}" if typing.get_origin(each) is Literal else ""
        usual = choices or {int: "INT", float: "FLOAT", bool: "", Path: "PATH"}.get(each, "TEXT")
        repeat, positional = item.metadata.get("repeat", False), item.metadata.get("positional", False)
        yield Option(
            path=here,
            flags=() if positional else (f"--{name}", *item.metadata.get("aliases", ())),
            kind=each,
            many=many,
            optional=optional,
            default=value,
            metavar=item.metadata.get("metavar") or (f"{usual} [{usual} ...]" if many and not repeat else usual),
            repeat=repeat,
            places=(*places, (kind, item.name)),
        )


def build(base: Any, values: Mapping[tuple[str, ...], Any]) -> Any:
    """Return a dataclass with the given values, made from the inside out so that every check runs.

    Args:
        base: A dataclass, whose defaults are the other values; or an instance, which has them.
        values: The values by their options' paths.
    """
    kind = base if isinstance(base, type) else type(base)
    changes: dict[str, Any] = {}
    # The name of a class among several is no field: whoever made the base has chosen it.
    names = {item.name for item in fields(kind)}
    for name in dict.fromkeys(path[0] for path in values if path[0] in names):
        inside = {path[1:]: value for path, value in values.items() if path[0] == name}
        if () in inside:
            changes[name] = inside[()]
        else:
            nested = typing.get_type_hints(kind)[name] if base is kind else getattr(base, name)
            changes[name] = build(nested, inside)
    return base(**changes) if base is kind else replace(base, **changes)


def _default(item: Any) -> Any:
    return item.default if item.default_factory is MISSING else item.default_factory()


def _without_none(hint: Any) -> tuple[Any, bool]:
    """Return a type without its None, and whether it had one."""
    kinds = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    (kind,) = (kind for kind in kinds if kind is not type(None))
    return kind, len(kinds) > 1


@functools.cache
def _field_docs(kind: type[Any]) -> dict[str, str]:
    """Return the docstrings below the fields of a class, without those that it inherits."""
    file = inspect.getsourcefile(kind) if is_dataclass(kind) else None
    body: list[ast.stmt] = _classes(file).get(kind.__qualname__, []) if file else []
    return {
        above.target.id: inspect.cleandoc(below.value.value).replace("\n", " ")
        for above, below in itertools.pairwise(body)
        if isinstance(above, ast.AnnAssign) and isinstance(above.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str)
    }


@functools.cache
def _classes(file: str) -> dict[str, list[ast.stmt]]:
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    return {node.name: node.body for node in tree.body if isinstance(node, ast.ClassDef)}
