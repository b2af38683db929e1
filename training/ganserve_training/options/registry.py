"""Registries of the classes that one part of the configuration can have, such as all losses or all architectures.

A part's base class has an attribute `registry`. Each subclass sets its name in the attribute that `registry.key` names,
and is added by the decorator `registry.register`. In the configuration's dictionary the name is one of the fields.
"""

from typing import Generic, TypeVar

from ganserve_training.errors import ConfigError

PartT = TypeVar("PartT")
KindT = TypeVar("KindT", bound="type[object]")


class Registry(Generic[PartT]):
    """The classes of one part by name; `key` is the class attribute with the name, such as `architecture`."""

    def __init__(self, key: str) -> None:
        self.key = key
        self._kinds: dict[str, type[PartT]] = {}

    def register(self, kind: KindT) -> KindT:
        """Add a class, as a decorator; the class attribute `key` is its name, which no other class may have."""
        name = getattr(kind, self.key)
        if name in self._kinds:
            raise ConfigError(f"{self.key} {name}: is registered twice. Give your class another name.")
        self._kinds[name] = kind  # type: ignore[assignment]  # The bound of KindT can't name PartT.
        return kind

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all registered classes, in alphabetical order."""
        return tuple(sorted(self._kinds))

    def kind(self, name: str, path: str = "") -> type[PartT]:
        """Return the class called `name` or raise ConfigError; `path` is the option that chooses it, for messages."""
        if name not in self._kinds:
            fix = f"Import the module that defines it, or use one of {', '.join(self.names)}."
            raise ConfigError(f"{path or self.key} {name}: is not registered. {fix}")
        return self._kinds[name]

    def __getitem__(self, name: str) -> type[PartT]:
        return self.kind(name)

    def has(self, kind: type[object]) -> bool:
        """Return whether this very class is registered."""
        return kind in self._kinds.values()
