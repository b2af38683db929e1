"""Test the page's actions on a real server, its markup and its files, without a browser."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from ganserve import Client, InvalidRequest, ModelNotFound, ServerUnavailable, UnsupportedByModel
from ganserve._ui import actions, downloads, markup, tiles
from ganserve._ui.actions import Wish
from tiny_packages import CONDITIONAL, RGB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ganserve import ModelInfo


@pytest.fixture
def client(server: str) -> Iterator[Client]:
    with Client(server) as client:
        yield client


@pytest.fixture
def tiny(client: Client) -> ModelInfo:
    return actions.describe(client, "tiny/2")


def test_the_latest_versions_come_before_the_older_ones(client: Client) -> None:
    models = actions.served_models(client)
    assert [str(model) for model in models[:2]] == ["tiny", "tiny · version 1"]
    assert {model.key for model in models} >= {"tiny-rgb/1", "tiny-vector/1", "tiny-uncritical/1"}
    assert actions.describe(client, "tiny/1").version == 1
    with pytest.raises(ModelNotFound):
        actions.describe(client, "tiny/7")


def test_fewer_large_pictures_are_shown(client: Client, tiny: ModelInfo) -> None:
    import dataclasses

    assert actions.most_samples(tiny) == 256
    large = dataclasses.replace(tiny, sample=dataclasses.replace(tiny.sample, shape=(512, 512, 3)))
    assert actions.most_samples(large) == 16
    assert actions.most_samples(actions.describe(client, "tiny-vector/1")) == 256


def test_the_page_draws_the_same_samples_as_the_sdk(client: Client, tiny: ModelInfo) -> None:
    drawn = actions.draw(client, tiny, Wish(label=1, count=5, seed=" 42 ", truncation="0,7"))
    expected = client.sample(5, 1, model="tiny", version=2, seed=42, truncation=0.7, return_scores=True)
    assert (drawn.batch.samples == expected.samples).all()
    assert (drawn.batch.scores == expected.scores).all()
    assert drawn.took_ms > 0


def test_the_critic_selects_the_samples_shown(client: Client, tiny: ModelInfo) -> None:
    best = actions.draw(client, tiny, Wish(count=3, seed="1", choosing="best of N", proposals=4)).batch
    assert best.selection is not None
    assert (best.selection.proposed, best.selection.accepted) == (12, 3)
    rejected = actions.draw(client, tiny, Wish(count=3, seed="1", choosing="rejection", proposals=4)).batch
    assert rejected.selection is not None
    assert 3 <= rejected.selection.proposed <= 12


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (Wish(count=1, seed="x"), "seed: is 'x'; expected a whole number from 0"),
        (Wish(count=1, seed="-1"), "seed: is -1; expected at least 0"),
        (Wish(count=1, truncation="much"), "truncation: is 'much'; expected a number above 0"),
        (Wish(count=1, truncation="0"), "truncation: is 0.0; expected a finite number above 0"),
        (Wish(count=1, label=9), "label"),
    ],
)
def test_refusals(client: Client, tiny: ModelInfo, wish: Wish, words: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        actions.draw(client, tiny, wish)
    assert str(refusal.value).startswith(words)
    assert 'role="alert"' in markup.refused(refusal.value)


def test_a_walk_begins_and_ends_with_the_given_samples(client: Client, tiny: ModelInfo) -> None:
    drawn = actions.draw(client, tiny, Wish(count=6, seed="3"))
    batch = drawn.batch
    assert batch.labels is not None
    a, b = 0, int(np.argmax(batch.labels != batch.labels[0]))
    assert batch.labels[a] != batch.labels[b]
    way = actions.walk(client, tiny, drawn, (a, b), 5).batch
    assert (way.samples[0] == batch.samples[a]).all()
    assert (way.samples[-1] == batch.samples[b]).all()
    assert way.labels is not None
    assert way.labels.tolist() == [batch.labels[a]] * 3 + [batch.labels[b]] * 2
    with pytest.raises(InvalidRequest, match="to: is sample 6; expected one of those drawn, 0 to 5"):
        actions.walk(client, tiny, drawn, (0, 6), 5)
    with pytest.raises(UnsupportedByModel, match="draw some of it first"):
        actions.walk(client, actions.describe(client, "tiny-rgb/1"), drawn, (0, 1), 5)


def test_order(client: Client, tiny: ModelInfo) -> None:
    drawn = actions.draw(client, tiny, Wish(label=1, count=20, seed="3"))
    batch = drawn.batch
    assert batch.scores is not None
    assert actions.order(drawn, "as drawn") == list(range(20))
    assert (np.diff(batch.scores[actions.order(drawn, "best first")]) <= 0).all()
    assert (np.diff(batch.scores[actions.order(drawn, "worst first")]) >= 0).all()


def test_samples_are_ordered_by_score_within_each_label(client: Client, tiny: ModelInfo) -> None:
    drawn = actions.draw(client, tiny, Wish(count=20, seed="3"))
    assert drawn.batch.labels is not None
    assert drawn.batch.scores is not None
    order = actions.order(drawn, "best first")
    labels, scores = drawn.batch.labels[order], drawn.batch.scores[order]
    assert set(labels) == {0, 1, 2}
    assert (np.diff(labels) >= 0).all()
    assert all((np.diff(scores[labels == label]) <= 0).all() for label in range(3))
    across = actions.order(replace(drawn, within_labels=False), "best first")  # a critic that takes no labels
    assert (np.diff(drawn.batch.scores[across]) <= 0).all()


def test_a_picture_is_scored_under_each_label(client: Client, tiny: ModelInfo, tmp_path: Path) -> None:
    image = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    file = tmp_path / "a.png"
    Image.fromarray(image[..., 0]).save(file)
    scored = actions.score(client, tiny, file, actions.ANY_LABEL, fit=True)
    assert (scored.each_label, scored.fitted) == (True, False)
    assert (scored.images == image).all()
    assert scored.scores.labels == ("zero", "one", "two")
    expected = CONDITIONAL.scores(image[None].repeat(3, 0), np.arange(3))
    assert (scored.scores.scores == expected).all()
    html = markup.scored(scored)
    assert "Under each of 3 labels" in html
    assert "do not compare across labels" in html
    assert html.index("<b>zero") < html.index("<b>one") < html.index("<b>two")
    one = actions.score(client, tiny, file, 1, fit=True)
    assert (one.each_label, one.scores.scores.tolist()) == (False, expected[1:2].tolist())


def test_a_picture_that_does_not_fit_is_cut_or_refused(client: Client, tiny: ModelInfo, tmp_path: Path) -> None:
    file = tmp_path / "photo.jpg"
    Image.new("RGB", (40, 20), (200, 10, 10)).save(file)
    scored = actions.score(client, tiny, file, 0, fit=True)
    assert (scored.fitted, scored.images.shape) == (True, (1, 8, 8, 1))
    assert "cut and resized" in markup.scored(scored)
    with pytest.raises(InvalidRequest, match=r"picture: 'photo.jpg' is 40x20 pixels; the model takes 8x8; tick 'Cut"):
        actions.score(client, tiny, file, 0, fit=False)
    rgb = actions.describe(client, "tiny-rgb/1")
    seen = actions.score(client, rgb, file, 0, fit=True)
    assert seen.images.shape == (1, *RGB.shape)
    assert (seen.scores.scores == RGB.scores(seen.images, np.zeros(1, np.int64))).all()


def test_transparency_becomes_white_and_exif_orientation_is_applied(client: Client, tmp_path: Path) -> None:
    rgb = actions.describe(client, "tiny-rgb/1")
    clear, turned = tmp_path / "clear.png", tmp_path / "turned.jpg"
    Image.new("RGBA", (12, 16), (0, 0, 0, 0)).save(clear)
    assert (actions.score(client, rgb, clear, 0, fit=True).images == 255).all()
    half = np.zeros((12, 16, 3), np.uint8)
    half[:, 8:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turned clockwise: the right half is at the bottom
    Image.fromarray(half).save(turned, exif=exif, quality=100)
    seen = actions.score(client, rgb, turned, 0, fit=True)
    assert not seen.fitted
    assert seen.images[0, :6].mean() < 10
    assert seen.images[0, 10:].mean() > 245


def test_a_grid_is_cut_into_its_samples(client: Client, tiny: ModelInfo, tmp_path: Path) -> None:
    batch = actions.draw(client, tiny, Wish(count=7, seed="5")).batch
    scored = actions.score(client, tiny, batch.save_grid(tmp_path / "grid.png"), actions.ANY_LABEL, fit=True)
    assert (scored.images == batch.images).all()
    assert batch.scores is not None
    assert (scored.scores.scores == batch.scores).all()
    html = markup.scored(scored)
    assert "7 samples of a grid" in html
    assert html.count("<li>") == 7


def test_unsuitable_pictures_are_refused(client: Client, tiny: ModelInfo, tmp_path: Path) -> None:
    file = tmp_path / "notes.png"
    file.write_text("no picture")
    with pytest.raises(InvalidRequest, match=r"'notes\.png' cannot be read as a picture"):
        actions.score(client, tiny, file, 0, fit=True)
    for key, words in [("tiny-uncritical/1", "it judges 2 samples together"), ("tiny-vector/1", "makes no images")]:
        with pytest.raises(UnsupportedByModel, match=words):
            actions.score(client, actions.describe(client, key), file, 0, fit=True)


def test_a_stopped_server(closed_port: str) -> None:
    with Client(closed_port, max_attempts=1) as client, pytest.raises(ServerUnavailable, match="no server answers"):
        actions.served_models(client)


def test_tiles_show_the_exact_pixels(client: Client, tiny: ModelInfo) -> None:
    import base64

    batch = actions.draw(client, tiny, Wish(count=4, seed="3")).batch
    html = tiles.tiles(batch, [2, 0, 3, 1], (1, 3))
    places = [int(place) for place in re.findall(r'data-place="(\d+)"', html)]
    assert places == [2, 0, 3, 1]
    assert re.findall(r'data-place="(\d+)" data-pick="(from|to)" aria-pressed="true"', html) == [
        ("3", "to"),
        ("1", "from"),
    ]
    for place, encoded in zip(places, re.findall(r"base64,([^\"]+)", html), strict=True):
        with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
            assert (np.asarray(image) == batch.images[place, ..., 0]).all()
    assert batch.scores is not None
    assert f"<span>{batch.scores[2]:+.2f}</span>" in html
    assert tiles.steps(batch).count("data-step") == 4


def test_vectors_are_points_or_rows(client: Client) -> None:
    info = actions.describe(client, "tiny-vector/1")
    drawn = actions.draw(client, info, Wish(count=9, seed="3"))
    html = tiles.tiles(drawn.batch, range(9), (0, 1))
    assert html.count("<circle") == 9
    assert html.count("<tr>") == 10
    assert "scroll to see all" not in html
    labelled = replace(drawn.batch, label_names=("<b>",) * 9)
    table = tiles.tiles(labelled[np.arange(27) % 9], range(27), (0, 1))
    assert "27 rows: scroll to see all" in table
    assert table.count("<td>&lt;b&gt;</td>") == 27
    way = actions.walk(client, info, drawn, (0, 1), 5).batch
    assert "<polyline" in tiles.steps(way)


def test_names_are_escaped(client: Client, tiny: ModelInfo) -> None:
    import dataclasses

    hostile = dataclasses.replace(tiny, name="<script>", label_names=("<b>", "&"))
    assert "<script>" not in markup.facts(hostile)
    batch = actions.draw(client, tiny, Wish(count=2, seed="3")).batch
    html = tiles.tiles(dataclasses.replace(batch, label_names=("<img src=x>", '"')), range(2), (0, 1))
    assert "<img src=x>" not in html
    assert "&lt;img src=x&gt;" in html
    assert "<i>" not in markup.refused(InvalidRequest.of("seed", "<i>"))


def test_facts_describe_a_model(client: Client, tiny: ModelInfo) -> None:
    html = markup.facts(tiny)
    for fact in ("image uint8 [8, 8, 1]", "zero, one, two", "4 values, normal", "CPU", "1000 real", "2026-01-01"):
        assert fact in html
    assert "it judges 2 samples together" in markup.facts(actions.describe(client, "tiny-uncritical/1"))
    assert "c0 (-1 to 1)" in markup.facts(actions.describe(client, "tiny-codes/1"))


@pytest.mark.parametrize("kind", ["png", "zip", "npz"])
def test_downloads(client: Client, tiny: ModelInfo, tmp_path: Path, kind: downloads.Kind) -> None:
    batch = actions.draw(client, tiny, Wish(count=3, seed="7")).batch
    file = downloads.write(batch, kind, tmp_path)
    assert file.name == f"tiny-2-seed-7.{kind}"
    assert list(file.parent.iterdir()) == [file]
    if kind == "png":
        assert batch.scores is not None
        assert (client.score(file).scores == batch.scores).all()
    elif kind == "npz":
        with np.load(file) as arrays:
            assert (arrays["samples"] == batch.samples).all()
    else:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            assert len(names) == 3
            with archive.open(names[0]) as first, Image.open(first) as image:
                assert (np.asarray(image) == batch.images[0, ..., 0]).all()


def test_vectors_cannot_be_downloaded_as_pictures(client: Client, tmp_path: Path) -> None:
    batch = actions.draw(client, actions.describe(client, "tiny-vector/1"), Wish(count=3)).batch
    with pytest.raises(UnsupportedByModel, match=r"makes float32 \[2\], not images"):
        downloads.write(batch, "zip", tmp_path)
    assert len(downloads.write(batch, "csv", tmp_path).read_text().splitlines()) == 4
