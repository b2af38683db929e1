"""Extend MkDocs: make the page of the protocol, rewrite links that leave docs/, name code blocks."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent))
from protocol_reference import protocol_reference

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
PROTOCOL_PAGE = "protocol.md"

_log = logging.getLogger("mkdocs.hooks.ganserve")
_OUTWARD_LINK = re.compile(r"\[([^\]]+)\]\(\.\./([^)#\s]+)(?:#[^)\s]*)?\)")
_NAMED_BLOCK = re.compile(r"^(```\w+) ([\w./-]+)$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    files.append(File.generated(config, PROTOCOL_PAGE, content=protocol_reference()))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    def inward(link: re.Match[str]) -> str:
        text, path = link.groups()
        if path == "protos/ganserve/v1":
            return f"[{text}]({PROTOCOL_PAGE})"
        if not (ROOT / path).exists():
            # A strict build turns this warning into an error.
            _log.warning("%s links to ../%s, which is not in the repository", page.file.src_uri, path)
        return f"{text} (`{path}` in the repository)"

    return _NAMED_BLOCK.sub(r'\1 title="\2"', _OUTWARD_LINK.sub(inward, markdown))
