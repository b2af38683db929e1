"""Typicality from the package to the SDK, the command and the page, with a real server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from commands import ganserve
from ganserve import Client, Typicality
from ganserve._ui import actions, markup
from server_process import running_server
from tiny_packages import RGB, build_tiny_package

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Api

# The tiny typicality is 0 for white and 1 for black, and its threshold 0.05.
WHITE, GRAY, BLACK = (np.full((16, 12, 3), level, np.uint8) for level in (255, 204, 0))
BATCH = np.stack([WHITE, GRAY, BLACK])
EXPECTED = [0.0, 0.2, 1.0]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("typical")
    build_tiny_package(folder, "typical", model=RGB, typicality=True)
    build_tiny_package(folder, "plain", model=RGB)
    return folder


@pytest.fixture(scope="module")
def address(models: Path) -> Iterator[str]:
    with running_server(models) as process:
        yield process.address


@pytest.fixture
def typical(connect: Callable[..., Api], address: str) -> Api:
    """Return each kind of client of the server."""
    return connect(address)


def test_a_client_in_this_process_has_it_too(connect_local: Callable[..., Api], models: Path) -> None:
    scores = connect_local(models).score(BATCH, 0, model="typical")
    np.testing.assert_allclose(scores.typicality, EXPECTED, atol=1e-6)
    assert scores.out_of_distribution.tolist() == [True, False, False]


def test_scores_tell_samples_unlike_the_data(typical: Api) -> None:
    scores = typical.score(BATCH, 0, model="typical")
    assert scores.typicality is not None
    assert scores.out_of_distribution is not None
    assert (scores.typicality.dtype, scores.out_of_distribution.dtype) == (np.float32, np.bool_)
    np.testing.assert_allclose(scores.typicality, EXPECTED, atol=1e-6)
    assert scores.out_of_distribution.tolist() == [True, False, False]
    assert (scores[1].typicality, scores[1].out_of_distribution) == (scores.typicality[1], False)
    assert "1 out of distribution" in repr(scores)
    assert "out of distribution" not in repr(typical.score(BATCH[1:], 0, model="typical"))


def test_a_stream_of_scores_has_it_too(typical: Api) -> None:
    scored = typical.scored([WHITE, BATCH, BLACK], 0, model="typical")
    assert [scores.out_of_distribution.tolist() for scores in scored] == [[True], [True, False, False], [False]]


def test_many_samples_of_several_calls(typical: Api) -> None:
    levels = np.random.default_rng(0).integers(0, 256, 300).astype(np.uint8)
    images = np.broadcast_to(levels[:, None, None, None], (300, 16, 12, 3))
    typicality = typical.score(images, 0, model="typical").typicality
    np.testing.assert_allclose(typicality, 1 - levels / 255, atol=1e-6)


def test_without_it_the_package_says_nothing(typical: Api) -> None:
    scores = typical.score(BATCH, 0, model="plain")
    assert (scores.typicality, scores.out_of_distribution) == (None, None)
    assert (scores[0].typicality, scores[0].out_of_distribution) == (None, None)
    assert typical.model("plain").typicality is None


def test_the_model_describes_it(typical: Api) -> None:
    info = typical.model("typical")
    assert type(info.typicality) is Typicality
    assert info.typicality.graph.file == "typicality.onnx"
    assert (info.typicality.threshold, info.typicality.training_count, info.typicality.real_count) == (0.05, 4000, 1000)
    assert [engine.file for engine in info.engines] == ["generator.onnx", "critic.onnx", "typicality.onnx"]


def test_drawing_with_scores_and_selection_works_beside_it(typical: Api) -> None:
    batch = typical.sample(5, 1, model="typical", seed=3, return_scores=True)
    expected = typical.sample(5, 1, model="plain", seed=3, return_scores=True)
    np.testing.assert_array_equal(batch.scores, expected.scores)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"{name}.png" for name in ("white", "black")]
    for file, image in zip(files, (WHITE, BLACK), strict=True):
        Image.fromarray(image).save(file)
    return files


def score_command(address: str, pictures: list[Path], *flags: str) -> str:
    done = ganserve("score", *pictures, "--label", "red", "--target", address, *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_counts_samples_unlike_the_data(address: str, pictures: list[Path]) -> None:
    header, *rows = score_command(address, pictures, "--model", "typical").splitlines()
    assert "unlike" in header
    column = header.index("unlike")
    assert [row[column:].split()[0] for row in rows] == ["1", "0"]
    *_, row = score_command(address, pictures[:1], "--model", "plain").splitlines()
    assert row[column:].split()[0] == "-"


def test_the_command_prints_it_as_json(address: str, pictures: list[Path]) -> None:
    facts = json.loads(score_command(address, pictures, "--model", "typical", "--json"))
    assert [each["out_of_distribution"] for each in facts] == [[True], [False]]
    assert [each["typicality"] for each in facts] == [[0.0], [1.0]]
    (plain,) = json.loads(score_command(address, pictures[:1], "--model", "plain", "--json"))
    assert (plain["typicality"], plain["out_of_distribution"]) == (None, None)


def scored(address: str, file: Path, **options: Any) -> str:
    with Client(address) as client:
        info = actions.describe(client, options.pop("model", "typical/1"))
        return markup.scored(actions.score(client, info, file, options.pop("label", 0), fit=False))


def test_the_page_greys_out_pictures_unlike_the_data(address: str, pictures: list[Path]) -> None:
    white, black = (scored(address, file) for file in pictures)
    assert "gs-unlike" in white
    assert "This picture is unlike the training data: its score and probability say nothing" in white
    assert "At most 0.0% of real pictures lie so far from the training data." in white
    assert "gs-unlike" not in black
    assert "The critic takes it for real as <b>red</b> with" in black
    assert "real data rather than this generator" in black
    assert "gs-unlike" not in scored(address, pictures[0], model="plain/1")


def test_the_page_greys_out_a_picture_under_every_label(address: str, pictures: list[Path]) -> None:
    white = scored(address, pictures[0], label=actions.ANY_LABEL)
    assert "unlike the training data" in white
    assert "gs-scroll gs-unlike" in white


def test_the_page_marks_samples_of_a_grid(address: str, tmp_path: Path) -> None:
    with Client(address) as client:
        drawn = client.sample(4, ["red", "green", "red", "green"], model="typical", seed=1)
        info = actions.describe(client, "typical/1")
        scores = client.score(BATCH, 0, model="typical")
        result = actions.Scored(images=BATCH, scores=scores, each_label=False, fitted=False, took_ms=1.0)
        html = markup.scored(result)
        facts = markup.facts(info)
        grid = markup.scored(
            actions.score(client, info, drawn.save_grid(tmp_path / "grid.png"), actions.ANY_LABEL, fit=False)
        )
    assert html.count('<li class="gs-unlike">') == 1
    assert html.count('<span class="gs-why">unlike the training data</span>') == 1
    assert "1 of them is unlike the training data, where scores say nothing." in html
    assert "yes, ranked among 1000 real samples, 5% false alarms" in facts
    assert "of a grid" in grid
