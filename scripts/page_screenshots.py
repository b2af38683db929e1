"""Make the pictures of docs/page.md: `python scripts/page_screenshots.py TARGET`, with a server that serves the digits.

It needs a Chromium on the PATH, and the extra `dev`.
"""

from __future__ import annotations

import io
import shutil
import socket
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from ganserve import Client
from ganserve._ui.serving import serving

IMAGES = Path(__file__).parent.parent / "docs/images"
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
COLOURS = 224  # enough for these pages, and a third of the bytes


def main(target: str) -> int:
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("there is no chromium on the PATH: apt-get install chromium")
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with Client(target) as client, listener, serving(client, listener, ""), sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=DESKTOP, color_scheme="light")
        draw(page, url)
        page.get_by_label("best first").check()
        page.wait_for_timeout(1000)
        save(page, "page.png")
        page = browser.new_page(viewport=PHONE, color_scheme="dark")
        draw(page, url)
        page.get_by_role("tab", name="Walk").click()
        page.locator("#gs-position input[type=range]").focus()
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        page.locator("#gs-draw").scroll_into_view_if_needed()
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        page.wait_for_timeout(1000)
        save(page, "page-walk.png")
        browser.close()
    return 0


def draw(page: Page, url: str) -> None:
    page.goto(url)
    page.wait_for_selector(".gs-tile")
    page.locator("#gs-seed input, #gs-seed textarea").first.fill("7")
    page.get_by_role("button", name="Draw").click()
    page.get_by_text("seed 7").wait_for()


def save(page: Page, name: str) -> None:
    with Image.open(io.BytesIO(page.screenshot())) as shot:
        shot.convert("RGB").quantize(COLOURS).save(IMAGES / name, optimize=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "localhost:50051"))
