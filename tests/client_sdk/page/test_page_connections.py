"""Test the page's connections: to its server, which may be missing, and to no other host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from page_process import running_page
from page_reading import IN_A_BROWSER, draw, drawn, fill, said
from path_proxy import published_below
from ports import free_port
from server_process import running_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = IN_A_BROWSER


@pytest.fixture(scope="module")
def address(repository: Path, talked: Path) -> Iterator[str]:
    """Run a page with its own server."""
    with running_page(talked, "--models", str(repository)) as url:
        yield url


def test_a_server_that_stops_and_restarts(
    open_page: Callable[..., Any], repository: Path, talked: Path, tmp_path: Path
) -> None:
    port = str(free_port())
    target = f"127.0.0.1:{port}"
    with running_page(talked, "--target", target) as url:
        page = open_page(url)
        said(page, f"no server answers at {target}")
        page.get_by_text("No samples yet").wait_for()
        draw(page)
        said(page, "model: is not chosen; press Reload")
        with running_server(repository, "--port", port):
            page.get_by_role("button", name="Reload").click()
            drawn(page)
            said(page, "36 samples")
        draw(page)
        said(page, f"no server answers at {target}")
        assert page.locator(".gs-tile").count() == 36
        with running_server(repository, "--port", port):
            draw(page)
            said(page, "36 samples")


def test_below_a_path_behind_proxies_that_do_not_work(
    open_page: Callable[..., Any], repository: Path, tmp_path: Path
) -> None:
    """Publish a page that listens on IPv6 below a path; its own process has a dead proxy, and one of SOCKS."""
    dead = {
        "http_proxy": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "ALL_PROXY": "socks5://127.0.0.1:9",
    }
    arguments = ("--models", str(repository), "--host", "::1", "--root-path", "/try/gan/")
    with running_page(tmp_path / "talked.txt", *arguments, **dead) as url:
        assert url.startswith("http://[::1]:")
        with published_below("/try/gan", url) as public:
            page = drawn(open_page(public))
            draw(page)
            said(page, "36 samples")


def test_without_a_server(open_page: Callable[..., Any], repository: Path) -> None:
    page = drawn(open_page())
    assert f"local:{repository}" in page.locator("#gs-header").inner_text()
    fill(page, "#gs-seed", "-1").press("Enter")
    said(page, "seed: is -1")


def test_the_pages_process_contacts_no_other_host(open_page: Callable[..., Any], talked: Path) -> None:
    drawn(open_page())
    lines = talked.read_text().splitlines()
    assert lines, "the audit hook heard of nothing, not even of the page's own start"
    # A path is the Unix socket of the page's local server.
    here = ("127.0.0.1", "localhost", "connect /")
    others = [line for line in lines if not any(place in line for place in here)]
    assert others == []


def test_the_policy_keeps_a_browser_from_other_hosts(open_page: Any) -> None:
    page = drawn(open_page())
    policy = page.request.get(page.url).headers["content-security-policy"]
    assert "default-src 'self'" in policy
    refused = page.evaluate("fetch('http://192.0.2.1/').then(() => 'asked', (error) => String(error))")
    assert "TypeError" in refused
    assert open_page.broke
    assert all("192.0.2.1" in words or "has been blocked" in words for words in open_page.broke)
    open_page.broke.clear()
