"""Test the site of docs/: no warnings, complete references, no requests to other hosts."""

from __future__ import annotations

import functools
import http.server
import importlib
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import pytest

import ganserve
import ganserve.data
import ganserve.testing
from ganserve.v1 import admin_service_pb2, gan_service_pb2, model_spec_pb2, tensor_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LOADING = {("script", "src"), ("img", "src"), ("iframe", "src"), ("link", "href"), ("source", "src"), ("video", "src")}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


class Page(HTMLParser):
    """Collect a page's anchors and the addresses that a browser loads for it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            if (tag, name) in LOADING and value:
                self.loaded.add(value)


def is_of(value: object, module: str) -> bool:
    return getattr(value, "__module__", None) == module and not getattr(value, "__name__", "_").startswith("_")


def test_every_public_name_of_the_sdk_is_in_its_reference(site: Path) -> None:
    ids = Page(site / "sdk.html").ids
    names = {f"ganserve.{name}" for name in ganserve.__all__ if name != "__version__"}
    names |= {f"ganserve.testing.{name}" for name in ganserve.testing.__all__}
    names |= {f"ganserve.data.{name}" for name, value in vars(ganserve.data).items() if is_of(value, "ganserve.data")}
    assert len(names) > 50
    assert names - ids == set()
    methods = {name for name in dir(ganserve.Client) if not name.startswith("_")}
    assert {f"ganserve.Client.{name}" for name in methods} - ids == set()


def test_every_message_and_field_is_in_the_protocols_reference(site: Path) -> None:
    text = re.sub(r"<[^>]+>", "", (site / "protocol.html").read_text(encoding="utf-8"))
    ids = Page(site / "protocol.html").ids
    words = set(re.findall(r"\w+", text))
    for module in (admin_service_pb2, gan_service_pb2, model_spec_pb2, tensor_pb2):
        file = module.DESCRIPTOR
        for name, message in file.message_types_by_name.items():
            assert name.lower() in ids
            assert {field.name for field in message.fields} <= words
        for name, enum in file.enum_types_by_name.items():
            assert name.lower() in ids
            assert {value.name for value in enum.values} <= words
        for name, service in file.services_by_name.items():
            assert name.lower() in ids
            assert {method.name for method in service.methods} <= words
    comment = "Order of waiting requests."
    assert comment in (ROOT / "protos/ganserve/v1/gan_service.proto").read_text(encoding="utf-8")
    assert comment in text


def test_pages_load_nothing_from_other_hosts(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 10
    for path in pages:
        loaded = Page(path).loaded
        assert loaded
        assert [url for url in loaded if urlsplit(url).netloc] == [], path
    for path in site.rglob("*.css"):
        assert re.findall(r"url\([\"']?(?:https?:)?//", path.read_text(encoding="utf-8")) == [], path


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH: apt-get install chromium")
def test_a_browser_contacts_no_other_host_and_the_search_works(address: str) -> None:
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            page = browser.new_page()
            page.set_default_timeout(120_000)  # on a busy machine
            asked: list[str] = []
            page.on("request", lambda request: asked.append(request.url))
            for name in ("index", "serving", "sdk", "protocol"):
                page.goto(f"{address}/{name}.html")
            page.locator("input.md-search__input").fill("SelectionReport")
            expect(page.locator(".md-search-result__link").first).to_be_visible(timeout=120_000)
            assert len(asked) > 4
            assert {url for url in asked if not url.startswith((f"{address}/", "data:", "blob:"))} == set()
        finally:
            browser.close()


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
