"""Convert a configuration to options: the types of its parts decide which there are."""

import typing
from dataclasses import fields, is_dataclass
from inspect import Parameter
from typing import Any, Literal

from ganserve._command_framework.options import field_docs, option


def options_of_config(part: Any, *, path: str = "", about: str = "") -> list[Parameter]:
    """Return the options of a configuration or of a part of it, with its values as defaults.

    A field `latent_dim` of the part `networks` is the option --networks.latent-dim. If a part's class belongs to a
    registry, its name there is an option, too: --networks.architecture. The options of a part have its `path`, and
    begin their help with its own, `about`.
    """
    kind: type = type(part)
    hints, docs, options = typing.get_type_hints(kind), field_docs(kind), []
    if (registry := getattr(part, "registry", None)) and registry.has(kind):
        names: Any = Literal[registry.names]
        options.append(option(f"{path}{registry.key}", names, getattr(part, registry.key), docs[registry.key], {}))
    for item in fields(part):
        value, doc, here = getattr(part, item.name), docs.get(item.name, ""), f"{path}{item.name}"
        if is_dataclass(value):
            # The options of a registered class have help that is whole by itself.
            options += options_of_config(value, path=f"{here}.", about="" if hasattr(value, "registry") else doc)
        elif item.metadata.get("flag", True):
            options.append(option(here, hints[item.name], value, f"{about} {doc}".strip(), item.metadata))
    return options
