"""Convert configurations to JSON-able dictionaries and back, and list how two differ."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from ganserve_training.config.building import build
from ganserve_training.config.choices import CHOICES, with_choices
from ganserve_training.config.migration import migrated
from ganserve_training.config.train import TrainConfig
from ganserve_training.errors import ConfigChangedError, ConfigError
from ganserve_training.options.checks import flag

# These options do not affect the weights at a given step. The place of data is free, as their digest is compared.
FREE_ON_RESUME = (
    "steps",
    "on_trouble",
    "diagnosis",
    "output",
    "data.workers",
    "data.path",
    "data.labels_path",
    "networks.check_export",
)


def config_to_dict(config: TrainConfig) -> dict[str, Any]:
    """Return the configuration as nested dictionaries of JSON-able values, the inverse of `config_from_dict`."""
    return _plain(config)


def config_from_dict(values: Mapping[str, Any]) -> TrainConfig:
    """Return the configuration that a dictionary of `config_to_dict`, or its JSON, describes.

    Missing fields get their defaults, so that configurations from before a field existed stay readable. A field that
    is unknown, of another type or out of range raises ConfigError.
    """
    config = build(TrainConfig, migrated(values) if isinstance(values, Mapping) else values, "")
    assert isinstance(config, TrainConfig)
    return config


def flat_config(config: TrainConfig) -> dict[str, Any]:
    """Return every field's value by its path `a.b.c`, in the order of the fields."""
    return dict(_flatten(config_to_dict(config)))


def anneals(config: TrainConfig) -> bool:
    """Return True if any value changes over the burn-in."""
    values = flat_config(config)
    return any(values[path] != values[f"{path.removesuffix('end')}start"] for path in values if path.endswith(".end"))


def changed_config(config: TrainConfig, changes: Mapping[str, Any]) -> TrainConfig:
    """Return `config` with the values of `changes`, by path `a.b.c`; check the result as a whole."""
    values = config_to_dict(with_choices(config, {path: name for path, name in changes.items() if path in CHOICES}))
    for path, value in changes.items():
        *tables, name = path.split(".")
        table = functools.reduce(lambda inner, key: inner.get(key, {}), tables, values)
        if name not in table:
            raise ConfigError(f"{path}: does not exist in this configuration.")
        table[name] = value
    return config_from_dict(values)


def config_diff(old: TrainConfig, new: TrainConfig) -> list[str]:
    """Return one line `--a.b-c: old -> new` for each field that differs, in the order of the fields."""
    old_values, new_values = flat_config(old), flat_config(new)
    return [
        f"{flag(path)}: {_show(old_values.get(path))} -> {_show(new_values.get(path))}"
        for path in old_values | new_values
        if old_values.get(path) != new_values.get(path)
    ]


def check_same_config(old: TrainConfig, new: TrainConfig, *, where: str) -> None:
    """Raise ConfigChangedError, with old and new values, if an option that is not in `FREE_ON_RESUME` differs."""
    free = tuple(f"{flag(path)}{end}" for path in FREE_ON_RESUME for end in ":.")
    lines = [line for line in config_diff(old, new) if not line.startswith(free)]
    if lines:
        raise ConfigChangedError(
            f"{where}: was trained with another configuration.\n"
            + "".join(f"  {line}\n" for line in lines)
            + "Go back to the old values to continue it, or choose another --out for the new ones."
        )


def _plain(value: Any) -> Any:
    """Return a dataclass as a dictionary, which names its class if the class is registered."""
    if is_dataclass(value):
        registry = getattr(value, "registry", None)
        named = (
            {registry.key: getattr(value, registry.key)} if registry is not None and registry.has(type(value)) else {}
        )
        return named | {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    return tuple(map(_plain, value)) if isinstance(value, tuple) else value


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _show(value: object) -> str:
    return "(not set)" if value is None else repr(value)
