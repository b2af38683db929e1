"""A configuration's fields as the flags that set them, for who came by the command line."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterator

from ganserve_training.options.anneal import Anneal


def in_flags(message: str, kind: type) -> str:
    """A message with the fields of `kind` that it names as flags: `networks.max_width` is `--networks.max-width`.

    A field without a dot could be any word: it is taken for one at the beginning of a line alone.
    """
    flags = dict(_flags_of(kind))
    for path in [path for path in flags if path.startswith("optimisers.critic.")]:
        either = path.replace("critic", "{generator,critic}", 1)
        flags[either] = flags[path].replace("critic", "{generator,critic}", 1)
    dotted = sorted((path for path in flags if "." in path), key=len, reverse=True)
    if dotted:
        field = re.compile(rf"(?<![\w./-])({'|'.join(map(re.escape, dotted))})(?!\w|\.\w)")
        message = field.sub(lambda match: flags[match[1]], message)
    plain = "|".join(path for path in flags if "." not in path)
    begun = re.compile(rf"^( *)({plain})(?=:? )", re.MULTILINE)
    return begun.sub(lambda match: match[1] + flags[match[2]], message)


def _flags_of(kind: type, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every field's path and flag; what is annealed has two flags, and is named whole as well."""
    for name, hint in typing.get_type_hints(kind).items():
        path = f"{prefix}{name}"
        flag = f"--{path.replace('_', '-')}"
        if not dataclasses.is_dataclass(hint):
            yield path, flag
            continue
        if hint is Anneal:
            yield path, f"{flag}.{{start,end}}"
        yield from _flags_of(typing.cast("type", hint), f"{path}.")
