"""Write a command's help: plain text without colours, so that every terminal, pipe and page shows the same."""

import shutil
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import MISSING
from typing import Any

from ganserve._command_line.options import Option

_MARGIN, _WIDEST = 28, 120  # Columns: where the options' texts begin, and how wide a help becomes.
_WHOLE: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}


def help_text(
    prog: str,
    description: str,
    sections: Mapping[str, Sequence[Option]],
    examples: Sequence[str],
    more: Mapping[str, Mapping[str, str]] | None = None,
) -> str:
    """Return a command's help, as wide as the terminal: the options by their sections' titles, then more such lists."""
    width = terminal_width()
    arguments = [option for options in sections.values() for option in options if not option.flags]
    usage = " ".join(["usage:", prog, *(option.metavar for option in arguments), "[OPTIONS]"])
    blocks = [textwrap.fill(usage, width, subsequent_indent="  ", **_WHOLE)]
    blocks += [textwrap.fill(" ".join(paragraph.split()), width, **_WHOLE) for paragraph in description.split("\n\n")]
    lists = [("arguments", arguments)] if arguments else []
    lists += [(title, [option for option in options if option.flags]) for title, options in sections.items()]
    blocks += ["\n".join([f"{title}:", *(_entry(option, width) for option in options)]) for title, options in lists]
    blocks[-1] += "\n" + _columns("-h, --help", "Show this help.", width)
    for title, lines in (more or {}).items():
        margin = max(map(len, lines)) + 4
        blocks += ["\n".join([f"{title}:", *(_columns(*line, width, margin) for line in lines.items())])]
    return "\n\n".join([*blocks, "\n".join(["examples:", *_examples(examples, width)])]) + "\n"


def terminal_width() -> int:
    """Return how wide a help is."""
    return max(40, min(shutil.get_terminal_size().columns, _WIDEST))


def _examples(examples: Sequence[str], width: int) -> list[str]:
    """Return the examples' lines: comments stand above them where one does not fit beside its example."""
    if all(len(example) + 2 <= width for example in examples):
        return [f"  {example}" for example in examples]
    lines: list[str] = []
    for example in examples:
        command, _, comment = example.partition(" # ")
        lines += textwrap.wrap(comment, width, initial_indent="  # ", subsequent_indent="  # ", **_WHOLE)
        room = width if len(command.rstrip()) + 2 <= width else width - 2  # For the backslash of a shell.
        parts = textwrap.wrap(command, room, initial_indent="  ", subsequent_indent="    ", **_WHOLE)
        lines.append(" \\\n".join(parts))
    return lines


def _entry(option: Option, width: int) -> str:
    opposite = (option.opposite,) if option.opposite else ()
    left = ", ".join(sorted((*option.flags, *opposite), key=lambda name: name.startswith("--")))
    return _columns(f"{left} {option.metavar}".strip(), f"{option.help}{_default(option)}", width)


def _default(option: Option) -> str:
    """Return an option's default value, where its text does not say what happens without it."""
    default = option.default
    if default is True:
        return " (default: on)"
    if default is MISSING:
        return " (required)" if option.flags else ""
    if default is None or default is False or default == ():
        return ""
    return f" (default: {' '.join(map(str, default)) if isinstance(default, tuple) else default})"


def _columns(left: str, right: str, width: int, margin: int = _MARGIN) -> str:
    """Return an option's flags and its text beside them; below them where they are long or the terminal is narrow."""
    margin = margin if width >= 2 * _MARGIN else 6
    text = textwrap.wrap(right, width - margin, **_WHOLE)
    if len(left) + 4 <= margin and text:
        left = f"{left:{margin - 4}}  {text.pop(0)}"
    elif len(left) + 2 > width:  # Many choices: break between two of them.
        left = textwrap.fill(left.replace(",", ", "), width, initial_indent="  ", subsequent_indent="    ", **_WHOLE)
    return "\n".join([f"  {left.lstrip()}", *(f"{'':{margin}}{line}" for line in text)])
