"""How every command's help words its options: what leaving one out means stands in its text, or nowhere.

tyro would add "(default: None)" and "(default: False)", call an optional path {None}|PATH, and keep some of the line
breaks of a docstring.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Annotated, Any, get_args

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_NONE = "None"
_LINE_BREAK = re.compile(r"(?<!\n)\n(?!\n)")


def rules() -> ConstructorRegistry:
    """The rules, for `tyro.cli(registry=…)`."""
    registry = ConstructorRegistry()
    registry.primitive_rule(_optional)
    inside: list[StructTypeInfo] = []

    @registry.struct_rule
    def _worded(info: StructTypeInfo) -> StructConstructorSpec | None:
        if inside or not dataclasses.is_dataclass(info.type):
            return None
        inside.append(info)  # so that what is asked next is tyro's own rule
        try:
            spec = ConstructorRegistry.get_struct_spec(info)
        finally:
            inside.pop()
        if not isinstance(spec, StructConstructorSpec):  # tyro will say what is wrong
            return None
        return dataclasses.replace(spec, fields=tuple(_field(field, info.markers) for field in spec.fields))

    return registry


def _optional(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """An optional value is named as the value is; None can still be written, to undo what a file or a preset sets."""
    kinds = get_args(info.type)
    if type(None) not in kinds or len(kinds) != 2:
        return None
    (kind,) = (kind for kind in kinds if kind is not type(None))
    spec = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(kind, parent_markers=info.markers))
    if not isinstance(spec, PrimitiveConstructorSpec):
        return None
    return dataclasses.replace(
        spec,
        choices=None if spec.choices is None else (*spec.choices, _NONE),
        instance_from_str=lambda words: None if words == [_NONE] else spec.instance_from_str(words),
        is_instance=lambda value: value is None or spec.is_instance(value),
        str_from_instance=lambda value: [_NONE] if value is None else spec.str_from_instance(value),
    )


def _field(field: StructFieldSpec, markers: Sequence[Any]) -> StructFieldSpec:
    text = field.helptext() if callable(field.helptext) else field.helptext
    hint = None
    if isinstance(field.default, bool):
        # Of --spinning, --no-spinning the one that counts must be told; a flag without its opposite is off without it.
        alone = tyro.conf.FlagCreatePairsOff in (*markers, *getattr(field.type, "__metadata__", ()))
        hint = "" if alone else f"(default: {'on' if field.default else 'off'})"
    elif (field.default is None or field.default == ()) and "None:" not in (text or ""):
        # Where presets set the value, its text has what None means, and not what leaving the flag out does.
        hint = ""
    kind: Any = field.type if hint is None else Annotated[field.type, tyro.conf.arg(help_behavior_hint=hint)]
    return dataclasses.replace(
        field,
        type=kind,
        helptext=None if text is None else _LINE_BREAK.sub(" ", text),
    )
