"""Test that every link and picture of the repository's pages leads to an existing file and heading."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from documents import BENCHMARKS, DOCS, PAGES, ROOT

if TYPE_CHECKING:
    from pathlib import Path

ALL = [*PAGES, *BENCHMARKS, *(ROOT / name for name in ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md"))]
GENERATED = {DOCS / "protocol.md"}
"""Pages that exist only on the site."""
LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?[^)]*\)|<(?:img|a)\b[^>]*?\b(?:src|href)=\"([^\"]+)\"")


def prose(text: str) -> str:
    """Return a page without its code."""
    text = re.sub(r"^( *)(```+).*?^\1\2$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "`code`", text)


def targets(text: str) -> list[str]:
    """Return the links of a page into the repository."""
    found = [markdown or html for markdown, html in LINK.findall(prose(text))]
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and as the site name them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    words = [re.sub(r"[^\w\- ]", "", title.lower()) for title in titles]
    return {title.replace(" ", "-") for title in words} | {re.sub(r"[- ]+", "-", title) for title in words}


def broken(page: Path, text: str) -> list[str]:
    """Return the targets that do not exist."""
    wrong = []
    for target in targets(text):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        found = file.exists() or file in GENERATED
        if not found or (anchor and file not in GENERATED and anchor not in anchors(file)):
            wrong.append(target)
    return wrong


@pytest.mark.parametrize("page", ALL, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_and_picture_exists(page: Path) -> None:
    assert broken(page, page.read_text(encoding="utf-8")) == []


def test_links_are_found() -> None:
    """Find pictures, files and headings, and broken links."""
    page = (DOCS / "page.md").read_text(encoding="utf-8")
    assert {"images/page.png", "images/page-walk.png"} <= set(targets(page))
    assert broken(DOCS / "page.md", page.replace("images/page.png", "images/gone.png")) == ["images/gone.png"]
    text = '[a](sdk.md#no-such) <img src="gone.png"> [b](https://c.d) `[e](f)` ![g](h.png)\n```\n[j](k)\n```\n'
    assert broken(DOCS / "page.md", text) == ["sdk.md#no-such", "gone.png", "h.png"]
