"""Open the page of `ganserve ui` in a real Chromium; without one, skip the tests.

With PAGE_SCREENSHOTS=FOLDER they save screenshots.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from page_process import running_page
from page_reading import CHROMIUM, TIMEOUT_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from server_process import ServerProcess


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install 'ganserve[dev]'")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def talked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page") / "talked.txt"


@pytest.fixture(scope="module")
def address(server_process: ServerProcess, talked: Path) -> Iterator[str]:
    with running_page(talked, "--target", server_process.address) as url:
        yield url


@pytest.fixture
def open_page(browser: Any, address: str, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Open the page; at the end, check that the browser contacted no other host and reported no error."""
    contexts: list[Any] = []
    asked: set[str] = set()
    broke: list[str] = []

    def open_(url: str = address, size: tuple[int, int] = (1280, 900), scheme: str = "light") -> Any:
        viewport = {"width": size[0], "height": size[1]}
        context = browser.new_context(viewport=viewport, color_scheme=scheme, accept_downloads=True)
        context.set_default_timeout(TIMEOUT_MS)
        contexts.append(context)
        context.on("request", lambda sent: asked.add(_host(sent.url)))
        page = context.new_page()
        page.on("pageerror", lambda error: broke.append(str(error)))
        page.on("console", lambda said: broke.append(said.text) if "Content Security Policy" in said.text else None)
        page.goto(url)
        return page

    open_.broke = broke  # type: ignore[attr-defined]
    yield open_
    if folder := os.environ.get("PAGE_SCREENSHOTS"):
        for i, context in enumerate(contexts):
            file = Path(folder, f"{request.node.name}-{i}.png")
            context.pages[0].screenshot(path=str(file), full_page=True)
    for context in contexts:
        context.close()
    assert broke == []
    assert asked <= {"127.0.0.1", "data:", "blob:"}, asked


def _host(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}:" if parts.scheme in ("data", "blob") else str(parts.hostname)
