"""Write a command's help: plain text without colours, so that every terminal, pipe and page shows the same."""

import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING

from ganserve._command_line.options import Option

_MARGIN, _WIDEST = 28, 120  # Columns: where texts begin at most, and how wide a help becomes.
HELP = {"-h, --help": "Show this help."}


def help_text(usage: str, about: str, sections: Mapping[str, Mapping[str, str]], examples: Sequence[str]) -> str:
    """Return a help, as wide as the terminal. A section has names, such as an option's flags, and their texts."""
    width = max(40, min(shutil.get_terminal_size().columns, _WIDEST))
    blocks = [_fill(f"usage: {usage}", width, "", "  "), *(_fill(text, width) for text in about.split("\n\n"))]
    for title, lines in sections.items():
        margin = min(max(map(len, lines)) + 4, _MARGIN) if width >= 2 * _MARGIN else 6
        blocks += ["\n".join([f"{title}:", *(_columns(name, text, width, margin) for name, text in lines.items())])]
    beside = all(len(example) + 2 <= width for example in examples)
    blocks += ["\n".join(["examples:", *(f"  {each}" if beside else _below(each, width) for each in examples)])]
    return "\n\n".join(blocks) + "\n"


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
    if default is False or default in (None, (), ""):
        return ""
    return f" (default: {' '.join(map(str, default)) if isinstance(default, tuple) else default})"


def _columns(name: str, text: str, width: int, margin: int) -> str:
    """Return a name and the text beside it; below it where the name is long or the terminal is narrow."""
    beside = _fill(f"{'':{margin}}{text}", width, "", " " * margin)
    if len(name) + 4 <= margin:
        return f"  {name:{margin - 4}}  {beside[margin:]}"
    if len(name) + 2 > width:  # Many choices: break between two of them.
        name = _fill(name.replace(",", ", "), width, "  ", "    ").strip()
    return f"  {name}\n{beside}"


def _below(example: str, width: int) -> str:
    """Return a long example: its comment, and the command below it, continued as in a shell."""
    command, _, comment = example.partition(" # ")
    above = _fill(comment, width, "  # ", "  # ")
    return f"{above}\n{_fill(command, width - 2, '  ', '    ')}".strip("\n").replace("\n    ", " \\\n    ")


def _fill(text: str, width: int, first: str = "", others: str = "") -> str:
    return textwrap.fill(
        text, width, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False
    )
