"""Test how the site's build changes pages: links, titles of code blocks, the protocol's reference."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("docs_hooks")


def rewritten(hooks: Any, markdown: str) -> str:
    page = SimpleNamespace(file=SimpleNamespace(src_uri="x.md"))
    return cast("str", hooks.on_page_markdown(markdown, page))


def test_links_that_leave_the_folder(hooks: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert rewritten(hooks, "see [it](../README.md#measured).") == "see it (`README.md` in the repository)."
    assert rewritten(hooks, "[others](../protos/ganserve/v1)") == "[others](protocol.md)"
    assert caplog.records == []
    with caplog.at_level(logging.WARNING):
        rewritten(hooks, "[it](../gone.md)")
    assert [record.getMessage() for record in caplog.records] == [
        "x.md links to ../gone.md, which is not in the repository"
    ]


def test_file_names_of_code_blocks_become_titles(hooks: Any) -> None:
    assert rewritten(hooks, "```python conftest.py\nx\n```") == '```python title="conftest.py"\nx\n```'


def test_a_message_without_a_comment_is_refused(hooks: Any, tmp_path: Path) -> None:
    reference = importlib.import_module("protocol_reference")
    folder = tmp_path / "ganserve" / "v1"
    folder.mkdir(parents=True)
    proto = 'syntax = "proto3";\npackage ganserve.v1;\n'
    proto += "// A message.\nmessage One {\n  // A | [field].\n  map<string, bytes> a = 1;\n"
    (folder / "one.proto").write_text(proto + "}\n")
    page = reference.protocol_reference(tmp_path)
    assert "### Message `One` { #one }\n\nA message.\n" in page
    assert "| 1 | `a` | map of `string` to `bytes` | A \\| \\[field\\]. |" in page
    (folder / "one.proto").write_text(proto + "  uint32 b = 2;\n}\n")
    with pytest.raises(ValueError, match=r"one\.proto: One\.b has no comment; write above it what it is for"):
        reference.protocol_reference(tmp_path)
