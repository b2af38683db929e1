"""Parts of the configuration that are one of several classes: by which option they are chosen, and how they change.

A choosing path is that of the option which names the class: `networks.architecture`, `data.source`, `loss.name`,
`optimisers.generator.name`, `optimisers.critic.name`.
"""

import operator
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any, TypeVar, cast, get_type_hints

from ganserve_training.config.building import build
from ganserve_training.config.train import TrainConfig
from ganserve_training.data.config import SOURCES
from ganserve_training.errors import ConfigError
from ganserve_training.networks.config import ARCHITECTURES
from ganserve_training.objectives.losses import LOSSES
from ganserve_training.options.checks import flag
from ganserve_training.options.registry import Registry
from ganserve_training.run.optimisers import OPTIMISERS

PartT = TypeVar("PartT")

CHOICES: dict[str, Registry[Any]] = {
    "data.source": SOURCES,
    "networks.architecture": ARCHITECTURES,
    "loss.name": LOSSES,
    "optimisers.generator.name": OPTIMISERS,
    "optimisers.critic.name": OPTIMISERS,
}
"""The registry of each choosing path."""


def allowed_choices() -> dict[str, tuple[str, ...]]:
    """Return the names that each choosing path may have now, those registered from outside included."""
    return {path: registry.names for path, registry in CHOICES.items()}


def owners(path: str) -> tuple[str, ...]:
    """Return the names of the architectures, sources, losses or optimisers that have the option at `path`.

    `owners("networks.group_size")` is `("r3gan",)`. Empty: none has it, or it doesn't depend on a choice.
    """
    for choosing, registry in CHOICES.items():
        part = choosing.rpartition(".")[0] + "."
        if path.startswith(part):
            option = path.removeprefix(part).partition(".")[0]
            return tuple(name for name in registry.names if option in _field_names(registry.kind(name, choosing)))
    return ()


def misplaced(config: TrainConfig, name: str) -> ConfigError | None:
    """Return the error for a flag that only other classes have than those of `config`; None: it is none.

    Args:
        config: A configuration, or a template.
        name: A flag, such as `--loss.label-smoothing`.
    """
    path = name.removeprefix("--").replace("-", "_")
    names = owners(path)
    for choosing in CHOICES if names else ():
        part = choosing.rpartition(".")[0]
        chosen = operator.attrgetter(choosing)(config)
        if path.startswith(f"{part}.") and chosen not in names:
            fix = f"Leave it out, or choose {flag(choosing)} {' or '.join(names)}."
            return ConfigError(f"{flag(path)}: does not exist with {flag(choosing)} {chosen}. {fix}")
    return None


def with_choices(config: TrainConfig, chosen: Mapping[str, str]) -> TrainConfig:
    """Return `config` with other classes of some parts: what both classes have in common stays, the rest is dropped.

    The result is a template for further values: it is not checked as a whole, as a data source may still lack its path
    and a loss the penalty that it needs. `changed_config` sets those values and checks everything.

    Args:
        config: Such as a preset.
        chosen: Names by choosing path.

    Raises:
        ConfigError: There is no such path or name.
    """
    for path, name in chosen.items():
        if path not in CHOICES:
            raise ConfigError(f"{path}: does not choose anything. Use one of {', '.join(CHOICES)}.")
        part = path.rpartition(".")[0]
        old = operator.attrgetter(part)(config)
        new = converted(old, CHOICES[path].kind(name, flag(path)))
        group, _, player = part.partition(".")
        config = _unchecked(config, group, replace(getattr(config, group), **{player: new}) if player else new)
    return config


def converted(old: Any, kind: type[PartT]) -> PartT:
    """Return a `kind` with those values of `old` that it takes too."""
    if type(old) is kind:
        return old
    new: Any = kind()
    hints = get_type_hints(kind)
    for name in [name for name in _field_names(kind) if name in _field_names(type(old))]:
        with suppress(ConfigError):
            new = replace(new, **{name: build(hints[name], getattr(old, name), name)})
    return cast("PartT", new)


def _field_names(kind: type[Any]) -> list[str]:
    return [item.name for item in fields(kind)]


def _unchecked(config: TrainConfig, name: str, part: object) -> TrainConfig:
    """Return `config` with another part, without the checks of what goes together."""
    new = object.__new__(TrainConfig)
    for item in fields(config):
        object.__setattr__(new, item.name, part if item.name == name else getattr(config, item.name))
    return new
