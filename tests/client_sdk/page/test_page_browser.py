"""Test each feature of the page of `ganserve ui` in a real Chromium."""

from __future__ import annotations

import base64
import io
import re
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from ganserve import Client
from page_reading import IN_A_BROWSER, choose, draw, drawn, fill, pictures, said, tab
from repositories import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = IN_A_BROWSER
PHONE = (360, 640)


def test_the_first_samples_are_drawn_without_a_click(open_page: Callable[..., Any], server: str) -> None:
    page = drawn(open_page())
    line = said(page, r"36 samples")
    seed = re.search(r"seed (\d+)", line)
    assert seed is not None
    assert re.search(r"\d+ ms \([\d,]+ a second\)", line)
    assert "tiny version 2" in line
    with Client(server) as client:
        batch = client.sample(36, model="tiny", seed=int(seed[1]), return_scores=True)
    assert (pictures(page) == batch.images[..., 0]).all()
    assert batch.scores is not None
    shown = page.locator(".gs-tile .gs-caption span").all_inner_texts()
    assert shown == [f"{score:+.2f}" for score in batch.scores]


def test_label_count_seed_and_truncation(open_page: Callable[..., Any], server: str) -> None:
    page = drawn(open_page())
    choose(page, "#gs-label", "two")
    fill(page, "#gs-count", "5").press("Enter")
    fill(page, "#gs-truncation", "0.5")
    fill(page, "#gs-seed", "42").press("Enter")
    said(page, r"^5 samples.*seed 42$")
    with Client(server) as client:
        batch = client.sample(5, "two", model="tiny", seed=42, truncation=0.5)
    assert (pictures(page) == batch.images[..., 0]).all()


def test_a_seed_can_be_kept(open_page: Callable[..., Any]) -> None:
    page = drawn(open_page())
    line = said(page, r"seed \d+")
    page.get_by_role("button", name="Keep").click()
    page.wait_for_function("document.querySelector('#gs-seed textarea, #gs-seed input').value !== ''")
    assert line.endswith(page.locator("#gs-seed textarea, #gs-seed input").first.input_value())
    before = pictures(page)
    draw(page)
    said(page, r"seed")
    assert (pictures(page) == before).all()


@pytest.mark.parametrize(("rule", "words"), [("best of N", "chosen from 288"), ("rejection", r"chosen from \d+")])
def test_the_critic_selects_the_samples_shown(open_page: Callable[..., Any], rule: str, words: str) -> None:
    page = drawn(open_page())
    assert not page.locator("#gs-proposals").is_visible()
    page.get_by_label(rule).check()
    page.locator("#gs-proposals").wait_for()
    draw(page)
    said(page, words)


def test_samples_are_sorted_by_score(open_page: Callable[..., Any]) -> None:
    page = drawn(open_page())

    def scores() -> list[float]:
        return [float(text) for text in page.locator(".gs-tile .gs-caption span").all_inner_texts()]

    as_drawn = scores()
    labels = page.locator(".gs-tile .gs-caption b").all_inner_texts()
    # Labels zero, one, two in turn: scores compare only within a label.
    rising = sorted(zip(map(["zero", "one", "two"].index, labels), as_drawn, strict=True))
    falling = sorted(rising, key=lambda each: (each[0], -each[1]))
    for rule, expected in [
        ("best first", [score for _, score in falling]),
        ("worst first", [score for _, score in rising]),
        ("as drawn", as_drawn),
    ]:
        page.get_by_label(rule).check()
        wait_for(lambda expected=expected: scores() == expected, f"the samples, {rule}")


def test_downloads(open_page: Callable[..., Any], tmp_path: Path, server: str) -> None:
    page = drawn(open_page())
    fill(page, "#gs-count", "4").press("Enter")
    fill(page, "#gs-seed", "9").press("Enter")
    said(page, r"^4 samples.*seed 9$")
    shown = pictures(page)
    files = {}
    for kind in ("png", "zip", "npz", "png"):
        with page.expect_download() as download:
            page.locator(f"#gs-download-{kind}").click()
        assert download.value.suggested_filename == f"tiny-2-seed-9.{kind}"
        files[kind] = tmp_path / download.value.suggested_filename
        download.value.save_as(files[kind])
    with Client(server) as client:
        assert len(client.score(files["png"])) == 4
    with np.load(files["npz"]) as arrays:
        assert (arrays["samples"][..., 0] == shown).all()
    with zipfile.ZipFile(files["zip"]) as archive:
        assert len(archive.namelist()) == 4


def test_a_walk_between_two_samples(open_page: Callable[..., Any]) -> None:
    page = drawn(open_page())
    ends = pictures(page)[[4, 7]]
    page.locator(".gs-tile").nth(4).click()
    page.locator(".gs-tile").nth(7).click()
    assert page.locator('.gs-tile[data-pick="from"]').get_attribute("data-place") == "4"
    tab(page, "Walk")
    said(page, r"^from sample 4 to sample 7 . 9 steps . \d+ ms")
    way = pictures(page, ".gs-frame")
    assert len(way) == 9
    assert (way[[0, -1]] == ends).all()
    slider = page.locator("#gs-position input[type=range]")
    slider.focus()
    for step in (1, 2, 3):
        slider.press("ArrowRight")
        page.wait_for_selector(f'.gs-frame.gs-on[data-step="{step}"]')
        assert (pictures(page, ".gs-large")[0] == way[step]).all()
    fill(page, "#gs-from", "2")
    fill(page, "#gs-steps", "5").press("Enter")
    page.get_by_role("button", name="Walk", exact=True).click()
    said(page, r"^from sample 2 to sample 7 . 5 steps")
    assert len(pictures(page, ".gs-frame")) == 5


def test_a_picture_is_dropped_and_scored(open_page: Callable[..., Any], server: str) -> None:
    page = drawn(open_page())
    tab(page, "Score")
    page.get_by_text("Drop a picture").wait_for()
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    encoded = base64.b64encode(file.getvalue()).decode()
    transfer = page.evaluate_handle(
        """async (encoded) => {
            const blob = await (await fetch("data:image/png;base64," + encoded)).blob();
            const transfer = new DataTransfer();
            transfer.items.add(new File([blob], "mine.png", { type: "image/png" }));
            return transfer;
        }""",
        encoded,
    )
    page.locator("#gs-picture button").first.dispatch_event("drop", {"dataTransfer": transfer})
    page.locator(".gs-verdict", has_text="Under each of 3 labels").wait_for()
    with Client(server) as client:
        expected = client.score(image, 2, model="tiny").scores[0]
    assert f"{expected:+.3f}" in page.locator(".gs-by-label").inner_text()
    assert (pictures(page, ".gs-saw")[0] == image).all()
    choose(page, "#gs-scored-label", "one")
    page.locator(".gs-verdict", has_text="for real as one").wait_for()


def test_pictures_of_another_size_and_other_files(open_page: Callable[..., Any], tmp_path: Path) -> None:
    page = drawn(open_page())
    tab(page, "Score")
    photo, notes = tmp_path / "photo.jpg", tmp_path / "notes.png"
    Image.new("RGB", (40, 20), (200, 10, 10)).save(photo)
    notes.write_text("no picture")
    page.locator("#gs-picture input[type=file]").set_input_files(photo)
    said(page, "'photo.jpg' is 40x20 pixels; the model takes 8x8; tick 'Cut and resize it to fit'")
    page.get_by_label("Cut and resize it to fit").check()
    page.get_by_text("It was cut and resized to fit the model.").wait_for()
    page.locator("#gs-picture").get_by_role("button", name=re.compile("remove|clear", re.IGNORECASE)).first.click()
    page.get_by_text("Drop a picture").wait_for()
    page.locator("#gs-picture input[type=file]").set_input_files(notes)
    said(page, "'notes.png' cannot be read as a picture")


def test_models_and_their_facts(open_page: Callable[..., Any]) -> None:
    page = drawn(open_page())
    tab(page, "Model")
    facts = page.locator("#gs-facts")
    facts.get_by_text("image uint8 [8, 8, 1]").wait_for()
    choose(page, "#gs-model", "tiny-uncritical")
    facts.get_by_text("it judges 2 samples together").wait_for()
    assert not page.locator("#gs-choosing").is_visible()
    tab(page, "Samples")
    assert page.locator(".gs-tile .gs-meter").count() == 0
    choose(page, "#gs-model", "tiny-vector")
    page.wait_for_selector(".gs-points svg")
    assert not page.locator("#gs-label").is_visible()
    assert page.locator("#gs-download-png").is_disabled()
    assert page.locator("#gs-download-npz").is_enabled()
    page.locator("#gs-download-csv").wait_for()
    tab(page, "Walk")
    page.wait_for_selector("#gs-way polyline")


def test_refusals_are_shown_and_the_page_keeps_working(open_page: Callable[..., Any]) -> None:
    page = drawn(open_page())
    before = pictures(page)
    for field, text, words in [
        ("#gs-seed", "seven", "seed: is 'seven'; expected a whole number"),
        ("#gs-seed", str(2**64), "seed: is 18446744073709551616; expected"),
        ("#gs-truncation", "-1", "truncation: is -1.0; expected a finite number of at least 0"),
    ]:
        fill(page, field, text).press("Enter")
        said(page, words)
        assert page.locator("#gs-status [role=alert]").is_visible()
        assert (pictures(page) == before).all()
        fill(page, field, "")
    draw(page)
    said(page, "36 samples")
    tab(page, "Walk")
    fill(page, "#gs-to", "99")
    page.get_by_role("button", name="Walk", exact=True).click()
    said(page, "to: is sample 99; expected one of those drawn, 0 to 35")


@pytest.mark.parametrize("name", ["Samples", "Walk", "Score", "Model"])
def test_on_a_phone(open_page: Callable[..., Any], name: str) -> None:
    page = drawn(open_page(size=PHONE, scheme="dark"))
    tab(page, name)
    if name == "Walk":
        page.wait_for_selector(".gs-frame")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    outside = page.evaluate(
        """(width) => [...document.querySelectorAll("button, input, h1, .gs-tile, .gs-facts section")]
            .filter((each) => each.checkVisibility() && !each.closest(".gs-frames"))
            .map((each) => [each.id || each.className, each.getBoundingClientRect()])
            .filter(([, box]) => box.width > 1 && (box.left < 0 || box.right > width)).map(([name]) => name)""",
        PHONE[0],
    )
    assert outside == []


def test_pictures_are_on_the_first_screen_of_a_phone(open_page: Callable[..., Any]) -> None:
    page = drawn(open_page(size=PHONE))
    page.locator(".gs-legend", has_text="critic's score").wait_for()
    assert not page.locator("#gs-seed").is_visible()
    boxes = page.locator(".gs-tile").evaluate_all(
        "all => all.map(each => each.getBoundingClientRect()).map(box => [box.top, box.bottom])"
    )
    in_sight = [bottom - top for top, bottom in boxes if bottom <= PHONE[1]]
    assert len(in_sight) >= 8
    assert max(in_sight) - min(in_sight) < 1  # aligned
    page.locator("#gs-toggle button").click()
    fill(page, "#gs-count", "5").press("Enter")
    fill(page, "#gs-seed", "42").press("Enter")
    said(page, r"^5 samples.*seed 42$")


def test_by_keyboard_only(open_page: Callable[..., Any]) -> None:
    page = drawn(open_page())
    reached: list[str] = []

    def tab_to(selector: str) -> None:
        for _ in range(120):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("(document.activeElement.closest('[id^=gs-]') || {}).id || ''"))
            if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                return
        pytest.fail(f"Tab does not reach {selector}: {list(dict.fromkeys(reached))}")

    options = page.get_by_role("option")
    tab_to("#gs-model input")
    options.first.wait_for()
    tab_to("#gs-label input")
    options.get_by_text("zero").wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#gs-label input').value === 'zero'")
    options.first.wait_for(state="hidden")
    tab_to("#gs-count input[type=range]")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("document.querySelector('#gs-count input[type=number]').value === '35'")
    tab_to("#gs-seed textarea, #gs-seed input")
    page.keyboard.type("42")
    tab_to('#gs-choosing input[value="best of N"]')
    page.keyboard.press("Space")
    page.locator("#gs-proposals").wait_for()
    tab_to("#gs-draw")
    page.keyboard.press("Enter")
    said(page, r"^35 samples.*seed 42 . chosen from 280")
    assert set(page.locator(".gs-tile").evaluate_all("all => all.map(each => each.title.split(', ')[1])")) == {
        "label zero"
    }
    tab_to("[role=tab]")
    tab_to("#gs-download-npz")
    with page.expect_download():
        page.keyboard.press("Enter")
    tab_to('.gs-tile[data-place="3"]')
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.dataset.pick") == "to"
    page.get_by_role("tab", name="Samples").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    said(page, r"^from sample 1 to sample 3")
    tab_to("#gs-walk")
    tab_to("#gs-position input[type=range]")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector('.gs-frame.gs-on[data-step="1"]')
