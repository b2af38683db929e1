"""Configurations that are known to work, by name. A preset is a value; variations are `dataclasses.replace`.

`PRESETS` is imported when it is first used, as it imports PyTorch; `ABOUT` is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ganserve_training.presets.about import ABOUT

if TYPE_CHECKING:
    from ganserve_training.presets.every import PRESETS

__all__ = ["ABOUT", "PRESETS"]


def __getattr__(name: str) -> Any:
    if name != "PRESETS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ganserve_training.presets.every import PRESETS

    return PRESETS
