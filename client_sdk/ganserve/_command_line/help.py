"""Write a command's help: plain text without colours, so that every terminal, pipe and page shows the same."""

import functools
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING

from ganserve._command_line.options import Option

_MARGIN, _WIDEST = 28, 120  # Columns: where texts begin at most, and how wide a help becomes.
_wrap = functools.partial(textwrap.wrap, break_long_words=False, break_on_hyphens=False)
HELP = {"-h, --help": "Show this help."}


def help_text(usage: str, about: str, sections: Mapping[str, Mapping[str, str]], examples: Sequence[str]) -> str:
    """Return a help, as wide as the terminal. A section has names, such as an option's flags, and their texts."""
    width = max(40, min(shutil.get_terminal_size().columns, _WIDEST))
    blocks = [
        _wrap(f"usage: {usage}", width, subsequent_indent="  "),
        *(_wrap(text, width) for text in about.split("\n\n")),
    ]
    for title, lines in sections.items():
        margin = min(max(map(len, lines)) + 4, _MARGIN) if width >= 2 * _MARGIN else 6
        blocks += [[f"{title}:", *(row for line in lines.items() for row in _rows(*line, width, margin))]]
    beside = all(len(example) + 2 <= width for example in examples)
    blocks += [["examples:", *(row for each in examples for row in ([f"  {each}"] if beside else _below(each, width)))]]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def entries(options: Iterable[Option]) -> dict[str, str]:
    """Return the lines of options in a section."""
    lines = {}
    for option in options:
        flags = sorted((*option.flags, *option.opposite), key=lambda name: name.startswith("--"))
        lines[f"{', '.join(flags)} {option.metavar}".strip()] = f"{option.help}{_default(option)}"
    return lines


def _default(option: Option) -> str:
    """Return an option's default value, where its text does not say what happens without it."""
    default = "on" if option.default is True else option.default
    if default is MISSING:
        return " (required)" if option.flags else ""
    if default is None or default is False or default == ():
        return ""
    return f" (default: {' '.join(map(str, default)) if isinstance(default, tuple) else default})"


def _rows(name: str, text: str, width: int, margin: int) -> list[str]:
    """Return a name and the text beside it; below it where the name is long or the terminal is narrow."""
    lines = _wrap(text, width - margin)
    if len(name) + 4 <= margin and lines:
        name = f"{name:{margin - 4}}  {lines.pop(0)}"
    elif len(name) + 2 > width:  # Many choices: break between two of them.
        name = "\n".join(_wrap(name.replace(",", ", "), width, initial_indent="  ", subsequent_indent="    ")).strip()
    return [f"  {name}", *(f"{'':{margin}}{line}" for line in lines)]


def _below(example: str, width: int) -> list[str]:
    """Return a long example: its comment, and the command below it, continued as in a shell."""
    command, _, comment = example.partition(" # ")
    parts = _wrap(command, width - 2, initial_indent="  ", subsequent_indent="    ")
    return [*_wrap(comment, width, initial_indent="  # ", subsequent_indent="  # "), " \\\n".join(parts)]
