"""List the options of presets without loading PyTorch, which their configurations need.

`scripts/list_train_options.py` writes them to `presets/options.json`.
"""

import functools
import json
import sys
from collections.abc import Sequence
from inspect import Parameter
from pathlib import Path
from typing import Any, Literal

from ganserve._command_framework.options import option

FILE = Path(__file__).parents[1] / "presets" / "options.json"
KINDS = {"int": int, "float": float, "bool": bool, "str": str, "Path": Path, "tuple": tuple[int, ...]}
"""Types of values by their names in the file, which has the choices in place of a Literal."""


def is_complete() -> bool:
    """Return whether the lists hold all options: once the configurations are loaded, others may be registered."""
    return "ganserve_training.config" not in sys.modules


def choose(words: Sequence[str]) -> bool:
    """Return whether an argument, such as a loss, brings other options or defaults than the preset's."""
    return any(word.partition("=")[0].replace("_", "-") in ("--data", *_listed()["choosing"]) for word in words)


def preset_options(preset: str) -> list[Parameter]:
    """Return the options of a preset, whose help has its values as defaults."""
    return _options(_listed()["presets"][preset]["options"])


def completed_options(preset: str) -> list[Parameter]:
    """Return the options that shells complete: a preset's, and those of other data sources.

    A shell doesn't know the arguments before, so options of other architectures or losses are left out.
    """
    return _options(_listed()["presets"][preset]["completed"])


def section_summaries(preset: str) -> dict[str, str]:
    """Return a line about each section of a preset's options."""
    summaries: dict[str, str] = _listed()["presets"][preset]["sections"]
    return summaries


def is_listed(flag: str) -> bool:
    """Return whether a preset has a flag, with any architecture, loss or data."""
    return flag in _listed()["flags"]


@functools.cache
def _listed() -> dict[str, Any]:
    listed: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return listed


def _options(places: Sequence[int]) -> list[Parameter]:
    return [_option(*_listed()["options"][place]) for place in places]


def _option(path: str, kind: str | list[str], text: str, aliases: Sequence[str], metavar: str | None) -> Parameter:
    hint: Any = KINDS[kind] if isinstance(kind, str) else Literal[tuple(kind)]
    return option(path, hint, None, text, {"aliases": aliases, "metavar": metavar})
