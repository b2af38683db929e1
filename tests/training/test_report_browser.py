"""The report in a real Chromium: on a phone, and in dark mode. Without a Chromium these tests are skipped.

With REPORT_SCREENSHOTS=FOLDER they leave pictures of what they saw.
"""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from ganserve_training import evaluate_run, train
from ganserve_training.config import DiagnosisConfig
from ganserve_training.evaluation.options import EvaluationOptions
from ganserve_training.report import write_comparison, write_report
from page_reading import CHROMIUM, IN_A_BROWSER, TIMEOUT_MS
from tiny_runs import tiny_config

if TYPE_CHECKING:
    from collections.abc import Iterator

playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install 'ganserve[dev]'")
pytestmark = IN_A_BROWSER


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report of a run with long label names and findings, and one of two runs."""
    folder = tmp_path_factory.mktemp("runs")
    if given := os.environ.get("REPORT_RUNS"):
        runs = [Path(path) for path in given.split(":")]
    else:
        runs = [folder / "digits-with-a-very-long-name-that-says-everything-about-the-run", folder / "other"]
        config = tiny_config(diagnosis=DiagnosisConfig(every_steps=1, samples=32))
        for seed, run in enumerate(runs):
            train(replace(config, seed=seed), run, device="cpu", console=Console(file=io.StringIO()))
            evaluate_run(run, EvaluationOptions(samples=60, features="pixels"))
    return {
        "report": write_report(runs[0], folder / "report.html"),
        "comparison": write_comparison(runs, folder / "comparison.html"),
    }


def opened(browser: Any, page: Path, *, width: int = 1200, scheme: str = "light") -> Any:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.set_default_timeout(TIMEOUT_MS)
    tab = context.new_page()
    tab.goto(page.as_uri())
    tab.wait_for_selector(".js-plotly-plot .main-svg")
    if target := os.environ.get("REPORT_SCREENSHOTS"):
        tab.screenshot(path=f"{target}/{page.stem}-{width}-{scheme}.png", full_page=True)
    return tab


@pytest.mark.parametrize("name", ["report", "comparison"])
def test_a_phone_scrolls_in_one_direction(browser: Any, pages: dict[str, Path], name: str) -> None:
    tab = opened(browser, pages[name], width=360)
    assert tab.evaluate("document.documentElement.scrollWidth") == 360
    wide = """[...document.querySelectorAll("section *, header *")].filter(
        part => !part.closest("svg, .js-plotly-plot") && part.getBoundingClientRect().right > 361
    ).map(part => part.outerHTML.slice(0, 200))"""
    assert tab.evaluate(wide) == []


def brightness(tab: Any, selector: str, style: str) -> float:
    code = f"""[...getComputedStyle(document.querySelector({selector!r})).{style}.matchAll(/[0-9.]+/g)]
        .slice(0, 3).reduce((sum, part) => sum + Number(part[0]), 0) / 3"""
    return float(tab.evaluate(code))


@pytest.mark.parametrize("name", ["report", "comparison"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_reader_s_scheme(browser: Any, pages: dict[str, Path], name: str, scheme: str) -> None:
    tab = opened(browser, pages[name], scheme=scheme)
    papers = [brightness(tab, where, "backgroundColor") for where in ("body", "section")]
    inks = [brightness(tab, "body", "color"), brightness(tab, "section p", "color")]
    inks += [brightness(tab, ".js-plotly-plot .xtick text", "fill"), brightness(tab, ".legendtext", "fill")]
    if scheme == "dark":
        assert max(papers) < 40
        assert min(inks) > 150
    else:
        assert min(papers) > 230
        assert max(inks) < 110


def test_the_slider_shows_the_picture_of_its_step(browser: Any, pages: dict[str, Path]) -> None:
    tab = opened(browser, pages["report"])
    shown = "[...document.querySelectorAll('#samples img:not([hidden])')].map(part => part.alt)"
    first, last = (tab.evaluate(f"document.querySelectorAll('#samples img')[{place}].alt") for place in (0, 1))
    assert tab.evaluate(shown) == [last, "real samples"] or os.environ.get("REPORT_RUNS")
    tab.evaluate("""() => {
        const range = document.querySelector("#samples input[type=range]");
        range.value = 0;
        range.dispatchEvent(new Event("input"));
    }""")
    assert tab.evaluate(shown) == [first, "real samples"]
