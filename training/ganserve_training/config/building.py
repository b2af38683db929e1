"""Build configurations from dictionaries: each value by the type of its field."""

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from ganserve_training.errors import ConfigError
from ganserve_training.options.checks import expect_choice
from ganserve_training.options.registry import Registry


def build(kind: Any, value: Any, path: str, default: type[Any] | None = None) -> Any:
    """Return `value` as `kind`: a dataclass, a Literal, an optional, a tuple, or one of bool, int, float and str.

    `value` comes from JSON, or is a `kind` already; `path` is its place, for messages. Where a part can have several
    classes and `value` names none, `default` is taken.

    Raises:
        ConfigError: The value has another type, or a field of it is unknown, missing or out of range.
    """
    if is_dataclass(kind):
        return value if isinstance(value, kind) else _build_dataclass(kind, value, path, default)  # type: ignore[arg-type]
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        expect_choice(path, value, typing.get_args(kind))
        return value
    if origin in (typing.Union, types.UnionType):
        (inner,) = (arm for arm in typing.get_args(kind) if arm is not types.NoneType)
        return None if value is None else build(inner, value, path)
    if origin is tuple:
        item = typing.get_args(kind)[0]
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{path} {value!r}: must be a list of {item.__name__}.")
        return tuple(build(item, part, f"{path}[{index}]") for index, part in enumerate(value))
    if kind is float and type(value) is int:
        return float(value)
    if kind is int and type(value) is float and value.is_integer():  # Protobuf's Struct (manifests) has only floats.
        return int(value)
    if type(value) is not kind:
        raise ConfigError(f"{path} {value!r}: must be of type {kind.__name__}.")
    return value


def _build_dataclass(kind: type[Any], value: Any, path: str, default: type[Any] | None) -> Any:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{path or 'the configuration'} {value!r}: must be a table of fields.")
    values = dict(value)
    prefix = f"{path}." if path else ""
    registry: Registry[Any] | None = vars(kind).get("registry")
    if registry:  # A base class, such as Loss; its classes inherit the attribute.
        name = values.pop(registry.key, None)
        kind = default if name is None and default is not None else registry.kind(name, f"{prefix}{registry.key}")
    hints = typing.get_type_hints(kind)
    known = {item.name: item for item in fields(kind)}
    if unknown := sorted(set(values) - set(known)):
        raise ConfigError(
            f"{prefix}{unknown[0]}: is unknown. Use one of {', '.join(known)}, or a newer version of ganserve."
        )
    for name, item in known.items():
        if name not in values and item.default is item.default_factory is MISSING:
            raise ConfigError(f"{prefix}{name}: is missing.")
    built = {}
    for name, item in values.items():
        factory = known[name].default_factory
        built[name] = build(hints[name], item, prefix + name, factory if isinstance(factory, type) else None)
    return kind(**built)
