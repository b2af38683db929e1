"""List and change the classes of the parts that can have several, such as the loss.

An option chooses the class of each part. Its path, such as `loss.name`, is called the choosing path.
"""

import copy
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
"""Registry of the classes, by choosing path."""


def allowed_choices() -> dict[str, tuple[str, ...]]:
    """Return the values that each choosing path can have, those of other packages included."""
    return {path: registry.names for path, registry in CHOICES.items()}


def owners(path: str) -> tuple[str, ...]:
    """Return the names of the architectures, sources, losses or optimisers that have the option at `path`.

    `owners("networks.group_size")` is `("r3gan",)`. It is empty if none has the option, or if all configurations do.
    """
    choosing = _choosing(path)
    if choosing is None:
        return ()
    option = path.removeprefix(choosing.rpartition(".")[0] + ".").partition(".")[0]
    return tuple(name for name in CHOICES[choosing].names if option in _field_names(CHOICES[choosing][name]))


def misplaced(config: TrainConfig, name: str) -> ConfigError | None:
    """Return an error if only classes other than those of `config` have a flag, such as `--loss.label-smoothing`."""
    path = name.removeprefix("--").replace("-", "_")
    names, choosing = owners(path), _choosing(path)
    if choosing is None or not names or (chosen := operator.attrgetter(choosing)(config)) in names:
        return None
    fix = f"Leave it out, or choose {flag(choosing)} {' or '.join(names)}."
    return ConfigError(f"{flag(path)}: does not exist with {flag(choosing)} {chosen}. {fix}")


def with_choices(config: TrainConfig, chosen: Mapping[str, str]) -> TrainConfig:
    """Return `config` with other classes for some parts, given by choosing path. Options of both classes stay.

    The result is a template that may still lack a value, such as the path of a data source. `changed_config` sets such
    values and checks everything. A path or name that does not exist raises ConfigError.
    """
    for path, name in chosen.items():
        if path not in CHOICES:
            raise ConfigError(f"{path}: does not choose anything. Use one of {', '.join(CHOICES)}.")
        part = path.rpartition(".")[0]
        old = operator.attrgetter(part)(config)
        new = converted(old, CHOICES[path].kind(name, flag(path)))
        group, _, player = part.partition(".")
        config = copy.copy(config)  # Without the checks of the whole.
        object.__setattr__(config, group, replace(getattr(config, group), **{player: new}) if player else new)
    return config


def converted(old: Any, kind: type[PartT]) -> PartT:
    """Return a `kind` with the values of `old` that it accepts."""
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


def _choosing(path: str) -> str | None:
    """Return the choosing path of the part that has the option at `path`."""
    return next((choosing for choosing in CHOICES if path.startswith(choosing.rpartition(".")[0] + ".")), None)
