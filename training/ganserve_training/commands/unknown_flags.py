"""Refuse unknown flags of `ganserve train` at once, without loading PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

from ganserve._command_framework.options import UsageError
from ganserve._command_framework.parsing import app_of, parse
from ganserve_training.commands.familiar_options import answer_to
from ganserve_training.commands.listed_options import is_complete, is_listed, preset_options


def refuse_unknown(preset: str, words: Sequence[str]) -> None:
    """Raise UsageError for a flag that no preset has, whatever architecture, loss or data are chosen."""
    for word in words:
        name = word.partition("=")[0].replace("_", "-").replace("--progressive.", "--networks.")
        if name.startswith("--") and not is_listed(name) and (right := answer_to(name)):
            raise UsageError(f"{name}: no such option. Use {right}.")
        if name.startswith("--") and name != "--" and not is_listed(name) and is_complete():
            parse(app_of(f"ganserve train {preset}", preset_options(preset)), [word])
