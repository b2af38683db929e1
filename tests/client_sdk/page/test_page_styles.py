"""Test the form for style-based generators in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from page_process import running_page
from page_reading import IN_A_BROWSER, choose, draw, drawn, fill, pictures, said
from server_process import running_server
from tiny_packages import build_tiny_package
from tiny_styles import LAYERS, build_style_package

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = IN_A_BROWSER


@pytest.fixture(scope="module")
def style_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    models = tmp_path_factory.mktemp("models")
    build_style_package(models, psi=0.5)
    build_tiny_package(models, "tiny")
    talked = models.parent / "talked.txt"
    with running_server(models) as server, running_page(talked, "--target", server.address) as url:
        yield url


def test_styles_have_psi_noise_and_mixing(style_page: str, open_page: Callable[..., Any]) -> None:
    page = drawn(open_page(style_page))
    assert page.locator("#gs-psi input[type=number]").input_value() == "0.5"
    page.locator("#gs-noise").wait_for(state="visible")
    page.locator("#gs-truncation").wait_for(state="hidden")
    fill(page, "#gs-seed", "3")
    page.locator("#gs-noise").get_by_text("none").click()
    draw(page)
    said(page, "seed 3")
    plain = pictures(page)
    fill(page, "#gs-mix-seed", "x")
    draw(page)
    page.wait_for_selector("text=mix with seed: is 'x'")
    fill(page, "#gs-mix-seed", "7")
    draw(page)
    said(page, "seed 3")
    rows = plain.shape[1] // LAYERS  # the first layer's
    mixed = pictures(page)
    np.testing.assert_array_equal(mixed[:, :rows], plain[:, :rows])
    assert (mixed[:, rows:] != plain[:, rows:]).any()
    choose(page, "#gs-model", "tiny")
    said(page, "tiny version 1")
    page.locator("#gs-truncation").wait_for(state="visible")
    page.locator("#gs-psi").wait_for(state="hidden")
