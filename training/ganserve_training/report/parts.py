"""Write the parts that pages about runs have in common, as HTML."""

import base64
import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from pathlib import Path

from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

from ganserve_training.evaluation.table import Cell, Table
from ganserve_training.report.charts import Chart

_PLOT_OPTIONS = {"responsive": True, "displayModeBar": False, "scrollZoom": False}
_PHONE_CHARACTERS = 40  # characters of a line of a table on a phone
_GAP_CHARACTERS = 2
_FLAG = re.compile(r"--[a-z][\w.-]*\w(?: (?:\d[\d.]*(?<!\.)(?:e[+-]?\d+)?|[a-z]+-[a-z]+)(?!\w))?")


def page(title: str, sections: Iterable[str]) -> str:
    """Return a whole page that loads nothing else."""
    files = resources.files("ganserve_training.report")
    style, script = (files.joinpath(name).read_text(encoding="utf-8") for name in ("style.css", "slider.js"))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)} - ganserve report</title>
<style>
{style}</style>
<script>{get_plotlyjs()}</script>
</head>
<body>
<main>
{"".join(sections)}
</main>
<script>
{script}</script>
</body>
</html>
"""


def section(title: str, content: str, name: str = "") -> str:
    """Return a section with its title; `name` is its id."""
    attribute = f' id="{name}"' if name else ""
    return f"<section{attribute}><h2>{escape(title)}</h2>{content}</section>\n"


def table(shown: Table) -> str:
    """Return a table. On a phone, each row of a wide one becomes a block, whose cells have their column's title."""
    head = "".join(f"<th>{escape(title)}</th>" for title in shown.head)
    top = f"<thead><tr>{head}</tr></thead>" if any(shown.head) else ""
    body = "".join(
        "<tr>" + "".join(_cell(cell, shown, place) for place, cell in enumerate(row)) + "</tr>" for row in shown.rows
    )
    words = [max(title.split(), key=len, default="") for title in shown.head]  # titles may be broken between words
    columns = zip(words, *([cell.text for cell in row] for row in shown.rows), strict=True)
    characters = sum(max(map(len, column)) + _GAP_CHARACTERS for column in columns)
    kind = ' class="wide"' if characters > _PHONE_CHARACTERS else ""
    return f'<div class="table"><table{kind}>{top}<tbody>{body}</tbody></table></div>'


def text_table(rows: Sequence[Sequence[str]], head: Sequence[str]) -> str:
    """Return a table of plain text."""
    return table(Table(head=tuple(head), rows=tuple(tuple(map(Cell, row)) for row in rows)))


def _cell(cell: Cell, shown: Table, place: int) -> str:
    classes = [*(["number"] if place in shown.numbers else []), *([cell.verdict] if cell.verdict else [])]
    attribute = f' class="{" ".join(classes)}"' if classes else ""
    return f'<td{attribute} data-title="{escape(shown.head[place])}">{escape(cell.text)}</td>'


def picture(path: Path, alt: str, attributes: str = "") -> str:
    """Return an image with its file inside."""
    content = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{escape(alt)}"{attributes} src="data:image/png;base64,{content}">'


def chart_figures(charts: Sequence[Chart]) -> str:
    """Return charts with their titles and hints."""
    options = {"full_html": False, "include_plotlyjs": False, "config": _PLOT_OPTIONS, "default_width": "100%"}
    parts = "".join(
        f"<figure><h3>{escape(chart.title)}</h3><figcaption>{escape(chart.hint)}</figcaption>"
        f"{chart.figure.to_html(**options)}</figure>"
        for chart in charts
    )
    return f'<div class="charts">{parts}</div>'


def lines(sentences: Iterable[str], kind: str = "note") -> str:
    """Return sentences as paragraphs of a class."""
    return "".join(f'<p class="{kind}">{escape(sentence)}</p>' for sentence in sentences if sentence)


def with_flags(text: str) -> str:
    """Escape a text, and set flags with their values in a fixed-width font."""
    return _FLAG.sub(lambda match: f"<code>{match[0]}</code>", escape(text))
