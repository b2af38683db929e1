"""Read and operate the page of `ganserve ui` in a browser."""

from __future__ import annotations

import base64
import io
import re
import shutil
from typing import Any

import numpy as np
import pytest
from PIL import Image

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
IN_A_BROWSER = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH: apt-get install chromium"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:playwright"),
]
"""Marks of modules that need a browser."""
TIMEOUT_MS = 60_000  # for a busy machine; no test waits for a fixed time


def drawn(page: Any) -> Any:
    """Return the page, once it shows its first samples."""
    page.wait_for_selector(".gs-tile")
    return page


def said(page: Any, words: str) -> str:
    """Return the page's message, once it contains these words."""
    line = page.locator("#gs-status p", has_text=re.compile(words))
    line.wait_for()
    return str(line.inner_text())


def pictures(page: Any, within: str = ".gs-tile") -> np.ndarray[Any, Any]:
    """Return the pictures shown, uint8 [N, H, W]."""
    urls = page.locator(f"{within} img").evaluate_all("all => all.map(each => each.src)")
    return np.stack([np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))) for url in urls])


def choose(page: Any, dropdown: str, option: str) -> None:
    page.locator(f"{dropdown} input").click()
    page.get_by_role("option", name=option, exact=True).click()


def fill(page: Any, field: str, text: str) -> Any:
    box = page.locator(f"{field} input, {field} textarea").first
    box.fill(text)
    return box


def draw(page: Any) -> None:
    page.get_by_role("button", name="Draw").click()


def tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name).click()
