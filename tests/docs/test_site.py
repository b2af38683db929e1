"""Test the site of docs/: no warnings, complete references, no requests to other hosts."""

from __future__ import annotations

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

import ganserve
import ganserve.data
import ganserve.testing
from ganserve.v1 import admin_service_pb2, gan_service_pb2, model_spec_pb2, tensor_pb2
from page_reading import CHROMIUM, TIMEOUT_MS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
SEARCHES = {
    "SelectionReport": "sdk.html",
    "license": "index.html",
    "docker": "index.html",
    "TLS": "security.html",
    "quickstart": "index.html",
}
"""Words that newcomers search for, and the pages that they lead to."""
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
    comment = "Order of a caller's waiting requests."
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
            page.set_default_timeout(TIMEOUT_MS)
            asked: list[str] = []
            page.on("request", lambda request: asked.append(request.url))
            for name in ("index", "serving", "sdk", "protocol"):
                page.goto(f"{address}/{name}.html")
            for words, found in SEARCHES.items():
                page.goto(f"{address}/index.html")
                # What is typed before the index is loaded finds nothing.
                expect(page.locator(".md-search-result__meta")).to_have_text(
                    "Type to start searching", timeout=TIMEOUT_MS
                )
                page.locator("input.md-search__input").click()
                page.locator("input.md-search__input").press_sequentially(words)
                result = page.locator(f'.md-search-result__link[href*="{found}"]').first
                expect(result).to_be_visible(timeout=TIMEOUT_MS)
            assert len(asked) > 4
            assert {url for url in asked if not url.startswith((f"{address}/", "data:", "blob:"))} == set()
        finally:
            browser.close()
