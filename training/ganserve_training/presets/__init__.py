"""Configurations that are known to work, by name; make variations with `dataclasses.replace`.

`PRESETS` loads PyTorch, so it is imported when it is first used. `ABOUT` and `LISTED` do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ganserve_training.presets.about import ABOUT, LISTED

if TYPE_CHECKING:
    from ganserve_training.presets.every import PRESETS

__all__ = ["ABOUT", "LISTED", "PRESETS"]


def __getattr__(name: str) -> Any:
    if name != "PRESETS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ganserve_training.presets.every import PRESETS

    return PRESETS
