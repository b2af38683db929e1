"""Configurations as JSON-able dictionaries, and the difference of two in words."""

from __future__ import annotations

import dataclasses
import functools
import operator
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from ganserve_training.config import TrainConfig
from ganserve_training.errors import ConfigChangedError, ConfigError

# Changing these does not change what the weights are at any step that two runs both reach.
# Where data lie is free because what they are is compared by their digest.
FREE_ON_RESUME = ("steps", "diagnosis", "output", "data.workers", "data.path", "data.labels_path")


def config_to_dict(config: TrainConfig) -> dict[str, Any]:
    """The configuration as nested dictionaries of JSON-able values; `config_from_dict` gives it back exactly."""
    return dataclasses.asdict(config)


def config_from_dict(values: Mapping[str, Any]) -> TrainConfig:
    """The configuration that `config_to_dict` (or its JSON) describes.

    A field that is missing gets its default, so that configurations written before a field existed stay readable.

    Raises:
        ConfigError: A field is unknown, has the wrong type, or its value is out of range.
    """
    config = _build(TrainConfig, values, "")
    assert isinstance(config, TrainConfig)
    return config


def flat_config(config: TrainConfig) -> dict[str, Any]:
    """Every field's value by its path `a.b.c`, in the order of the fields."""
    return dict(_flatten(config_to_dict(config)))


def changed_config(config: TrainConfig, changes: Mapping[str, Any]) -> TrainConfig:
    """`config` with other values at some paths `a.b.c`, validated as a whole.

    Raises:
        ConfigError: The values are out of range, or contradict each other or the rest.
    """
    values = config_to_dict(config)
    for path, value in changes.items():
        *tables, name = path.split(".")
        functools.reduce(operator.getitem, tables, values)[name] = value
    return config_from_dict(values)


def config_diff(old: TrainConfig, new: TrainConfig) -> list[str]:
    """One line `a.b.c: old -> new` for each field that differs, in the order of the fields."""
    old_values, new_values = flat_config(old), flat_config(new)
    return [
        f"{path}: {_show(old_values.get(path))} -> {_show(new_values.get(path))}"
        for path in old_values | new_values
        if old_values.get(path) != new_values.get(path)
    ]


def check_same_config(old: TrainConfig, new: TrainConfig, *, where: str) -> None:
    """Refuse to continue a run with a configuration that would have led to other weights.

    `steps` and everything under `diagnosis` and `output` may differ: they decide how long a run goes on, how it
    is watched and what it writes, not what its weights are at a given step. So may the place of the data.

    Raises:
        ConfigChangedError: Another field differs; the message lists each with its old and new value.
    """
    lines = [line for line in config_diff(old, new) if not _is_free(line.split(":", 1)[0])]
    if lines:
        raise ConfigChangedError(
            f"{where} was trained with another configuration:\n"
            + "".join(f"  {line}\n" for line in lines)
            + "Go back to the old values to continue it, or choose another --out for the new ones."
        )


def _is_free(path: str) -> bool:
    return any(path == free or path.startswith(f"{free}.") for free in FREE_ON_RESUME)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _show(value: object) -> str:
    return "(not set)" if value is None else repr(value)


def _build(kind: Any, value: Any, path: str) -> Any:
    """`value` as `kind`: a dataclass, a Literal, an optional, or one of bool, int, float and str."""
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, path)
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        choices = typing.get_args(kind)
        if value not in choices:
            raise ConfigError(f"{path} must be one of {', '.join(map(str, choices))} (got {value!r})")
        return value
    if origin in (typing.Union, types.UnionType):
        (inner,) = (arm for arm in typing.get_args(kind) if arm is not types.NoneType)
        return None if value is None else _build(inner, value, path)
    if origin is tuple:
        item = typing.get_args(kind)[0]
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{path} must be a list of {item.__name__} (got {value!r})")
        return tuple(_build(item, part, f"{path}[{index}]") for index, part in enumerate(value))
    if kind is float and type(value) is int:
        return float(value)
    if kind is int and type(value) is float and value.is_integer():  # Protobuf's Struct (manifests) has only floats.
        return int(value)
    if type(value) is not kind:
        raise ConfigError(f"{path} must be of type {kind.__name__} (got {value!r})")
    return value


def _build_dataclass(kind: Any, value: Any, path: str) -> Any:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{path or 'the configuration'} must be a table of fields (got {value!r})")
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(value) - set(hints))
    prefix = f"{path}." if path else ""
    if unknown:
        raise ConfigError(
            f"unknown field {prefix}{unknown[0]}; known here: {', '.join(hints)}. "
            "Was it written by a newer version of ganserve?"
        )
    arguments = {name: _build(hints[name], item, prefix + name) for name, item in value.items()}
    missing = [
        item.name
        for item in dataclasses.fields(kind)
        if item.name not in arguments
        and item.default is dataclasses.MISSING
        and item.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"{prefix}{missing[0]} is missing")
    return kind(**arguments)
