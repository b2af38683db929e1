"""Write the options of each preset to training/ganserve_training/presets/options.json; with --check, compare instead.

The help of `ganserve train`, completion and refusals of unknown flags read that file instead of loading PyTorch.
"""

from __future__ import annotations

import json
import sys
import typing
from inspect import Parameter
from pathlib import Path
from typing import Any

from ganserve_training.commands.listed_options import FILE, KINDS
from ganserve_training.commands.train_arguments import TrainArguments
from ganserve_training.commands.train_help import summaries_of
from ganserve_training.commands.train_options import options_of_config
from ganserve_training.config import TrainConfig, allowed_choices, with_choices
from ganserve_training.presets import PRESETS


def listing() -> str:
    """Return the text of the file: each different option once, and for each preset the places of its options."""
    entries: dict[str, int] = {}
    presets = {}

    def place(option: Parameter) -> int:
        return entries.setdefault(json.dumps(_entry(option), ensure_ascii=False), len(entries))

    for name, config in PRESETS.items():
        sources = [with_choices(config, {"data.source": source}).data for source in allowed_choices()["data.source"]]
        others = {each.name: each for source in reversed(sources) for each in options_of_config(source, path="data.")}
        own = {each.name: each for each in _options(config, name)}
        presets[name] = {
            "sections": summaries_of(config),
            "options": [place(option) for option in own.values()],
            "completed": [place(option) for option in (others | own).values()],
        }
    chosen = [with_choices(config, {path: name}) for path, names in allowed_choices().items() for name in names]
    flags = sorted({flag for each in chosen for option in _options(each) for flag in _flags(option)})
    choosing = [*(f"--{path}" for path in allowed_choices()), "--data.labels", "--batch-size"]
    return _lines(list(entries), presets, choosing, flags)


def _options(config: TrainConfig, preset: str = "mine") -> list[Parameter]:
    return TrainArguments(config=config, out=Path("runs") / preset).options()


def _entry(option: Parameter) -> list[Any]:
    hint, shown = typing.get_args(option.annotation)
    if typing.get_origin(hint) is typing.Literal:
        kind: Any = list(typing.get_args(hint))
    else:
        kind = next(name for name, each in KINDS.items() if each in (hint, *typing.get_args(hint)))
    return [option.name.replace("__", "."), kind, shown.help, list(shown.name[1:]), shown.metavar]


def _flags(option: Parameter) -> set[str]:
    """Return all flags of an option: its opposite and, for the start of a changing value, the flag of both ends."""
    hint, shown = typing.get_args(option.annotation)
    names = set(shown.name)
    if hint is bool:
        head, _, last = shown.name[0].rpartition(".")
        names.add(f"{head}.no-{last}" if head else f"--no-{last.removeprefix('--')}")
    return names | {name.removesuffix(".start") for name in names}


def _lines(entries: list[str], presets: dict[str, Any], choosing: list[str], flags: list[str]) -> str:
    """Return JSON with a line for each option, so that changes are easy to read."""
    options = ",\n".join(f"  {entry}" for entry in entries)
    of_presets = ",\n".join(f"  {json.dumps(name)}: {json.dumps(of)}" for name, of in presets.items())
    listed = ",\n".join(f"  {json.dumps(flag)}" for flag in flags)
    return (
        f'{{\n "options": [\n{options}\n ],\n "presets": {{\n{of_presets}\n }},\n'
        f' "choosing": {json.dumps(choosing)},\n "flags": [\n{listed}\n ]\n}}\n'
    )


if __name__ == "__main__":
    if sys.argv[1:] != ["--check"]:
        FILE.write_text(listing(), encoding="utf-8")
    elif listing() != FILE.read_text(encoding="utf-8"):
        sys.exit(f"{FILE}: differs from the presets. Run `make generate`.")
