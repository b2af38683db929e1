"""Format values and lists of names for error messages."""

from collections.abc import Callable, Collection
from typing import Any

MOST_SHOWN = 80
"""Most characters of a client's text in a message."""


def shown(value: object) -> str:
    """Return a value's repr, cut if it is long."""
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}… ({len(text)} characters)"


def printable(text: str) -> str:
    """Return a text with its control characters, and bytes of file names that are no text, escaped."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def listed(names: Collection[object], form: Callable[[Any], str] = str, most_characters: int = 300) -> str:
    """Return as many names as fit, each in a form, separated by commas; "none" if there are none."""
    texts: list[str] = []
    for name in names:
        text = form(name)
        most_characters -= len(text) + 2
        if most_characters < 0:
            return ", ".join([*texts, f"… ({len(names)} in all)"])
        texts.append(text)
    return ", ".join(texts) or "none"


def counted(count: int, noun: str, form: str = "") -> str:
    """Return a number of things: "1 sample", "2000 samples", or "2,000 samples" with the form ","."""
    return f"{count:{form}} {noun}{'' if count == 1 else 's'}"


def and_others(wrong: int, problem: str) -> str:
    """Return a remark about the other entries with the same problem; empty if there is only one."""
    return f" (and {counted(wrong - 1, 'other')} {'is' if wrong == 2 else 'are'} {problem} too)" if wrong > 1 else ""


def enum_name(enum: Any, value: int) -> str:
    """Return the name of a protobuf enum's value, or the number if it has no name."""
    return str(enum.Name(value) if value in enum.values() else value)
