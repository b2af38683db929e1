"""Format values and lists of names for error messages."""

from collections.abc import Iterable
from typing import Any

MOST_SHOWN = 80
"""Most characters of a client's text in a message."""


def shown(value: object) -> str:
    """Return a value's repr, cut if it is long."""
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}… ({len(text)} characters)"


def listed(names: Iterable[object], most_characters: int = 300) -> str:
    """Return as many names as fit, separated by commas; "none" if there are none."""
    texts = [str(name) for name in names] or ["none"]
    kept, length = 0, 0
    while kept < len(texts) and length + len(texts[kept]) + 2 <= most_characters:
        length += len(texts[kept]) + 2
        kept += 1
    more = [f"… ({len(texts)} in all)"] if kept < len(texts) else []
    return ", ".join(texts[:kept] + more)


def and_others(wrong: int, problem: str) -> str:
    """Return a remark about the other entries with the same problem; empty if there is only one."""
    return f" (and {wrong - 1} others are {problem} too)" if wrong > 1 else ""


def enum_name(enum: Any, value: int) -> str:
    """Return the name of a protobuf enum's value, or the number if it has no name."""
    return str(enum.Name(value) if value in enum.values() else value)
